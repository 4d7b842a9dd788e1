"""Which rows of a store play a part: those of a split, or of a labelled subset. Reads Parquet without pandas."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


def split_rows(splits: Path, names: Collection[str]) -> np.ndarray:
    """Return the rows in one of the splits ``names``, ascending, int64 [m]."""
    column = pq.read_table(splits, columns=["split"])["split"]
    inside = pc.is_in(column, value_set=pa.array(list(names), column.type))
    return np.flatnonzero(inside.to_numpy())


def subset_rows(subset: Path) -> np.ndarray:
    """Return the rows of a labelled subset in the order they were drawn, int64 [m]."""
    return pq.read_table(subset, columns=["row"])["row"].to_numpy()
