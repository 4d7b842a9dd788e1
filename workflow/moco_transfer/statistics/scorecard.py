"""The test results of one trained model, class by class, for its model card.

Thresholds are chosen on the validation images, and everything is scored on the test images. ``evaluation`` scores ways to
train, averaged over labelled subsets; here it is one network, so the labelled subset and the encoder are fixed, and intervals are
about the test images alone. The independent units are images, or patients whose images are not independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from moco_transfer.statistics.auroc import (
    Average,
    auroc_by_class,
    auroc_influence,
    average_auroc,
    influence_by_class,
    standard_errors,
)
from moco_transfer.statistics.bootstrap import logit_interval, rarer_units
from moco_transfer.statistics.calibration import (
    Proportion,
    ReliabilityBin,
    brier_reference,
    brier_score,
    excess_probability,
    reliability,
    sensitivity_specificity,
    youden_threshold,
)
from moco_transfer.statistics.predictions import Scored

FEWEST = 10
"""With fewer positive or fewer negative images, a number would say more about chance than about the model."""


@dataclass(frozen=True)
class Area:
    """An AUROC with its interval; the ends are NaN if they are unknown."""

    value: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Calibration:
    """The Brier score, that of always predicting the prevalence, the mean probability minus the prevalence, and the curve."""

    brier: float
    reference: float
    excess: float
    bins: list[ReliabilityBin]


@dataclass(frozen=True)
class ClassResult:
    """The results of one class. What too few images cannot tell is None.

    Attributes
    ----------
    validation, test : numbers of positive and of negative images
    threshold : the logit from which an image counts as positive (Youden's, on validation images)
    sensitivity, specificity : at that threshold, on test images
    """

    name: str
    validation: tuple[int, int]
    test: tuple[int, int]
    auroc: Area | None
    threshold: float | None
    sensitivity: Proportion | None
    specificity: Proportion | None
    calibration: Calibration | None


def units_of(scored: Scored, unit: Literal["image", "patient"]) -> np.ndarray:
    """Return the ids of the independent units of the images, [n]."""
    return scored.patients if unit == "patient" else scored.images


def class_results(
    validation: Scored, test: Scored, unit: Literal["image", "patient"], percentiles: Sequence[float]
) -> list[ClassResult]:
    """Return the results of every class; ``percentiles``, such as 5 and 95, are the ends of all intervals."""
    units = units_of(test, unit)
    aurocs = auroc_by_class(test.labels, test.scores)
    errors = standard_errors(influence_by_class(test.labels, test.scores).T, units)
    lower, upper = logit_interval(aurocs, errors, rarer_units(test.labels, units), percentiles)
    results = []
    for k, name in enumerate(test.classes):
        choosing, scoring = _counts(validation.labels[:, k]), _counts(test.labels[:, k])
        labels, logits = test.labels[:, k], test.scores[:, k]
        threshold = None
        if min(choosing) >= FEWEST:
            threshold = youden_threshold(validation.labels[:, k], validation.scores[:, k])
        enough = min(scoring) >= FEWEST
        decisions = (None, None)
        if enough and threshold is not None:
            decisions = sensitivity_specificity(labels, logits, threshold, units, percentiles)
        results.append(
            ClassResult(
                name=name,
                validation=choosing,
                test=scoring,
                auroc=Area(float(aurocs[k]), float(lower[k]), float(upper[k])) if enough else None,
                threshold=threshold,
                sensitivity=decisions[0],
                specificity=decisions[1],
                calibration=_calibration(labels, logits, units, percentiles) if enough else None,
            )
        )
    return results


def average_result(
    test: Scored, unit: Literal["image", "patient"], percentiles: Sequence[float], how: Average
) -> Area | None:
    """Return the AUROC averaged over all classes that have one; None if there are too few images.

    Its logit interval has the degrees of freedom of the rarer kind of unit: those with a positive of any such class, or those
    with a negative. For a single class it is the interval of that class.
    """
    both = [k for k, column in enumerate(test.labels.T) if min(_counts(column)) > 0]
    labels, units = test.labels[:, both], units_of(test, unit)
    holding = [(labels == value).any(axis=1) for value in (0, 1)]
    if min(map(np.sum, holding)) < FEWEST:
        return None
    value = average_auroc(test.labels, test.scores, how)
    error = standard_errors(auroc_influence(test.labels, test.scores, how)[None], units)[0]
    rarer = min(len(np.unique(units[each])) for each in holding)
    lower, upper = logit_interval(value, error, rarer, percentiles)
    return Area(value, float(lower), float(upper))


def _counts(labels: np.ndarray) -> tuple[int, int]:
    """Return the numbers of positives and of negatives among ``labels`` [n], of which some may be masked."""
    return int((labels == 1).sum()), int((labels == 0).sum())


def _calibration(
    labels: np.ndarray, logits: np.ndarray, units: np.ndarray, percentiles: Sequence[float]
) -> Calibration:
    return Calibration(
        brier_score(labels, logits),
        brier_reference(labels),
        excess_probability(labels, logits),
        reliability(labels, logits, units, percentiles),
    )
