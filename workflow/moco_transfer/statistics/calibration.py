"""From logits to probabilities and decisions: calibration, thresholds, sensitivity and specificity of one class.

A model's probability is calibrated if, of the images with a probability of 0.3, 30% are positive. The Brier score (Brier 1950)
is the mean squared difference between probability and label; it is small if probabilities are calibrated and far from the
prevalence. Whoever always answers with the prevalence p scores p (1 - p), so a model above that knows less than nothing.

A decision needs a threshold. Youden's (1950) is the one with the largest J = sensitivity + specificity - 1, and weighs a missed
positive as much as a false alarm. It is chosen on other images than those that score it, because on its own images J is too high.

Labels [n] are 0, 1 or NaN (masked: that image is left out), logits [n] are finite.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import expit, ndtri

BINS = 10


class Proportion(NamedTuple):
    """A share with its interval, and the number of images behind it."""

    value: float
    lower: float
    upper: float
    images: int


class ReliabilityBin(NamedTuple):
    """Images with similar probabilities: their mean probability, and the share of positives with its interval."""

    probability: float
    observed: Proportion


def known(labels: np.ndarray, *others: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return ``labels`` and ``others`` [n] without the images whose label is masked."""
    return tuple(each[~np.isnan(labels)] for each in (labels, *others))


def brier_score(labels: np.ndarray, logits: np.ndarray) -> float:
    """Return the mean squared difference between label and probability; NaN without a label."""
    labels, logits = known(labels, logits)
    return float(np.mean((expit(logits.astype(float)) - labels) ** 2)) if len(labels) else float("nan")


def brier_reference(labels: np.ndarray) -> float:
    """Return the Brier score of the best constant, the prevalence; NaN without a label."""
    (labels,) = known(labels)
    return float(np.mean(labels) * (1 - np.mean(labels))) if len(labels) else float("nan")


def excess_probability(labels: np.ndarray, logits: np.ndarray) -> float:
    """Return calibration-in-the-large: the mean probability minus the prevalence; NaN without a label."""
    labels, logits = known(labels, logits)
    return float(np.mean(expit(logits.astype(float))) - np.mean(labels)) if len(labels) else float("nan")


def reliability(
    labels: np.ndarray, logits: np.ndarray, units: np.ndarray, percentiles: Sequence[float]
) -> list[ReliabilityBin]:
    """Return the bins of a reliability curve: BINS of equal width in probability, without those that are empty.

    ``units`` [n] are the ids of the independent units, and ``percentiles`` the ends of the intervals, as in ``proportion``.
    """
    labels, logits, units = known(labels, logits, units)
    probabilities = expit(logits.astype(float))
    number = np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], probabilities)
    return [
        ReliabilityBin(
            float(probabilities[number == k].mean()),
            proportion(labels[number == k] == 1, units[number == k], percentiles),
        )
        for k in np.unique(number)
    ]


def youden_threshold(labels: np.ndarray, logits: np.ndarray) -> float | None:
    """Return the logit from which an image counts as positive, so that Youden's J is largest; of equal ones, the highest.

    It lies midway between the logits of two images, so that rounding changes no decision. It is None if no threshold is
    better than chance, in particular if a label has one value.
    """
    labels, logits = known(labels, logits.astype(float))
    values, group = np.unique(logits, return_inverse=True)
    positives = np.bincount(group, labels == 1, len(values))
    negatives = np.bincount(group, labels == 0, len(values))
    if not (positives.any() and negatives.any()):
        return None
    # J if the images of each group and of all groups above it count as positive, from the highest group down.
    j = np.cumsum(positives[::-1]) / positives.sum() - np.cumsum(negatives[::-1]) / negatives.sum()
    best = int(np.argmax(np.round(j, 12)))
    if j[best] <= 1e-12:
        return None
    lowest = len(values) - 1 - best
    return float((values[lowest] + values[lowest - 1]) / 2)


def sensitivity_specificity(
    labels: np.ndarray,
    logits: np.ndarray,
    threshold: float,
    units: np.ndarray,
    percentiles: Sequence[float],
) -> tuple[Proportion, Proportion]:
    """Return which share of the positives has a logit of at least ``threshold``, and which share of the negatives has less."""
    labels, logits, units = known(labels, logits, units)
    called, positive = logits >= threshold, labels == 1
    return (
        proportion(called[positive], units[positive], percentiles),
        proportion(~called[~positive], units[~positive], percentiles),
    )


def proportion(hits: np.ndarray, units: np.ndarray, percentiles: Sequence[float]) -> Proportion:
    """Return the share of ``hits`` (bool [n]) with Wilson's (1927) interval, clustered by unit.

    Parameters
    ----------
    units : ids [n] of the independent units: with images, the interval is Wilson's own
    percentiles : such as 5 and 95, the ends of a 90% interval

    If a unit is a patient with several images, n is divided by the design effect: the variance of the share, from sums within
    units, relative to that of independent images (Korn and Graubard 1998). It counts as at least 1. If all images are hits, or
    none is, the variance says nothing, and n is the number of units. All is NaN without an image.
    """
    n = len(hits)
    if n == 0:
        return Proportion(float("nan"), float("nan"), float("nan"), 0)
    share = float(np.mean(hits))
    effective = n / _design_effect(hits, units)
    lower, upper = (_wilson(share, effective, float(ndtri(p / 100))) for p in percentiles)
    return Proportion(share, lower, upper, n)


def _design_effect(hits: np.ndarray, units: np.ndarray) -> float:
    n, share = len(hits), float(np.mean(hits))
    distinct, unit = np.unique(units, return_inverse=True)
    groups = len(distinct)
    if share in (0.0, 1.0) or groups == 1:
        return n / groups
    sums = np.bincount(unit, hits - share, groups)
    clustered = (sums**2).sum() * groups / (groups - 1) / n**2
    independent = share * (1 - share) / (n - 1)
    return max(float(clustered / independent), 1.0)


def _wilson(share: float, n: float, z: float) -> float:
    """Return the end of Wilson's interval at ``z`` standard errors, negative for the lower end."""
    centre = share + z**2 / (2 * n)
    end = (centre + z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))) / (1 + z**2 / n)
    return float(np.clip(end, 0, 1))
