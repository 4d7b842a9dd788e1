"""The columns of a Parquet file as text, as if they had been read from a CSV: one way of checking for both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from moco_transfer.data.adapters.csv_file import require_columns
from moco_transfer.errors import UserError

# Whole numbers up to here are exact as a float64.
EXACT = 2.0**53


def is_parquet(path: Path) -> bool:
    """Return whether the file at ``path`` begins as Parquet does, whatever its name says; False if it is not there."""
    if not path.is_file():
        return False
    with path.open("rb") as handle:
        return handle.read(4) == b"PAR1"


def read_columns(path: Path, columns: Sequence[str]) -> pd.DataFrame:
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
