"""Read a table of a release (CSV or Parquet) as text, and name the row at which something is wrong.

PyArrow reads CSV files. Files with quotes or faults first pass through Python's csv module, which knows the
line of each record and is stricter: to PyArrow, everything from an unclosed quote to the end of the file is
one field.

Every fault ends in a UserError that says what was expected, what is there instead, and what to do. The index
of a table holds the line of each row, as an editor counts it, or the number of the row in a Parquet file.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import logging
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from moco_transfer.data.index import LABEL_VALUES
from moco_transfer.errors import UserError

# Whole numbers up to here are exact as a float64.
EXACT = 2.0**53

log = logging.getLogger(__name__)


def read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Return the ``columns`` of the CSV or Parquet file at ``path``, all as text; a blank is null.

    A CSV may be gzipped, whatever its name says; it is UTF-8, with or without a byte order mark, or else Latin-1, with a
    warning. Numbers of a Parquet file are written as a CSV would have them: patient 17 is '17', also if pandas made it a
    float because of blanks among the others, and True is '1'.

    Raises UserError if the file is missing, damaged or empty, if a column is missing or occurs twice, if a record of a
    CSV has too few or too many fields, or if a Parquet column holds neither text nor numbers.
    """
    try:
        content = path.read_bytes()
        if content.startswith(b"PAR1"):
            return _read_parquet(path, columns)
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the root") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: not a readable CSV ({error}); download it again") from None
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); check the file and its permissions"
        ) from None
    return _read_csv(content.removeprefix(b"\xef\xbb\xbf"), columns, path)


def label_values(table: pd.DataFrame, columns: Sequence[str], path: Path) -> pd.DataFrame:
    """Return the ``columns`` of ``table``, which was read from ``path``, as float32 with the values 1, 0, -1 and NaN.

    Raises UserError that names the line, the column and the value if there is any other.
    """
    values = {}
    for column in columns:
        numbers = pd.to_numeric(table[column], errors="coerce")
        bad = table[column].notna() & ~numbers.isin(LABEL_VALUES)
        refuse_values(bad, table[column], path, "1, 0, -1 or a blank")
        values[column] = numbers.to_numpy(dtype=np.float32)
    return pd.DataFrame(values, index=table.index)


def refuse_values(bad: pd.Series, values: pd.Series, path: Path, expected: str) -> None:
    """Raise UserError for the first of ``values``, a column read from ``path``, at which ``bad`` is true, if any is.

    The value at fault is shown: do not use this for a column of identifiers.
    """
    if bad.any():
        value = values.iloc[int(np.flatnonzero(bad)[0])]
        found = "a blank" if pd.isna(value) else f"'{value[:40]}'"
        refuse(bad, path, f"expected {expected}, found {found}", values.name)


def refuse_duplicates(table: pd.DataFrame, columns: list[str], path: Path) -> None:
    """Raise UserError if the values of ``columns`` occur twice in ``table``, which was read from ``path``."""
    kind = table.index.name
    message = f"this {', '.join(columns)} is also on an earlier {kind}; expected one {kind} for each"
    refuse(table.duplicated(columns), path, message)


def refuse(bad: pd.Series, path: Path, message: str, column: str | None = None) -> None:
    """Raise UserError with ``message`` and the place of the first row at which ``bad`` (bool [rows]) is true, if any is.

    ``bad`` has the index of the table, which was read from ``path``; ``column`` is a part of the place if given.
    """
    if bad.any():
        rows, kind = bad.index[bad.to_numpy(dtype=bool)], bad.index.name
        place = f"{path}, {kind} {rows[0]}" + (f", column '{column}'" if column else "")
        others = f" ({len(rows)} such {kind}s)" if len(rows) > 1 else ""
        raise UserError(f"{place}: {message}{others}")


def _read_csv(content: bytes, columns: Sequence[str], path: Path) -> pd.DataFrame:
    if b"\0" in content:
        raise UserError(
            f"{path}: contains NUL bytes, so it is not a CSV, or one in UTF-16; save it as CSV in UTF-8"
        )
    try:
        content.decode()
    except UnicodeDecodeError:
        log.warning("%s: not in UTF-8, read as Latin-1; check names with accents", path)
        content = content.decode("latin-1").encode()
    _check_header(content, columns, path)
    table = None
    if b'"' not in content:
        with suppress(pa.ArrowInvalid):
            table = _parsed(content, columns)
    lines: Sequence[int] = range(2, 2 + (table.num_rows if table else 0))
    if not table or table.num_rows != content.rstrip().count(b"\n"):
        lines, content = _checked(content, path)
        try:
            table = _parsed(content, columns)
        except pa.ArrowInvalid:  # its message repeats the record
            table = None
        if table is None or table.num_rows != len(lines):
            raise UserError(f"{path}: not a readable CSV; save or download it again")
    if not lines:
        raise UserError(f"{path}: the table has no rows; download it again")
    frame = table.to_pandas()
    frame.index = pd.Index(lines, name="line")
    return frame[list(columns)]


def _parsed(content: bytes, columns: Sequence[str]) -> pa.Table:
    return pyarrow.csv.read_csv(
        pa.BufferReader(content),
        read_options=pyarrow.csv.ReadOptions(use_threads=False),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            include_columns=list(columns),
            column_types=dict.fromkeys(columns, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
        ),
    )


def _records(content: bytes) -> csv.reader:
    return csv.reader(io.TextIOWrapper(io.BytesIO(content), "utf-8", newline=""), strict=True)


def _checked(content: bytes, path: Path) -> tuple[list[int], bytes]:
    """Return the line at which each record of a CSV begins, and the CSV with just the fields of its header.

    Blank lines are skipped. Blank fields beyond the header and absent fields below a nameless column, as spreadsheets
    write them, hold nothing and are allowed. Raises UserError for other records that are too short or too long.
    """
    plain = io.StringIO()
    writer = csv.writer(plain)
    reader = _records(content)
    lines: list[int] = []
    try:
        header = next(reader)
        writer.writerow(header)
        named = max(number for number, name in enumerate(header, 1) if name)
        end = reader.line_num
        for record in reader:
            line, end = end + 1, reader.line_num
            if not record:
                continue
            if len(record) < named or any(record[len(header) :]):
                raise UserError(
                    f"{path}, line {line}: expected {len(header)} fields, as in the header, found {len(record)}; "
                    "correct the line, or download the file again"
                )
            lines.append(line)
            writer.writerow((record + [""] * len(header))[: len(header)])
    except csv.Error as error:
        raise UserError(f"{path}: not a readable CSV ({error}); download it again") from None
    return lines, plain.getvalue().encode()


def _check_header(content: bytes, columns: Sequence[str], path: Path) -> None:
    if not content:
        raise UserError(f"{path}: the file is empty; download it again")
    if content.lstrip()[:1] == b"<":
        raise UserError(f"{path}: a web page, not a CSV (a login page?); download it again")
    try:
        header = next(_records(content))
    except csv.Error as error:
        raise UserError(f"{path}: not a readable CSV ({error}); download it again") from None
    if not any(header):
        raise UserError(f"{path}: the first line is blank; it must name the columns")
    for name, separator in (("semicolons", ";"), ("tabs", "\t")):
        if len(header) == 1 and separator in header[0] and header[0] not in columns:
            raise UserError(f"{path}: its fields are separated by {name}; save it with commas")
    _require_columns(columns, header, path)


def _require_columns(columns: Sequence[str], present: Sequence[str], path: Path) -> None:
    """Raise UserError if one of ``columns`` is not ``present`` exactly once in the file at ``path``.

    The message names the columns of the file only if one of the requested columns is among them. Otherwise
    the first line may be a row of identifiers instead of a header.
    """
    missing = [column for column in columns if column not in present]
    if missing:
        names = ", ".join(f"'{column}'" for column in missing)
        verb = f"column {names} is" if len(missing) == 1 else f"columns {names} are"
        shown = [" ".join(name.split()) for name in present]  # a name may hold a line break
        found = f"found {', '.join(shown)}"
        if len(missing) == len(set(columns)):
            found = f"found none of them among {len(present)}; is the first line a header?"
        raise UserError(f"{path}: {verb} missing; {found}{_suggestions(missing, shown)}")
    for column in columns:
        if present.count(column) > 1:
            raise UserError(
                f"{path}: column '{column}' occurs {present.count(column)} times; rename all but one"
            )


def _suggestions(missing: Sequence[str], present: Sequence[str]) -> str:
    def plain(name: str) -> str:
        return "".join(character for character in name.casefold() if character.isalnum())

    names = {plain(name): name for name in present}
    near = {name: difflib.get_close_matches(plain(name), names, n=2, cutoff=0.7) for name in missing}
    hints = [
        " or ".join(f"'{names[match]}'" for match in matches) + (f" for '{name}'" if len(missing) > 1 else "")
        for name, matches in near.items()
        if matches
    ]
    return f"; did you mean {', '.join(hints)}?" if hints else ""


def _read_parquet(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    try:
        with pq.ParquetFile(path) as file:
            _require_columns(columns, file.schema_arrow.names, path)
            read = file.read(columns=list(columns), use_threads=False)
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path}: not a readable Parquet file ({reason}); write it again") from None
    if read.num_rows == 0:
        raise UserError(f"{path}: the table has no rows; write it again")
    table = pd.DataFrame({name: _as_text(read[name], name, path) for name in columns})
    table.index = pd.RangeIndex(1, len(table) + 1, name="row")
    return table.where(table != "")


def _as_text(column: pa.ChunkedArray, name: str, path: Path) -> pd.Series:
    kind = column.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
        column = column.cast(kind)
    if pa.types.is_floating(kind):
        numbers = column.to_pandas().astype(np.float64)
        if (numbers.abs() > EXACT).any():
            raise UserError(
                f"{path}: column '{name}' holds floats beyond 2^53, which are not exact; write them as text"
            )
        whole = numbers.notna() & (numbers % 1 == 0)
        text = numbers.astype("str").where(numbers.notna())
        text[whole] = numbers[whole].astype(np.int64).astype("str")
        return text
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    elif not (
        pa.types.is_integer(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_null(kind)
    ):
        raise UserError(f"{path}: column '{name}' holds {kind}; expected text or numbers: write it as text")
    return column.cast(pa.string()).to_pandas().astype("str")
