"""A CSV file, read strictly: every record has the fields of the header, and every fault is named by its line.

Python's own reader is used for that: the faster ones pad a short record with blanks and cut a long one in silence, and a
blank label is a value here. The file may be gzipped, whatever its name says; it is UTF-8, with or without a byte order
mark, or else Latin-1, with a warning.


The columns of a Parquet file as text, as if they had been read from a CSV: one way of checking for both.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import logging
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from moco_transfer.errors import UserError

log = logging.getLogger(__name__)


def read_csv_columns(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Return the ``columns`` of the CSV at ``path``, all as strings; a blank is null.

    The index of the table holds the line that each row begins at, the header being line 1. Raises UserError if the file
    is missing, damaged, empty or no CSV, if a column is missing or occurs twice, or if a record is too short or too long.
    """
    try:
        return _read(path, columns, "utf-8")
    except UnicodeDecodeError:
        table = _read(path, columns, "latin-1")
        log.warning("%s: not in UTF-8, read as Latin-1; check names with accents", path)
        return table


def require_columns(columns: Sequence[str], present: Sequence[str], path: Path) -> None:
    """Raise UserError if one of ``columns`` is not ``present`` exactly once in the file at ``path``.

    The columns that are there are named only where one of those asked for is among them: else the first line may be no
    header at all but a row of identifiers.
    """
    missing = [column for column in columns if column not in present]
    if missing:
        names = ", ".join(f"'{column}'" for column in missing)
        verb = f"column {names} is" if len(missing) == 1 else f"columns {names} are"
        found = f"found {', '.join(present)}"
        if len(missing) == len(set(columns)):
            found = f"found none of them among {len(present)}; is the first line a header?"
        raise UserError(f"{path}: {verb} missing; {found}{_suggestions(missing, present)}")
    for column in columns:
        if present.count(column) > 1:
            raise UserError(
                f"{path}: column '{column}' occurs {present.count(column)} times; rename all but one"
            )


def _suggestions(missing: Sequence[str], present: Sequence[str]) -> str:
    plain = {_plain(name): name for name in present}
    near = {
        name: [plain[match] for match in difflib.get_close_matches(_plain(name), plain, n=2, cutoff=0.7)]
        for name in missing
    }
    hints = [
        " or ".join(f"'{match}'" for match in matches) + (f" for '{name}'" if len(missing) > 1 else "")
        for name, matches in near.items()
        if matches
    ]
    return f"; did you mean {', '.join(hints)}?" if hints else ""


def _plain(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())


def _read(path: Path, columns: Sequence[str], encoding: str) -> pd.DataFrame:
    with _refusing_damage(path):
        reader = csv.reader(io.StringIO(_text(path, encoding), newline=""), strict=True)
        header = next(reader, None)
        if header is None:
            raise UserError(f"{path}: the file is empty; download it again")
        _require_commas(header, columns, path)
        require_columns(columns, header, path)
        lines, cells = _read_cells(reader, header, columns, path)
    if not lines:
        raise UserError(f"{path}: there is a header and no row; download it again")
    width = len(columns)
    # by way of Arrow, which takes a list of strings ten times as fast as pandas does
    by_column = {column: pa.array(cells[place::width], pa.string()) for place, column in enumerate(columns)}
    table = pa.table(by_column).to_pandas().astype("str")
    table.index = pd.Index(lines, name="line")
    return table.where(table != "")


def _text(path: Path, encoding: str) -> str:
    """Return the text of the file, unpacked if it is gzipped, behind the byte order mark if there is one."""
    content = path.read_bytes()
    if content.startswith(b"\x1f\x8b"):
        content = gzip.decompress(content)
    if b"\0" in content:
        raise UserError(
            f"{path}: it holds NUL bytes, so it is no CSV (or one in UTF-16); save it as CSV in UTF-8"
        )
    return content.removeprefix(b"\xef\xbb\xbf").decode(encoding)


def _read_cells(
    reader: Iterator[list[str]], header: list[str], columns: Sequence[str], path: Path
) -> tuple[list[int], list[str]]:
    """Return the line that each record begins at, and the fields of ``columns``, one record after the other.

    Blank lines are no records. Blank fields beyond the header, and absent ones below a nameless column, hold nothing: they
    are let pass. One flat list of fields, because a tuple a record would have the garbage collector visit a million.
    """
    width = len(header)
    named = max(number for number, name in enumerate(header, 1) if name)
    places = [header.index(column) for column in columns]
    # of one place itemgetter would return the bare field
    chosen = itemgetter(*places) if len(places) > 1 else lambda record: (record[places[0]],)
    lines: list[int] = []
    cells: list[str] = []
    end = reader.line_num
    for record in reader:
        line, end = end + 1, reader.line_num
        if len(record) != width:
            if not record:
                continue
            if len(record) < named or any(record[width:]):
                raise UserError(
                    f"{path}, line {line}: {width} fields were expected, as in the header, found {len(record)}; "
                    "mend the line, or download the file again"
                )
        lines.append(line)
        cells.extend(chosen(record))
    return lines, cells


def _require_commas(header: list[str], columns: Sequence[str], path: Path) -> None:
    first = header[0] if header else ""
    if first.lstrip()[:1] == "<":
        raise UserError(f"{path}: a web page, not a CSV (a login page?); download it again")
    for name, separator in (("semicolons", ";"), ("tabs", "\t")):
        if len(header) == 1 and separator in first and first not in columns:
            raise UserError(f"{path}: its fields are separated by {name}; save it with commas")
    if not any(header):
        raise UserError(f"{path}: the first line is blank; it must name the columns")


@contextmanager
def _refusing_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the root") from None
    except (csv.Error, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: not a readable CSV ({error}); download it again") from None
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); check the file and its permissions"
        ) from None


# Whole numbers up to here are exact as a float64.
EXACT = 2.0**53


def is_parquet(path: Path) -> bool:
    """Return whether the file at ``path`` begins as Parquet does, whatever its name says; False if it is not there."""
    if not path.is_file():
        return False
    with path.open("rb") as handle:
        return handle.read(4) == b"PAR1"


def read_parquet_columns(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Return the ``columns`` of the Parquet file at ``path``, all as strings; a blank is null.

    Whole numbers are written without a point, also those that pandas keeps as floats for the sake of blanks among them:
    patient 17 is '17'. True and False are '1' and '0'. The index of the table holds the number of each row, from 1. Raises
    UserError if the file is damaged or empty, or a column is missing, occurs twice, or holds neither text nor numbers.
    """
    try:
        with pq.ParquetFile(path) as file:
            require_columns(columns, file.schema_arrow.names, path)
            read = file.read(columns=list(columns), use_threads=False)
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path}: not a readable Parquet file ({reason}); write it again") from None
    if read.num_rows == 0:
        raise UserError(f"{path}: there is no row in it; write it again")
    table = pd.DataFrame({name: _as_text(read[name], name, path) for name in columns})
    table.index = pd.RangeIndex(1, len(table) + 1, name="row")
    return table.where(table != "")


def _as_text(column: pa.ChunkedArray, name: str, path: Path) -> pd.Series:
    kind = column.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
        column = column.cast(kind)
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    elif pa.types.is_floating(kind):
        return _numbers_as_text(column.to_pandas().astype(np.float64), name, path)
    elif not (
        pa.types.is_integer(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_null(kind)
    ):
        raise UserError(
            f"{path}: column '{name}' holds {kind}; text or numbers were expected, write it as text"
        )
    return column.cast(pa.string()).to_pandas().astype("str")


def _numbers_as_text(numbers: pd.Series, name: str, path: Path) -> pd.Series:
    if (numbers.abs() > EXACT).any():
        raise UserError(
            f"{path}: column '{name}' holds floats beyond 2^53, which are not exact; write them as text"
        )
    whole = numbers.notna() & (numbers % 1 == 0)
    text = numbers.astype("str").where(numbers.notna())
    text[whole] = numbers[whole].astype(np.int64).astype("str")
    return text
