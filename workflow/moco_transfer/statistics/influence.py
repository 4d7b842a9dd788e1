"""Standard errors and covariances of AUROCs from one test set, without resampling.

An estimate's influence function says how much each image moves it. For the AUROC it is DeLong's placement value: the
share of the negatives that a positive image outranks, or the share of the positives that outrank a negative one. Sums of
its products over images, or over patients where one patient's images are not independent, give variances, and
covariances between models scored on the same images. The weighted average over classes is treated as the bootstrap
treats it: the weights, being counts of positives in the sample, are random as well.
"""

from __future__ import annotations

import numpy as np

from moco_transfer.statistics.auroc import Average, auroc_by_class, tie_groups


def auroc_influence(labels: np.ndarray, scores: np.ndarray, how: Average) -> np.ndarray:
    """Return the influence of each image on the average AUROC: [n], which sums to zero.

    ``labels`` [n, c] are 0, 1 or NaN (masked), ``scores`` [n, c]. The variance of the estimate over images that are
    independent is ``(influence**2).sum() / n**2``. With P_k positives, shares w_k = P_k / n and AUROCs A_k of the classes
    that have one, the weighted average is sum(w_k A_k) / sum(w_k), and by the product and quotient rules
    ``influence_i = sum_k(w_k influence_ik + (A_k - average) [label_ik = 1]) / sum_k(w_k)``.
    """
    values = auroc_by_class(labels, scores)
    defined = np.flatnonzero(~np.isnan(values))
    if len(defined) == 0:
        return np.full(len(labels), np.nan)
    by_class = np.stack([_class_influence(labels[:, k], scores[:, k]) for k in defined], axis=1)
    if how == "macro":
        return by_class.mean(axis=1)
    positive = labels[:, defined] == 1
    weights = positive.mean(axis=0)
    values = values[defined]
    weighted = (weights * values).sum() / weights.sum()
    return (by_class @ weights + positive @ (values - weighted)) / weights.sum()


def influence_covariance(influences: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Return the covariance [m, m] of m estimates from one sample, clustered by unit.

    ``influences`` [m, n] hold each estimate's influence of each image, ``units`` [n] the ids of what is independent
    (patients, or images). Influences are summed within a unit; with G units the result carries the factor G / (G - 1)
    that makes the variance of a mean unbiased. NaN where there is one unit alone.
    """
    distinct, unit = np.unique(np.asarray(units, dtype=str), return_inverse=True)
    groups, images = len(distinct), influences.shape[1]
    if groups < 2:
        return np.full((len(influences), len(influences)), np.nan)
    sums = np.stack([np.bincount(unit, weights=each, minlength=groups) for each in influences])
    return sums @ sums.T / images**2 * groups / (groups - 1)


def _class_influence(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the influence of each image on one class's AUROC: [n], zero for masked images.

    The AUROC is a mean over positives times negatives, so a positive's placement counts n / positives, and a negative's
    n / negatives.
    """
    labelled = ~np.isnan(labels)
    group, positives, negatives = tie_groups(labels[labelled], scores[labelled])
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
