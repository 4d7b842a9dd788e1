"""The area under the ROC curve, of one class and averaged over classes.

The AUROC is the share of (positive, negative) pairs of images in which the positive one has the higher score, a tie
counting half. It is counted here exactly, in integers, whatever the ties. A label of NaN is masked: that image takes no
part in that class. A class without a positive or without a negative has no AUROC: it is NaN, and averages leave it out.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

Average = Literal["weighted", "macro"]


def tie_groups(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the groups of equal scores of one class, in ascending order of the score.

    ``labels`` and ``scores`` are [n]; labels are 0 or 1, none of them masked. Returns the group of each image [n], and
    the number of positives and of negatives in each group [groups].
    """
    values, group = np.unique(scores, return_inverse=True)
    positives = np.bincount(group[labels == 1], minlength=len(values))
    return group, positives, np.bincount(group, minlength=len(values)) - positives


def auroc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Return the AUROC of one class; NaN where the labels do not hold both 0 and 1.

    ``labels`` [n] are 0, 1 or NaN (masked), ``scores`` [n] are any finite numbers. Raises ValueError where a score of an
    image that takes part is NaN, because a rank cannot be given to it.
    """
    labelled = ~np.isnan(labels)
    labels, scores = labels[labelled], scores[labelled]
    if np.isnan(scores).any():
        raise ValueError("scores must not be NaN")
    _, positives, negatives = tie_groups(labels, scores)
    pairs = int(positives.sum()) * int(negatives.sum())
    if pairs == 0:
        return float("nan")
    negatives_below = np.cumsum(negatives) - negatives
    return int((positives * (2 * negatives_below + negatives)).sum()) / (2 * pairs)


def auroc_by_class(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the AUROC of each class [c] from ``labels`` [n, c] and ``scores`` [n, c]."""
    return np.array([auroc(labels[:, k], scores[:, k]) for k in range(labels.shape[1])])


def positives_by_class(labels: np.ndarray) -> np.ndarray:
    """Return the number of positive images of each class [c] from ``labels`` [n, c]."""
    return (labels == 1).sum(axis=0)


def average(per_class: np.ndarray, positives: np.ndarray, how: Average) -> np.ndarray:
    """Return the average over the last axis of ``per_class`` [..., c].

    ``weighted`` weighs each class by its number of ``positives`` [..., c], ``macro`` weighs them alike. Classes that are
    NaN are left out and the weights renormalised; where no class is left, the average is NaN.
    """
    defined = ~np.isnan(per_class)
    weights = np.where(defined, positives if how == "weighted" else 1.0, 0.0)
    total = weights.sum(axis=-1)
    summed = (weights * np.where(defined, per_class, 0.0)).sum(axis=-1)
    return np.where(total > 0, summed / np.where(total > 0, total, 1.0), np.nan)
