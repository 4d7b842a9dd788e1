"""The variance between encoders of one source, apart from that between labelled subsets.

Each labelled subset meets one encoder of each source, in turn (``experiment.replicate_of``). So values scatter within the subsets
that meet one encoder, and the means of these groups scatter more if encoders differ. With two or three encoders per source, one
source says nearly nothing about this variance, so it is pooled over sources, as a two-way analysis of variance does: subsets
are nested in encoders, and sources are crossed with both. What all sources share in a subset drops out.

The pooling assumes that the encoders of all sources differ by the same variance. Bartlett's (1937) test checks it; if it fails,
the contrast's own values are used alone, with as few degrees of freedom as one source has.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import chdtrc

FAIR = 0.01
"""The pooled variance is used if the p-value of Bartlett's test is at least this."""


class EncoderVariance(NamedTuple):
    """The variance between encoders of a source, and what is known about it.

    ``noise`` is the variance that the subsets add to the mean of one encoder's group. ``df`` are the degrees of freedom of the scatter between groups,
    which estimates ``variance + noise``. ``sources`` are pooled; ``fair`` is the p-value of the test of equal variances, NaN with one source.
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
    residuals = values - means[:, group]
    if sources == 1:
        noise = float((residuals**2).sum() / (values.shape[1] - r) / size)
        between = float(means.var(ddof=1))
        return EncoderVariance(max(between - noise, 0.0), noise, r - 1, 1, float("nan"))
    centred = means - means.mean(axis=0) - means.mean(axis=1, keepdims=True) + means.mean()
    df = (sources - 1) * (r - 1)
    between = float((centred**2).sum() / df)
    apart = residuals - residuals.mean(axis=0)
    noise = float((apart**2).sum() / (sources - 1) / (values.shape[1] - r) / size)
    variance = max(between - noise, 0.0)
    if not differences:
        own_noise = float((residuals**2).sum() / sources / (values.shape[1] - r) / size)
        variance = max(variance, float(means.var(axis=1, ddof=1).mean()) - own_noise)
    return EncoderVariance(
        variance, max(noise, between - variance), df, sources, equal_variances(centred, r - 1)
    )


def equal_variances(deviations: np.ndarray, df: int) -> float:
    """Return Bartlett's p-value for "the rows of ``deviations`` [sources, values] have one variance"; each row has ``df``."""
    sources = len(deviations)
    variances = (deviations**2).sum(axis=1) / df
    if not (variances > 0).all():
        return float("nan")
    statistic = sources * df * np.log(variances.mean()) - df * np.log(variances).sum()
    return float(chdtrc(sources - 1, statistic / (1 + (sources + 1) / (3 * sources * df))))
