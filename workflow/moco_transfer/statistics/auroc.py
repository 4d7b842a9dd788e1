"""The area under the ROC curve: per class, averaged over classes, and its standard error without resampling.

The AUROC is the share of (positive, negative) pairs of images in which the positive image has the higher
score; a tie counts half. Pairs are counted in integers, so the AUROC is exact. A label of NaN is masked: that
class ignores the image. A class without a positive or without a negative image has no AUROC: it is NaN, and
averages leave it out.

Standard errors come from influence functions, which say how much each image moves an estimate. For the AUROC,
the influence is DeLong's placement value: the share of the negatives that a positive image outranks, or the
share of the positives that outrank a negative image. Sums of products of influences give variances, and
covariances between models that scored the same images. The sums run over images, or over patients if the
images of one patient are not independent. As in the bootstrap, the class weights (numbers of positives in the
sample) count as random.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

Average = Literal["weighted", "macro"]


def _tie_groups(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Group the images of one class by equal scores, in ascending order.

    ``labels`` [n] are 0 or 1, not masked; ``scores`` are [n]. Returns the group of each image [n], and the
    numbers of positives and of negatives in each group [groups].
    """
    values, group = np.unique(scores, return_inverse=True)
    positives = np.bincount(group[labels == 1], minlength=len(values))
    return group, positives, np.bincount(group, minlength=len(values)) - positives


def auroc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Return the AUROC of one class; NaN unless the labels hold both 0 and 1.

    ``labels`` [n] are 0, 1 or NaN (masked), ``scores`` [n] any finite numbers. Raises ValueError if an image
    that is not masked has a score of NaN, because NaN has no rank.
    """
    labelled = ~np.isnan(labels)
    labels, scores = labels[labelled], scores[labelled]
    if np.isnan(scores).any():
        raise ValueError("scores must not be NaN")
    _, positives, negatives = _tie_groups(labels, scores)
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

    ``weighted`` weights each class by its number of ``positives`` [..., c], ``macro`` weights all classes
    equally. Classes that are NaN are left out and the weights renormalised; if no class is left, the average
    is NaN.
    """
    defined = ~np.isnan(per_class)
    weights = np.where(defined, positives if how == "weighted" else 1.0, 0.0)
    total = weights.sum(axis=-1)
    summed = (weights * np.where(defined, per_class, 0.0)).sum(axis=-1)
    return np.where(total > 0, summed / np.where(total > 0, total, 1.0), np.nan)


def average_auroc(labels: np.ndarray, scores: np.ndarray, how: Average) -> float:
    """Return the AUROC averaged over classes, from ``labels`` [n, c] and ``scores`` [n, c]."""
    return float(average(auroc_by_class(labels, scores), positives_by_class(labels), how))


def auroc_influence(labels: np.ndarray, scores: np.ndarray, how: Average) -> np.ndarray:
    """Return the influence of each image on the average AUROC: [n], with the sum zero.

    ``labels`` [n, c] are 0, 1 or NaN (masked), ``scores`` [n, c]. If images are independent, the variance of
    the estimate is ``(influence**2).sum() / n**2``. With P_k positives, w_k = P_k / n and AUROC A_k of class
    k, the weighted average is sum(w_k A_k) / sum(w_k), and by the product and quotient rules ``influence_i =
    sum_k(w_k influence_ik + (A_k - average) [label_ik = 1]) / sum_k(w_k)``.
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

    ``labels`` [n, c] are 0, 1 or NaN (masked), ``scores`` [n, c]. A class without an AUROC is a column of
    NaN.
    """
    classes = range(labels.shape[1])
    return np.stack([_class_influence(labels[:, k], scores[:, k]) for k in classes], axis=1)


def _class_influence(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the influence of each image on one class's AUROC: [n].

    The AUROC is a mean over pairs, so a positive's placement has the factor n / positives and a negative's n
    / negatives.
    """
    labelled = ~np.isnan(labels)
    group, positives, negatives = _tie_groups(labels[labelled], scores[labelled])
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


def influence_covariance(influences: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Return the covariance [m, m] of m estimates from one sample, clustered by unit.

    ``influences`` [m, n] hold the influence of each image on each estimate, ``units`` [n] the ids of the
    independent units (patients, or images). Influences are summed within each unit. With G units, the factor
    G / (G - 1) makes the variance of a mean unbiased; with one unit the covariance is NaN.
    """
    sums, scale = _unit_sums(influences, units)
    return sums @ sums.T * scale


def standard_errors(influences: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Return the standard errors of m estimates [m], as ``influence_covariance`` without the covariances."""
    sums, scale = _unit_sums(influences, units)
    return np.sqrt((sums**2).sum(axis=1) * scale)


def _unit_sums(influences: np.ndarray, units: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the influences summed by unit [m, G], and the factor from their products to a covariance."""
    distinct, unit = np.unique(np.asarray(units), return_inverse=True)
    groups, images = len(distinct), influences.shape[1]
    sums = np.stack([np.bincount(unit, weights=each, minlength=groups) for each in influences])
    return sums, groups / (groups - 1) / images**2 if groups > 1 else np.nan
