"""The area under the ROC curve, of one class and averaged over classes.

The AUROC is the share of (positive, negative) pairs of images in which the positive one has the higher score, a tie
counting half. It is counted here exactly, in integers, whatever the ties. A label of NaN is masked: that image takes no
part in that class. A class without a positive or without a negative has no AUROC: it is NaN, and averages leave it out.


Standard errors and covariances of AUROCs from one test set, without resampling.

An estimate's influence function says how much each image moves it. For the AUROC it is DeLong's placement value: the
share of the negatives that a positive image outranks, or the share of the positives that outrank a negative one. Sums of
its products over images, or over patients where one patient's images are not independent, give variances, and
covariances between models scored on the same images. The weighted average over classes is treated as the bootstrap
treats it: the weights, being counts of positives in the sample, are random as well.
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


def auroc_influence(labels: np.ndarray, scores: np.ndarray, how: Average) -> np.ndarray:
    """Return the influence of each image on the average AUROC: [n], which sums to zero.

    ``labels`` [n, c] are 0, 1 or NaN (masked), ``scores`` [n, c]. The variance of the estimate over images that are
    independent is ``(influence**2).sum() / n**2``. With P_k positives, shares w_k = P_k / n and AUROCs A_k of the classes
    that have one, the weighted average is sum(w_k A_k) / sum(w_k), and by the product and quotient rules
    ``influence_i = sum_k(w_k influence_ik + (A_k - average) [label_ik = 1]) / sum_k(w_k)``.
    """
    by_class = influence_by_class(labels, scores)
    defined = np.flatnonzero(~np.isnan(by_class).any(axis=0))
    if len(defined) == 0:
        return np.full(len(labels), np.nan)
    by_class = by_class[:, defined]
    if how == "macro":
        return by_class.mean(axis=1)
    positive = labels[:, defined] == 1
    weights = positive.mean(axis=0)
    values = auroc_by_class(labels[:, defined], scores[:, defined])
    weighted = (weights * values).sum() / weights.sum()
    return (by_class @ weights + positive @ (values - weighted)) / weights.sum()


def influence_by_class(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the influence of each image on each class's AUROC: [n, c], zero for masked images.

    ``labels`` [n, c] are 0, 1 or NaN (masked), ``scores`` [n, c]. A class without an AUROC is a column of NaN.
    """
    classes = range(labels.shape[1])
    return np.stack([_class_influence(labels[:, k], scores[:, k]) for k in classes], axis=1)


def influence_covariance(influences: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Return the covariance [m, m] of m estimates from one sample, clustered by unit.

    ``influences`` [m, n] hold each estimate's influence of each image, ``units`` [n] the ids of what is independent
    (patients, or images). Influences are summed within a unit; with G units the result carries the factor G / (G - 1)
    that makes the variance of a mean unbiased. NaN where there is one unit alone.
    """
    sums, scale = _unit_sums(influences, units)
    return sums @ sums.T * scale


def standard_errors(influences: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Return the standard error of each of m estimates [m]: the roots of the diagonal of ``influence_covariance``."""
    sums, scale = _unit_sums(influences, units)
    return np.sqrt((sums**2).sum(axis=1) * scale)


def _unit_sums(influences: np.ndarray, units: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the influences summed within each unit [m, G], and what makes a covariance of sums of their products."""
    distinct, unit = np.unique(np.asarray(units), return_inverse=True)
    groups, images = len(distinct), influences.shape[1]
    sums = np.stack([np.bincount(unit, weights=each, minlength=groups) for each in influences])
    return sums, groups / (groups - 1) / images**2 if groups > 1 else np.nan


def _class_influence(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the influence of each image on one class's AUROC: [n].

    The AUROC is a mean over positives times negatives, so a positive's placement counts n / positives, and a negative's
    n / negatives.
    """
    labelled = ~np.isnan(labels)
    group, positives, negatives = tie_groups(labels[labelled], scores[labelled])
    if not (positives.any() and negatives.any()):
        return np.full(len(labels), np.nan)
    positive = labels[labelled] == 1
    outranked = (np.cumsum(negatives) - negatives / 2) / negatives.sum()
    outranking = (positives.sum() - np.cumsum(positives) + positives / 2) / positives.sum()
    area = (positives * outranked).sum() / positives.sum()
    influence = np.zeros(len(labels))
    influence[labelled] = np.where(
        positive,
        (outranked[group] - area) * len(labels) / positives.sum(),
        (outranking[group] - area) * len(labels) / negatives.sum(),
    )
    return influence
