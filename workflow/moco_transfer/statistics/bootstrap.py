"""The bootstrap of the test set: the paper's intervals.

One resample of the test set serves every model and every seed of a target, so that differences between models are paired,
and a replicate's value is the mean over the seeds. A resample is nothing but a count for each image: how often it was
drawn. So scores are sorted once, and each replicate's AUROC is counted in one pass over the sorted images; the pass runs
over all replicates at a time, in integers, and ties are exact.
"""

from __future__ import annotations

import numba
import numpy as np

from moco_transfer.seeds import stream
from moco_transfer.statistics.auroc import Average, average


def resample_counts(units: np.ndarray, replicates: int, seed: int, *names: str | int) -> np.ndarray:
    """Return how often each image is drawn in each resample: uint16 [n, replicates].

    ``units`` [n] says what is drawn as a whole: the image ids for a bootstrap of images, the patient ids for one of
    patients; as many units are drawn as there are, with replacement. The draws come from the stream ``names`` under the
    root ``seed`` and go to the units in their sorted order: they do not depend on the order of the rows.
    """
    distinct, unit = np.unique(np.asarray(units, dtype=str), return_inverse=True)
    generator = stream(seed, *names)
    drawn = np.empty((replicates, len(distinct)), dtype=np.uint16)
    for counts in drawn:
        picks = generator.integers(0, len(distinct), size=len(distinct))
        counts[:] = np.bincount(picks, minlength=len(distinct))
    return np.ascontiguousarray(drawn.T)[unit]


def bootstrap_auroc(labels: np.ndarray, scores: np.ndarray, counts: np.ndarray, how: Average) -> np.ndarray:
    """Return the AUROC of each resample, averaged over classes and then over seeds: [replicates].

    ``labels`` [n, c] are 0, 1 or NaN (masked), ``scores`` [seeds, n, c], ``counts`` [n, replicates]. In each resample a
    class is weighed by its positives there; one that has lost its positives or its negatives is left out. A replicate
    in which no class is left is NaN.
    """
    return np.mean([_one_seed(labels, each, counts, how) for each in scores], axis=0)


def _one_seed(labels: np.ndarray, scores: np.ndarray, counts: np.ndarray, how: Average) -> np.ndarray:
    classes = labels.shape[1]
    values = np.full((counts.shape[1], classes), np.nan)
    positives = np.zeros((counts.shape[1], classes))
    for k in range(classes):
        order = np.argsort(scores[:, k])
        order = order[~np.isnan(labels[order, k])]
        ascending = scores[order, k]
        starts = np.flatnonzero(np.r_[True, ascending[1:] != ascending[:-1], True])
        wins, positives[:, k], negatives = _count_pairs(order, starts, labels[:, k] == 1, counts)
        pairs = positives[:, k] * negatives
        np.divide(wins, 2 * pairs, out=values[:, k], where=pairs > 0)
    return average(values, positives, how)


@numba.njit(cache=True)
def _count_pairs(order, starts, positive, counts):
    """Return, by replicate, twice the pairs that are ranked rightly (a tie is half a pair), positives and negatives.

    ``order`` are the images by ascending score; ties group g is ``order[starts[g]:starts[g + 1]]``. A positive image is
    met before its group's negatives are added and once more after: tied negatives count once, lower ones twice.
    """
    replicates = counts.shape[1]
    wins = np.zeros(replicates, np.int64)
    positives = np.zeros(replicates, np.int64)
    negatives = np.zeros(replicates, np.int64)
    for g in range(len(starts) - 1):
        group = order[starts[g] : starts[g + 1]]
        for i in group:
            if positive[i]:
                for r in range(replicates):
                    wins[r] += counts[i, r] * negatives[r]
        for i in group:
            if not positive[i]:
                for r in range(replicates):
                    negatives[r] += counts[i, r]
        for i in group:
            if positive[i]:
                for r in range(replicates):
                    wins[r] += counts[i, r] * negatives[r]
                    positives[r] += counts[i, r]
    return wins, positives, negatives
