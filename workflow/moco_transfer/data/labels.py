"""The labels of an index table: which columns they are, and how raw values become targets.

An index keeps the release's own values: 1 (present), 0 (absent), -1 (uncertain) and NaN (not mentioned). What a network
learns is decided here, once, by the configuration: 1 where the value is 1, and for -1 whatever ``labels.uncertain`` says.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from moco_transfer.data.index import COLUMNS

UNCERTAIN = {"zero": 0.0, "one": 1.0, "mask": np.nan}


def label_columns(index: pd.DataFrame) -> list[str]:
    """Return the names of the label columns of ``index``: all that stand after ``view``."""
    return list(index.columns[len(COLUMNS) :])


def label_matrix(index: pd.DataFrame, uncertain: str) -> np.ndarray:
    """Return the targets of ``index``: float32 [images, classes] of 0, 1 and NaN, where NaN is masked from the loss.

    ``uncertain`` is what -1 becomes: ``zero``, ``one`` or ``mask``. A blank counts as 0, as in CheXclusion
    (Seyyed-Kalantari et al., 2021), whose finetuning settings the paper shares.
    """
    raw = index[label_columns(index)].to_numpy(dtype=np.float32)
    targets = np.where(raw == -1, np.float32(UNCERTAIN[uncertain]), raw)
    targets[np.isnan(raw)] = 0
    return targets


def has_labels(index: pd.DataFrame) -> np.ndarray:
    """Return bool [images]: whether any label of the image holds a value at all, be it 1, 0 or -1."""
    return index[label_columns(index)].notna().to_numpy().any(axis=1)
