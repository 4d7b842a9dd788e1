"""Which rows of a store play a part: those of a split, or of a labelled subset."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from moco_transfer.data.read_parquet import as_numpy, read_columns, rows_among


def split_rows(splits: Path, names: Collection[str]) -> np.ndarray:
    """Return the rows in one of the splits ``names``, ascending, int64 [m]."""
    return rows_among(read_columns(splits, ["split"])["split"], names)


def subset_rows(subset: Path) -> np.ndarray:
    """Return the rows of a labelled subset in the order they were drawn, int64 [m]."""
    return as_numpy(read_columns(subset, ["row"])["row"])
