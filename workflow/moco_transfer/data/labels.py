"""Read an index and its splits: the rows of a split, the labels, and the targets that labels become.

An index keeps the release's own values: 1 (present), 0 (absent), -1 (uncertain) and NaN (not mentioned). Only
this module decides what a network learns from them: 1 stays 1, -1 becomes what ``labels.uncertain`` says, and
a blank counts as 0, as in CheXclusion (Seyyed-Kalantari et al., 2021), whose settings the paper shares.

Nothing here imports pandas, because the jobs that read labels take less than a second.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from moco_transfer.errors import UserError
from moco_transfer.files import as_numpy, column_names, read_columns, rows_among

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("image_id", "patient_id", "study_id", "path", "official_split", "view")
SPLITS = ("train", "validation", "test")
UNCERTAIN = {"zero": 0.0, "one": 1.0, "mask": np.nan}


def split_rows(splits: Path, names: Collection[str]) -> np.ndarray:
    """Return the rows in one of the splits ``names``, ascending, int64 [m]."""
    return rows_among(read_columns(splits, ["split"])["split"], names)


def subset_rows(subset: Path) -> np.ndarray:
    """Return the rows of a labelled subset in the order they were drawn, int64 [m]."""
    return as_numpy(read_columns(subset, ["row"])["row"])


def label_columns(columns: Sequence[str]) -> list[str]:
    """Return the labels among the ``columns`` of an index table: all columns after ``view``."""
    return list(columns[len(COLUMNS) :])


def targets(raw: np.ndarray, uncertain: str) -> np.ndarray:
    """Return the targets of ``raw`` values: float32 [images, classes] of 0, 1 and NaN (no loss).

    ``uncertain`` says what -1 becomes: ``zero``, ``one`` or ``mask`` (NaN).
    """
    values = np.where(raw == -1, UNCERTAIN[uncertain], raw).astype(np.float32)
    values[np.isnan(raw)] = 0
    return values


def read_targets(index: Path, uncertain: str) -> tuple[list[str], np.ndarray]:
    """Return the names of the classes of the index table at ``index``, and the targets of its images."""
    classes = label_columns(column_names(index))
    table = read_columns(index, classes)
    raw = np.stack([as_numpy(table[name]) for name in classes], axis=1)
    return classes, targets(raw, uncertain)


def has_labels(index: pd.DataFrame) -> np.ndarray:
    """Return whether any label of an image has a value (1, 0 or -1): bool [images]."""
    return index[label_columns(index.columns)].notna().to_numpy().any(axis=1)


# What ``require_one_class`` says of targets.
MULTICLASS = (
    "targets.*.task: multiclass needs one; leave all labels of an image without a class blank and set "
    "datasets.*.labels.unlabeled to drop, or set the task to multilabel if several are meant"
)


def require_one_class(labels: np.ndarray, rows: np.ndarray, index: Path, needed: str) -> None:
    """Raise UserError, which ends with ``needed``, unless each image of ``rows`` has exactly one class.

    ``labels`` are the targets [n, classes] of all images of the table at ``index``.
    """
    counts = (labels[rows] == 1).sum(axis=1)
    wrong = rows[counts != 1]
    if len(wrong):
        found = {"none": (counts == 0).sum(), "several": (counts > 1).sum()}
        what = " and ".join(f"{count} with {kind}" for kind, count in found.items() if count)
        raise UserError(
            f"{index}: {len(wrong)} of {len(rows)} images do not have exactly one class: {what} (first: row {wrong.min() + 1}); {needed}"
        )
