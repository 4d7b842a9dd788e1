"""Columns of a Parquet file, for jobs of less than a second: without the datasets that PyArrow's ``read_table`` imports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def read_columns(path: Path, columns: Sequence[str]) -> pa.Table:
    """Return the ``columns`` of the Parquet file ``path``; one that is not there is left out."""
    with pq.ParquetFile(path) as file:
        return file.read(columns=list(columns), use_threads=False)
