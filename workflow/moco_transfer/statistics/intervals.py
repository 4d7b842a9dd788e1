"""The interval of an AUROC from its standard error, for classes too rare for the percentiles of a bootstrap.

An AUROC ends at 1, so that of few positives its sampling distribution is skewed: an interval that is symmetric about the
estimate reaches past 1, and percentiles of a bootstrap are too narrow. On the scale of the logit the distribution is close to
normal. An interval is made there and carried back: it stays within 0 and 1 and reaches further towards 0.5. Its standard
error is itself estimated from the few: with P of them its variance is taken P / (P - 1) times, as DeLong's has it, and
Student's quantiles with P - 1 degrees of freedom replace the normal ones. ``coverage`` shows what each interval holds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit, stdtrit


def logit_interval(
    auroc: ArrayLike, se: ArrayLike, rarer: ArrayLike, percentiles: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower and upper ends of the logit interval of each ``auroc`` with standard error ``se``.

    ``rarer`` is the number of independent units of the rarer label, from ``rarer_units``; ``percentiles`` are those of a
    bootstrap interval of the same confidence, such as 5 and 95. By the delta method the standard error of logit(A) is
    se / (A (1 - A)) (Pepe 2003, The Statistical Evaluation of Medical Tests for Classification and Prediction, chapter
    5). An AUROC of 0 or 1 has no logit, one unit alone no standard error, and a standard error of 0 (all scores are equal) is
    a degenerate sample, not certainty: both ends are then NaN.
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
    """Return, by class, in how many units the rarer label occurs: [c].

    ``labels`` [n, c] are 0, 1 or NaN (masked), ``units`` [n] the ids of what is independent: patients, or images.
    """
    holding = [[len(np.unique(units[column == value])) for value in (0, 1)] for column in labels.T]
    return np.array(holding).min(axis=1)
