"""Intervals of AUROCs: the bootstrap of the test set, as in the paper, and logit intervals for rare classes.

All models and labelled subsets of a target share the resamples of the test set, so differences between models
are paired, and a replicate's value is the mean over the subsets. A resample is a count per image: how often
the image was drawn. So scores are sorted once, and one pass over the sorted images counts the AUROCs of all
replicates, in integers and with exact ties. Each class is counted by one thread, and numba's setting
(``NUMBA_NUM_THREADS``) says how many classes run at once, so the number of threads does not change a result.

For classes with few positives, bootstrap percentiles are too narrow: an AUROC cannot exceed 1, so its
sampling distribution is skewed. On the logit scale the distribution is close to normal. The logit interval is
computed there and transformed back, so it stays within 0 and 1 and reaches further towards 0.5. With few
units, the standard error itself is uncertain: with P of them the variance is multiplied by P / (P - 1), as in
DeLong's estimator, and Student's quantiles with P - 1 degrees of freedom replace the normal ones.
``coverage`` shows how often each interval contains the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit, stdtrit

from moco_transfer.compiled import compiled
from moco_transfer.seeds import stream
from moco_transfer.statistics.auroc import Average, average


def resample_counts(units: np.ndarray, replicates: int, seed: int, *names: str | int) -> np.ndarray:
    """Return how often each image is drawn in each resample: uint16 [n, replicates].

    ``units`` [n] are the ids of the units that are drawn: images, or patients with all their images. As many
    units are drawn as there are, with replacement. The draws come from the stream ``names`` of the root
    ``seed`` and go to the units in sorted order, so they do not depend on the order of the rows.
    """
    distinct, unit = np.unique(np.asarray(units, dtype=str), return_inverse=True)
    generator = stream(seed, *names)
    by_image = np.empty((len(unit), replicates), dtype=np.uint16)
    # A few replicates at a time, so that their counts stay in the processor's cache while they become
    # columns.
    for start in range(0, replicates, 32):
        drawn = np.zeros((min(32, replicates - start), len(distinct)), dtype=np.uint16)
        for counts in drawn:
            _add_picks(generator.integers(0, len(distinct), size=len(distinct)), counts)
        by_image[:, start : start + 32] = drawn.T[unit]
    return by_image


def bootstrap_auroc(labels: np.ndarray, scores: np.ndarray, counts: np.ndarray, how: Average) -> np.ndarray:
    """Return the AUROC of each resample, averaged over classes and then over subsets: [replicates].

    ``labels`` [n, c] are 0, 1 or NaN (masked), ``scores`` [subsets, n, c], ``counts`` [n, replicates].
    Weights are the positives in the resample. A class that has lost its positives or its negatives is left
    out; a replicate that has lost all classes is NaN.
    """
    return np.mean([average(*bootstrap_by_class(labels, each, counts), how) for each in scores], axis=0)


def bootstrap_by_class(
    labels: np.ndarray, scores: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the AUROC and the number of positives of each class in each resample: both [replicates, c].

    ``labels`` [n, c] are 0, 1 or NaN (masked), ``scores`` [n, c], ``counts`` [n, replicates]. An AUROC is NaN
    if the resample has no positive or no negative of the class.
    """
    values = np.full((labels.shape[1], counts.shape[1]), np.nan)
    positives = np.zeros(values.shape)

    def one_class(k: int) -> None:
        order = np.argsort(scores[:, k])
        order = order[~np.isnan(labels[order, k])]
        ascending = scores[order, k]
        starts = np.flatnonzero(np.r_[True, ascending[1:] != ascending[:-1], True])
        wins, positives[k], negatives = _count_pairs(order, starts, labels[:, k] == 1, counts)
        pairs = positives[k] * negatives
        np.divide(wins, 2 * pairs, out=values[k], where=pairs > 0)

    with ThreadPoolExecutor(numba.config.NUMBA_NUM_THREADS) as threads:
        list(threads.map(one_class, range(labels.shape[1])))
    return np.ascontiguousarray(values.T), np.ascontiguousarray(positives.T)


@compiled
def _add_picks(picks, counts):
    for pick in picks:
        counts[pick] += 1


@compiled
def _count_pairs(order, starts, positive, counts):
    """Return twice the number of correctly ranked pairs, positives and negatives, per replicate.

    ``order`` are the images by ascending score; images ``order[starts[g]:starts[g + 1]]`` are tied. A
    positive image adds the number of negatives so far twice: before and after its tied negatives are added.
    So tied negatives count once and lower ones twice. Images are counted in 32 bits, for twice the speed, and
    pairs in 64.
    """
    replicates = counts.shape[1]
    wins = np.zeros(replicates, np.int64)
    positives = np.zeros(replicates, np.int32)
    negatives = np.zeros(replicates, np.int32)
    for g in range(len(starts) - 1):
        group = order[starts[g] : starts[g + 1]]
        if len(group) == 1 and positive[group[0]]:  # no tie, so one pass over the replicates is enough
            i = group[0]
            for r in range(replicates):
                wins[r] += 2 * (np.int64(counts[i, r]) * negatives[r])
                positives[r] += counts[i, r]
            continue
        for i in group:
            if positive[i]:
                for r in range(replicates):
                    wins[r] += np.int64(counts[i, r]) * negatives[r]
        for i in group:
            if not positive[i]:
                for r in range(replicates):
                    negatives[r] += counts[i, r]
        for i in group:
            if positive[i]:
                for r in range(replicates):
                    wins[r] += np.int64(counts[i, r]) * negatives[r]
                    positives[r] += counts[i, r]
    return wins, positives, negatives


def logit_interval(
    auroc: ArrayLike, se: ArrayLike, rarer: ArrayLike, percentiles: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower and upper ends of the logit interval of each ``auroc`` with standard error ``se``.

    ``rarer`` is the number of independent units with the rarer label, from ``rarer_units``; ``percentiles``,
    such as 5 and 95, set the confidence. By the delta method the standard error of logit(A) is se / (A (1 -
    A)) (Pepe 2003, The Statistical Evaluation of Medical Tests for Classification and Prediction, chapter 5).
    Both ends are NaN for an AUROC of 0 or 1 (no logit), a single unit (no standard error), and a standard
    error of 0 (all scores are equal), which shows a degenerate sample, not certainty.
    """
    auroc, se, df = (np.asarray(each, dtype=float) for each in (auroc, se, np.asarray(rarer) - 1))
    known = (auroc > 0) & (auroc < 1) & (df > 0) & (se > 0)
    value = np.where(known, auroc, np.nan)
    spread = se * np.sqrt((df + 1) / np.where(known, df, 1)) / (value * (1 - value))
    lower, upper = (
        expit(logit(value) + stdtrit(np.where(known, df, 1), p / 100) * spread) for p in percentiles
    )
    return lower, upper


def rarer_units(labels: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Return the number of units that have the rarer label of each class: [c].

    ``labels`` [n, c] are 0, 1 or NaN (masked), ``units`` [n] the ids of the independent units: patients, or
    images.
    """
    holding = [[len(np.unique(units[column == value])) for value in (0, 1)] for column in labels.T]
    return np.array(holding).min(axis=1)
