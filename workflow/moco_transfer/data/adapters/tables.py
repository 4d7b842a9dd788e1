"""Read the tables of a release, CSV or Parquet, as text, and name the row at which something is wrong.

Every fault is a UserError that says what was expected, what was found, and what to do. The index of a table
holds the line of each row, as an editor counts it, or the number of the row in a Parquet file.
"""

from __future__ import annotations

import csv
import gzip
import io
import logging
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from moco_transfer.data.index import LABEL_VALUES
from moco_transfer.errors import UserError

# Whole numbers up to here are exact as a float64.
EXACT = 2.0**53

log = logging.getLogger(__name__)


def read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Return the ``columns`` of the CSV or Parquet file at ``path``, all as text; blanks are null.

    A CSV may be gzipped, whatever its name says; it is UTF-8, with or without a byte order mark, or else
    Latin-1, with a warning. Numbers of a Parquet file are written as a CSV would have them: patient 17 is
    '17', even if pandas made it a float because other patients are blank, and True is '1'.

    Raises UserError if the file is missing, damaged or empty, if a column is missing or occurs twice, if a
    record of a CSV has too few or too many fields, or if a Parquet column holds neither text nor numbers.
    """
    try:
        content = path.read_bytes()
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
    read = _read_parquet if content.startswith(b"PAR1") else _read_csv
    table = read(content, columns, path)
    if table.empty:
        raise UserError(f"{path}: the table has no rows; download or write it again")
    return table.where(table != "")


def label_values(table: pd.DataFrame, columns: Sequence[str], path: Path) -> pd.DataFrame:
    """Return the ``columns`` of ``table``, read from ``path``, as float32 with the values 1, 0, -1 and NaN.

    Raises UserError that names the line, the column and the value if there is any other.
    """
    values = {}
    for column in columns:
        numbers = pd.to_numeric(table[column], errors="coerce")
        bad = table[column].notna() & ~numbers.isin(LABEL_VALUES)
        refuse_values(bad, table[column], path, "1, 0, -1 or a blank")
        values[column] = numbers.astype(np.float32)
    return pd.DataFrame(values)


def refuse_values(bad: pd.Series, values: pd.Series, path: Path, expected: str) -> None:
    """Raise UserError for the first of ``values``, a column read from ``path``, that is ``bad``, if any.

    The message shows the value: do not use this for a column of identifiers.
    """
    if bad.any():
        value = values[bad].iloc[0]
        found = "a blank" if pd.isna(value) else f"'{value[:40]}'"
        refuse(bad, path, f"expected {expected}, found {found}", values.name)


def refuse_duplicates(table: pd.DataFrame, columns: list[str], path: Path) -> None:
    """Raise UserError if the values of ``columns`` occur twice in ``table``, which was read from ``path``."""
    kind = table.index.name
    message = f"this {', '.join(columns)} is also on an earlier {kind}; expected one {kind} for each"
    refuse(table.duplicated(columns), path, message)


def refuse(bad: pd.Series, path: Path, message: str, column: str | None = None) -> None:
    """Raise UserError with ``message`` and the first row at which ``bad`` (bool [rows]) is true, if any is.

    ``bad`` has the index of the table, which was read from ``path``; the message names ``column`` if given.
    """
    if bad.any():
        rows, kind = bad.index[bad], bad.index.name
        place = f"{path}, {kind} {rows[0]}" + (f", column '{column}'" if column else "")
        others = f" ({len(rows)} such {kind}s)" if len(rows) > 1 else ""
        raise UserError(f"{place}: {message}{others}")


def _read_csv(content: bytes, columns: Sequence[str], path: Path) -> pd.DataFrame:
    """Return the columns, with the line at which each record begins as the index; blank lines are skipped.

    Spreadsheets write blank fields beyond the header, and leave out fields below nameless columns at the end.
    Such fields are allowed. Raises UserError for other records that are too short or too long.
    """
    if b"\0" in content:
        raise UserError(
            f"{path}: contains NUL bytes, so it is not a CSV, or one in UTF-16; save it as CSV in UTF-8"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        log.warning("%s: not in UTF-8, read as Latin-1; check names with accents", path)
        text = content.removeprefix(b"\xef\xbb\xbf").decode("latin-1")
    if not text:
        raise UserError(f"{path}: the file is empty; download it again")
    if text.lstrip().startswith("<"):
        raise UserError(f"{path}: a web page, not a CSV (a login page?); download it again")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    lines, values = [], {column: [] for column in columns}
    try:
        header = next(reader)
        _check_header(header, columns, path)
        wanted = [(values[column], header.index(column)) for column in columns]
        named = max(number for number, name in enumerate(header, 1) if name)
        end = reader.line_num
        for record in reader:
            line, end = end + 1, reader.line_num
            if not record:
                continue
            if len(record) < named or any(record[len(header) :]):
                raise UserError(
                    f"{path}, line {line}: expected {len(header)} fields, as in the header, "
                    f"found {len(record)}; correct the line, or download the file again"
                )
            lines.append(line)
            for column, number in wanted:
                column.append(record[number])
    except csv.Error as error:
        raise UserError(f"{path}: not a readable CSV ({error}); download it again") from None
    return pd.DataFrame(values, index=pd.Index(lines, name="line"), dtype="str")


def _check_header(header: Sequence[str], columns: Sequence[str], path: Path) -> None:
    if not any(header):
        raise UserError(f"{path}: the first line is blank; it must name the columns")
    for name, separator in (("semicolons", ";"), ("tabs", "\t")):
        if len(header) == 1 and separator in header[0] and header[0] not in columns:
            raise UserError(f"{path}: its fields are separated by {name}; save it with commas")
    _require_columns(columns, header, path)


def _require_columns(columns: Sequence[str], present: Sequence[str], path: Path) -> None:
    """Raise UserError if one of ``columns`` is not ``present`` exactly once in the file at ``path``.

    The message lists the columns of the file only if it has one of those asked for: otherwise the first line
    may not be a header but a row of identifiers.
    """
    missing = [column for column in columns if column not in present]
    if missing:
        names = ", ".join(f"'{column}'" for column in missing)
        verb = f"column {names} is" if len(missing) == 1 else f"columns {names} are"
        found = "found " + ", ".join(" ".join(name.split()) for name in present)  # a name may have two lines
        if len(missing) == len(columns):
            found = f"found none of them among {len(present)}; is the first line a header?"
        raise UserError(f"{path}: {verb} missing; {found}")
    for column in columns:
        if present.count(column) > 1:
            raise UserError(
                f"{path}: column '{column}' occurs {present.count(column)} times; rename all but one"
            )


def _read_parquet(content: bytes, columns: Sequence[str], path: Path) -> pd.DataFrame:
    try:
        with pq.ParquetFile(pa.BufferReader(content)) as file:
            _require_columns(columns, file.schema_arrow.names, path)
            read = file.read(columns=list(columns), use_threads=False)
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path}: not a readable Parquet file ({reason}); write it again") from None
    table = pd.DataFrame({name: _as_text(read[name], name, path) for name in columns})
    return table.set_axis(pd.RangeIndex(1, len(table) + 1, name="row"))


def _as_text(column: pa.ChunkedArray, name: str, path: Path) -> pd.Series:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_floating(kind):
        numbers = column.to_pandas().astype(np.float64)
        if (numbers.abs() > EXACT).any():
            raise UserError(
                f"{path}: column '{name}' holds floats beyond 2^53, which are not exact; write them as text"
            )
        return numbers.astype("str").str.removesuffix(".0").where(numbers.notna())
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    elif kind not in (pa.string(), pa.large_string(), pa.null()) and not pa.types.is_integer(kind):
        raise UserError(f"{path}: column '{name}' holds {kind}; expected text or numbers: write it as text")
    return column.cast(pa.string()).to_pandas().astype("str")
