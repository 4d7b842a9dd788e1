"""Columns of a Parquet file, for jobs of less than a second: without what PyArrow imports on the way.

Its ``read_table`` imports its datasets, its ``to_numpy`` pandas: half a second that a linear head takes itself.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def read_columns(path: Path, columns: Sequence[str]) -> pa.Table:
    """Return the ``columns`` of the Parquet file ``path``; one that is not there is left out."""
    with pq.ParquetFile(path) as file:
        return file.read(columns=list(columns), use_threads=False)


def as_numpy(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column of numbers; a missing one is NaN."""
    if column.null_count:
        return column.to_numpy()
    return np.concatenate([np.empty(0, column.type.to_pandas_dtype()), *map(np.from_dlpack, column.chunks)])


def rows_among(column: pa.ChunkedArray, names: Collection[str]) -> np.ndarray:
    """Return the places in a column of text, int64 ascending, that hold one of ``names``."""
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    wanted = [code for code, name in enumerate(encoded.dictionary.to_pylist()) if name in names]
    return np.flatnonzero(np.isin(np.from_dlpack(encoded.indices), wanted))
