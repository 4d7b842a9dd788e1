"""The names that the index table and the splits are made of; apart from their checks, which need pandas.

Which rows of a store play a part: those of a split, or of a labelled subset.


The labels of an index table: which columns they are, and how raw values become targets.

An index keeps the release's own values: 1 (present), 0 (absent), -1 (uncertain) and NaN (not mentioned). What a network
learns is decided here, once, by the configuration: 1 where the value is 1, and for -1 whatever ``labels.uncertain`` says.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq

from moco_transfer.files import as_numpy, read_columns, rows_among

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("image_id", "patient_id", "study_id", "path", "official_split", "view")
SPLITS = ("train", "validation", "test")


def split_rows(splits: Path, names: Collection[str]) -> np.ndarray:
    """Return the rows in one of the splits ``names``, ascending, int64 [m]."""
    return rows_among(read_columns(splits, ["split"])["split"], names)


def subset_rows(subset: Path) -> np.ndarray:
    """Return the rows of a labelled subset in the order they were drawn, int64 [m]."""
    return as_numpy(read_columns(subset, ["row"])["row"])


UNCERTAIN = {"zero": 0.0, "one": 1.0, "mask": np.nan}


def label_columns(columns: Sequence[str]) -> list[str]:
    """Return those of an index table's ``columns`` that are labels: all that stand after ``view``."""
    return list(columns[len(COLUMNS) :])


def targets(raw: np.ndarray, uncertain: str) -> np.ndarray:
    """Return the targets of ``raw`` values: float32 [images, classes] of 0, 1 and NaN, where NaN is masked from the loss.

    ``uncertain`` is what -1 becomes: ``zero``, ``one`` or ``mask``. A blank counts as 0, as in CheXclusion
    (Seyyed-Kalantari et al., 2021), whose finetuning settings the paper shares.
    """
    values = np.where(raw == -1, UNCERTAIN[uncertain], raw).astype(np.float32)
    values[np.isnan(raw)] = 0
    return values


def read_targets(index: Path, uncertain: str) -> tuple[list[str], np.ndarray]:
    """Return the names of the classes of the index table at ``index``, and the targets of its images."""
    classes = label_columns(pq.read_schema(index).names)
    table = read_columns(index, classes)
    raw = np.stack([as_numpy(table[name]) for name in classes], axis=1)
    return classes, targets(raw, uncertain)


def has_labels(index: pd.DataFrame) -> np.ndarray:
    """Return bool [images]: whether any label of the image holds a value at all, be it 1, 0 or -1."""
    return index[label_columns(index.columns)].notna().to_numpy().any(axis=1)
