"""Read a table of a release (CSV or Parquet) as text, and name the row at which something is wrong.

Every cell and every column's name loses the blanks around it, here and for all adapters: to a program '003'
and '003 ' are two patients, and then one patient can lie on two sides of a split.

PyArrow reads CSV files. Files with quotes or faults first pass through Python's csv module, which knows the
line of each record and is stricter: to PyArrow, everything from an unclosed quote to the end of the file is
one field.

Every fault ends in a UserError that says what was expected, what is there instead, and what to do. The text of
a cell is never repeated, because it may identify a patient: the column may be the wrong one. The index of a
table holds the line of each row, as an editor counts it, or the number of the row in a Parquet file.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import json
import logging
import os
import stat
import unicodedata
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from moco_transfer.config.listing import MISSING
from moco_transfer.data.index import LABEL_VALUES
from moco_transfer.data.labels import SPLITS
from moco_transfer.errors import UserError

# The largest table, unpacked: a small file may unpack to more than the memory. MIMIC-CXR-JPG's largest has some 60 MB
# and 377,110 rows. The line is bounded because one line may hold millions of fields.
MOST_BYTES, MOST_ROWS, MOST_LINE = 512 * 2**20, 10_000_000, 2**20
# What is invisible at the ends of a cell: separators, control characters, and format characters such as a byte order
# mark or the direction mark that Windows puts before a copied path.
BLANKS = "".join(
    letter
    for letter in map(chr, range(0x10000))
    if unicodedata.category(letter) in ("Zs", "Zl", "Zp", "Cc", "Cf")
)
# How files of other formats begin.
FORMATS = {
    b"PK\x03\x04": "an Excel workbook or a zip archive",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"\x1f\x8b": "gzipped twice",
    b"BZh": "packed with bzip2",
    b"\xfd7zXZ": "packed with xz",
    b"\x28\xb5\x2f\xfd": "packed with zstd",
    b"<": "a web page (a login page?)",
    b"{": "JSON",
}
TRUTH = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}

log = logging.getLogger(__name__)


def read_table(path: Path, columns: Sequence[str], as_written: Collection[str] = ()) -> pd.DataFrame:
    """Return the ``columns`` of the CSV or Parquet file at ``path``, all as text without blanks around it; a blank is null.

    A CSV may be gzipped, whatever its name says; it is UTF-8, with or without a byte order mark, or else Latin-1, with a
    warning. ``MISSING`` words are blanks too, but not in the columns ``as_written``. Numbers of a Parquet file are written as a CSV would have them: patient 17 is '17', also if pandas made it a
    float because of blanks among the others, and True is '1'.

    Raises UserError if the file is missing, damaged, empty or too large, if a column is missing or occurs twice, if a
    record of a CSV has too few or too many fields, or if a Parquet column holds neither text nor numbers.
    """
    content = read_content(path)
    if content.startswith(b"PAR1"):
        return _read_parquet(content, columns, path, as_written)
    while content.startswith(b"\xef\xbb\xbf"):
        content = content[3:]
    return _read_csv(content, columns, path, as_written)


def header(path: Path) -> list[str]:
    """Return the names of the columns of the CSV or Parquet file at ``path``, without the blanks around them.

    Raises UserError if the file cannot be opened. What is no table has no columns: ``read_table`` says what is wrong.
    """
    content = read_content(path)
    try:
        if content.startswith(b"PAR1"):
            names = pq.read_schema(pa.BufferReader(content)).names
        elif b"\0" in content:
            return []
        else:
            lines = io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", errors="replace", newline="")
            names = next(csv.reader(lines), [])
    except (pa.ArrowException, csv.Error):
        return []
    return [name.strip(BLANKS) for name in names]


def read_content(path: Path) -> bytes:
    """Return the bytes of the regular file at ``path``, unpacked if it is gzipped.

    The file is opened without waiting, because a named pipe would make its reader wait forever. Raises UserError if it
    is missing, no regular file, damaged, or larger than ``MOST_BYTES``.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UserError(f"{path}: not a regular file; put the table itself there")
            content = file.read(MOST_BYTES + 1)
            if content.startswith(b"\x1f\x8b"):
                content = gzip.GzipFile(fileobj=io.BytesIO(content)).read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the root") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: not a readable CSV ({error}); download it again") from None
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); check the file and its permissions"
        ) from None
    _require_size(len(content), 0, path)
    return content


def _require_size(size: int, rows: int, path: Path) -> None:
    """Raise UserError if a table of ``size`` bytes, unpacked, and ``rows`` rows is too large."""
    for count, most, what in ((size, MOST_BYTES, "bytes when unpacked"), (rows, MOST_ROWS, "rows")):
        if count > most:
            raise UserError(
                f"{path}: it has more than {most:,} {what}, the most that a table may have; "
                "check that it is the right file, and cut it if it is"
            )


def stripped(column: pa.ChunkedArray, missing: Sequence[str] = MISSING) -> pa.ChunkedArray:
    """Return a ``column`` of text without the ``BLANKS`` around each value; what is empty then, or ``missing``, is null."""
    text = pc.utf8_trim(column, characters=BLANKS)
    blank = pc.is_in(pc.utf8_lower(text), value_set=pa.array(["", *missing]))
    return pc.if_else(blank, None, text)


def label_values(table: pd.DataFrame, columns: Sequence[str], path: Path) -> pd.DataFrame:
    """Return the ``columns`` of ``table``, which was read from ``path``, as float32 with the values 1, 0, -1 and NaN.

    True and yes count as 1, False and no as 0, in capitals or not. Raises UserError that names the line and the column if
    there is any other.
    """
    values = {}
    for column in columns:
        numbers = pd.to_numeric(table[column], errors="coerce")
        bad = table[column].notna() & ~numbers.isin(LABEL_VALUES)
        if bad.any():
            numbers = numbers.fillna(table[column].str.lower().map(TRUTH).astype(np.float64))
            bad &= ~numbers.isin(LABEL_VALUES)
        if bad.any():
            rule = "positive: [its values that count as 1]"
            found = "text; write 1 for present and 0 for absent, or make a label of it by a rule"
            if numbers[bad].notna().any():
                found, rule = "another number; if it is a grade, make a label of it", "at_least: 2"
            found += f", such as labels: {{NAME: {{from: {json.dumps(column, ensure_ascii=False)}, {rule}}}}}"
            refuse(bad, path, f"expected 1, 0, -1 or a blank, found {found}", column)
        values[column] = numbers.to_numpy(dtype=np.float32)
    return pd.DataFrame(values, index=table.index)


def split_values(column: pd.Series, path: Path) -> pd.Series:
    """Return the official splits in a ``column`` read from ``path``: 'train', 'validation', 'test' or null.

    Other usual names are accepted (``SPLIT_NAMES``), in capitals or not. Raises UserError that names the line of any other.
    """
    known = column.str.lower().map(SPLIT_NAMES)
    bad = column.notna() & known.isna()
    refuse(bad, path, f"expected {', '.join(SPLITS)} or a blank, found another value", column.name)
    return known


def refuse_blanks(table: pd.DataFrame, columns: Iterable[str], path: Path) -> None:
    """Raise UserError if an identifier is blank in ``columns`` of ``table``, which was read from ``path``."""
    for column in columns:
        refuse(table[column].isna(), path, "expected an identifier, found a blank", column)


def refuse_duplicates(table: pd.DataFrame, columns: list[str], path: Path) -> None:
    """Raise UserError if the values of ``columns`` occur twice in ``table``, which was read from ``path``."""
    kind = table.index.name
    message = f"this {', '.join(columns)} is also on an earlier {kind}; expected one {kind} for each"
    refuse(table.duplicated(columns), path, message)


def refuse(bad: pd.Series, path: Path, message: str, column: str | None = None) -> None:
    """Raise UserError with ``message`` and the place of the first row at which ``bad`` (bool [rows]) is true, if any is.

    ``bad`` has the index of the table, which was read from ``path``, or of the images in the folder ``path``; ``column`` is a
    part of the place if given.
    """
    if bad.any():
        rows, kind = bad.index[bad.to_numpy(dtype=bool)], bad.index.name
        text = "wildcard" if kind == "image" else "column"
        place = f"{path}, {kind} {rows[0]}" + (f", {text} '{column}'" if column else "")
        others = f" ({len(rows)} such {kind}s)" if len(rows) > 1 else ""
        raise UserError(f"{place}: {message}{others}")


def _read_csv(
    content: bytes, columns: Sequence[str], path: Path, as_written: Collection[str]
) -> pd.DataFrame:
    _require_size(len(content), max(content.count(b"\n"), content.count(b"\r")), path)
    head = content[:100].lstrip()
    for start, what in FORMATS.items():
        if head.startswith(start):
            raise UserError(f"{path}: it is {what}, not a CSV; save or download the table as CSV in UTF-8")
    if b"\0" in content:
        raise UserError(
            f"{path}: contains NUL bytes, so it is not a CSV, or one in UTF-16; save it as CSV in UTF-8"
        )
    try:
        content.decode()
    except UnicodeDecodeError:
        log.warning("%s: not in UTF-8, read as Latin-1; check names with accents", path)
        content = content.decode("latin-1").encode()
    written = _written_names(content, columns, path)
    table = None
    if b'"' not in content:
        with suppress(pa.ArrowException):
            table = _parsed(content, written)
    lines: Sequence[int] = range(2, 2 + (table.num_rows if table else 0))
    if not table or table.num_rows != content.rstrip().count(b"\n"):
        lines, content = _checked(content, path)
        try:
            table = _parsed(content, written)
        except pa.ArrowException:  # its message repeats the record
            table = None
        if table is None or table.num_rows != len(lines):
            raise UserError(f"{path}: not a readable CSV; save or download it again")
    if not lines:
        raise UserError(f"{path}: the table has no rows; download it again")
    frame = pd.DataFrame(
        {
            name: stripped(table[old], () if name in as_written else MISSING).to_pandas()
            for name, old in zip(columns, written, strict=True)
        }
    )
    frame.index = pd.Index(lines, name="line")
    return frame


def _parsed(content: bytes, columns: Sequence[str]) -> pa.Table:
    return pyarrow.csv.read_csv(
        pa.BufferReader(content),
        read_options=pyarrow.csv.ReadOptions(use_threads=False),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            include_columns=list(dict.fromkeys(columns)),
            column_types=dict.fromkeys(columns, pa.string()),
            strings_can_be_null=False,
        ),
    )


def _records(content: bytes) -> csv.reader:
    def lines() -> Iterator[str]:
        for line in io.TextIOWrapper(io.BytesIO(content), "utf-8", newline=""):
            if len(line) > MOST_LINE:
                raise csv.Error(f"a line is longer than {MOST_LINE:,} characters")
            yield line

    return csv.reader(lines(), strict=True)


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
        named = max(number for number, name in enumerate(header, 1) if name.strip(BLANKS))
        end = reader.line_num
        for record in reader:
            line, end = end + 1, reader.line_num
            if len(record) < 2 and not "".join(record).strip(BLANKS):
                continue
            if len(record) < named or "".join(record[len(header) :]).strip(BLANKS):
                raise UserError(
                    f"{path}, line {line}: expected {len(header)} fields, as in the header, found {len(record)}; "
                    "correct the line, or download the file again"
                )
            lines.append(line)
            writer.writerow((record + [""] * len(header))[: len(header)])
    except csv.Error as error:
        raise UserError(f"{path}: not a readable CSV ({error}); download it again") from None
    return lines, plain.getvalue().encode()


def _written_names(content: bytes, columns: Sequence[str], path: Path) -> list[str]:
    """Return the names of ``columns`` as the header of a CSV writes them, perhaps with blanks around them."""
    if not content:
        raise UserError(f"{path}: the file is empty; download it again")
    try:
        header = next(_records(content))
    except csv.Error as error:
        raise UserError(f"{path}: not a readable CSV ({error}); download it again") from None
    names = [name.strip(BLANKS) for name in header]
    if not any(names):
        raise UserError(f"{path}: the first line is blank; it must name the columns")
    for kind, separator in (("semicolons", ";"), ("tabs", "\t"), ("bars", "|")):
        if len(header) == 1 and separator in header[0] and header[0] not in columns:
            raise UserError(f"{path}: its fields are separated by {kind}; save it with commas")
    _require_columns(columns, names, path)
    return [header[names.index(column)] for column in columns]


def _require_columns(columns: Sequence[str], present: Sequence[str], path: Path) -> None:
    """Raise UserError if one of ``columns`` is not ``present`` exactly once in the file at ``path``.

    The message names the columns of the file only if one of the requested columns is among them. Otherwise
    the first line may be a row of identifiers instead of a header.
    """
    missing = [column for column in columns if column not in present]
    if missing:
        names = ", ".join(f"'{column}'" for column in missing)
        verb = f"column {names} is" if len(missing) == 1 else f"columns {names} are"
        is_header = len(missing) < len(set(columns))
        shown = [" ".join(name.split()) for name in present]  # a name may hold a line break
        found = f"found {', '.join(shown)}"
        if not is_header:
            found = f"found none of them among {len(present)}; is the first line a header?"
        hint = _suggestions(missing, shown, 0.7 if is_header else 1)
        raise UserError(f"{path}: {verb} missing; {found}{hint}")
    for column in columns:
        if present.count(column) > 1:
            raise UserError(
                f"{path}: column '{column}' occurs {present.count(column)} times; rename all but one"
            )


def _suggestions(missing: Sequence[str], present: Sequence[str], cutoff: float) -> str:
    def plain(name: str) -> str:
        return "".join(character for character in name.casefold() if character.isalnum())

    names = {plain(name): name for name in present}
    near = {name: difflib.get_close_matches(plain(name), names, n=2, cutoff=cutoff) for name in missing}
    hints = [
        " or ".join(f"'{names[match]}'" for match in matches) + (f" for '{name}'" if len(missing) > 1 else "")
        for name, matches in near.items()
        if matches
    ]
    return f"; did you mean {', '.join(hints)}?" if hints else ""


def _read_parquet(
    content: bytes, columns: Sequence[str], path: Path, as_written: Collection[str]
) -> pd.DataFrame:
    try:
        with pq.ParquetFile(pa.BufferReader(content)) as file:
            schema, stored = file.schema_arrow, file.metadata
            size = sum(stored.row_group(number).total_byte_size for number in range(stored.num_row_groups))
        names = [name.strip(BLANKS) for name in schema.names]
        _require_columns(columns, names, path)
        written = {column: schema.names[names.index(column)] for column in columns}
        _require_size(size, stored.num_rows, path)
        if stored.num_rows == 0:
            raise UserError(f"{path}: the table has no rows; write it again")
        # Text stays a dictionary until it is counted: a few bytes can repeat one long text a million times.
        texts = [name for name in written.values() if _is_text(schema.field(name).type)]
        table = pd.DataFrame()
        with pq.ParquetFile(
            pa.BufferReader(content), read_dictionary=texts, page_checksum_verification=True
        ) as file:
            for column, name in written.items():
                stored_column = file.read(columns=[name], use_threads=False)[name]
                missing = () if column in as_written else MISSING
                table[column] = _as_text(stored_column, column, path, missing)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path}: not a readable Parquet file ({reason}); write it again") from None
    table.index = pd.RangeIndex(1, len(table) + 1, name="row")
    return table


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _as_text(column: pa.ChunkedArray, name: str, path: Path, missing: Sequence[str]) -> pd.Series:
    kind = column.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
        if _is_text(kind):
            lengths = [pc.take(pc.binary_length(chunk.dictionary), chunk.indices) for chunk in column.chunks]
            _require_size(sum(pc.sum(length).as_py() or 0 for length in lengths), 0, path)
        column = column.cast(kind)
    if pa.types.is_floating(kind):
        # In its own precision: a float32 of 0.1 would be 0.10000000149 as a float64.
        numbers = column.to_pandas()
        digits = np.finfo(numbers.dtype).nmant + 1
        if (numbers.abs() > 2.0**digits).any():
            raise UserError(
                f"{path}: column '{name}' holds floats beyond 2^{digits}, which are not exact; write them as text"
            )
        whole = numbers.notna() & (numbers % 1 == 0)
        text = numbers.astype("str").where(numbers.notna())
        text[whole] = numbers[whole].astype(np.int64).astype("str")
        return text
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    elif not (_is_text(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        raise UserError(f"{path}: column '{name}' holds {kind}; expected text or numbers: write it as text")
    return stripped(column.cast(pa.string()), missing).to_pandas().astype("str")
