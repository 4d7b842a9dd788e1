"""The variance between encoders of one source, apart from that between labelled subsets.

Each labelled subset meets one encoder of each source, in turn (``experiment.replicate_of``). So values scatter within the subsets
that meet one encoder, and the means of these groups scatter more if encoders differ. With two or three encoders per source, one
source says nearly nothing about this variance, so it is pooled over sources, as a two-way analysis of variance does: subsets
are nested in encoders, and sources are crossed with both. What all sources share in a subset drops out.

The pooling assumes that the encoders of no source differ more than those of the others. A test checks it; if it fails, the
contrast's own values are used alone, with as few degrees of freedom as one source has. With two or three encoders, the test finds
only gross differences, so a contrast's own values also count if they show more than the pool (``Evidence.contrast``).
docs/statistics.md says how often contrasts err if the variances differ.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import fdtrc

FAIR = 0.01
"""The pooled variance is used if the p-value of the test is at least this."""


class EncoderVariance(NamedTuple):
    """The variance between encoders of a source, and what is known about it.

    ``noise`` is the variance that the subsets add to the mean of one encoder's group. ``df`` are the degrees of freedom of the
    scatter between groups, which estimates ``variance + noise``. ``sources`` are pooled; ``fair`` is the
    p-value of ``fairness``, NaN with fewer than three sources: of two, only their difference is known.
    """

    variance: float
    noise: float
    df: float
    sources: int
    fair: float


def scatter_within(values: np.ndarray, groups: np.ndarray) -> tuple[float, int]:
    """Return the variance of ``values`` [s] within their ``groups`` [s], and its degrees of freedom."""
    numbers, group = np.unique(groups, return_inverse=True)
    means = np.bincount(group, values) / np.bincount(group)
    df = len(values) - len(numbers)
    return float(((values - means[group]) ** 2).sum() / df), df


def encoder_variance(values: np.ndarray, encoders: np.ndarray, differences: bool) -> EncoderVariance:
    """Return the variance between encoders, pooled over sources (Searle, Casella and McCulloch 1992, Variance Components, chapter 4).

    Parameters
    ----------
    values : [sources, subsets], of at least two encoders and more subsets than encoders
    encoders : [subsets], the encoder that each subset meets, the same for all sources
    differences : whether only differences between sources matter, so that what the sources share in an encoder's group, such as trained
        initial weights, drops out. Otherwise the larger of two estimates counts: without and with what they share.

    With one source, its own groups are compared. Groups of unequal size enter by their means (unweighted means).
    """
    numbers, group, sizes = np.unique(encoders, return_inverse=True, return_counts=True)
    sources, r = len(values), len(numbers)
    size = r / np.sum(1 / sizes)  # the harmonic mean
    means = np.stack([values[:, group == k].mean(axis=1) for k in range(r)], axis=1)
    within = values - means[:, group]
    df_within = values.shape[1] - r
    own_noise = float((within**2).sum() / sources / df_within / size)
    own = max(float(means.var(axis=1, ddof=1).mean()) - own_noise, 0.0)
    if sources == 1:
        return EncoderVariance(own, own_noise, r - 1, 1, float("nan"))
    df = (sources - 1) * (r - 1)
    apart = means - means.mean(axis=0) - means.mean(axis=1, keepdims=True) + means.mean()
    noise = float(((within - within.mean(axis=0)) ** 2).sum() / (sources - 1) / df_within / size)
    variance = max(float((apart**2).sum() / df) - noise, 0.0)
    if not differences:
        variance = max(variance, own)
    return EncoderVariance(variance, noise, df, sources, fairness(means) if sources > 2 else float("nan"))


def fairness(means: np.ndarray) -> float:
    """Return the p-value for "the encoders of no source differ more than those of the others", from ``means`` [sources, encoders].

    Each of three or more sources is compared with the others: the variance over encoders of its difference from their mean with
    what a two-way analysis leaves of them, which are independent and have F's distribution. The smallest p-value counts, times
    the sources (Bonferroni). What all sources share in an encoder's group drops out.
    """
    sources, r = means.shape
    apart = means - means.mean(axis=0) - means.mean(axis=1, keepdims=True) + means.mean()
    squares = (apart**2).sum(axis=1)
    # A source's difference from the others' mean is this multiple of its difference from the mean of all.
    own = squares * sources / (sources - 1)
    df = (sources - 2) * (r - 1)
    # Equal AUROCs, which made-up results have, leave zero.
    others = np.maximum(squares.sum() - own, np.finfo(float).tiny)
    p = fdtrc(r - 1, df, (own / (r - 1)) / (others / df))
    return float(min(sources * p.min(), 1.0))
