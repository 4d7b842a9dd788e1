"""The class that a model of one-of-many classes calls most probable: how often it is right, and what is taken for what.

Accuracy is the share of images whose most probable class is theirs. If classes are not equally frequent, a model that always calls
the most frequent one scores well. Balanced accuracy is the mean over classes of the share of their images that are called right
(their recall), which such a model does not raise above 1 / classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from moco_transfer.statistics.auroc import standard_errors
from moco_transfer.statistics.bootstrap import logit_interval
from moco_transfer.statistics.calibration import Proportion, proportion
from moco_transfer.statistics.predictions import Scored
from moco_transfer.statistics.scorecard import FEWEST, units_of


@dataclass(frozen=True)
class Decisions:
    """What the most probable classes of the test images come to.

    Attributes
    ----------
    accuracy, balanced : shares from 0 to 1 with intervals; the ends are NaN if they are unknown
    commonest : accuracy of always calling the class that is the most frequent in the test images
    confusion : numbers of images, int [classes, classes]; rows are their classes, columns those that the model calls
    """

    accuracy: Proportion
    balanced: Proportion
    commonest: float
    confusion: np.ndarray


def decisions(
    test: Scored, unit: Literal["image", "patient"], percentiles: Sequence[float]
) -> Decisions | None:
    """Return what calling the most probable class comes to; None if there are too few images.

    Each image has exactly one class in ``test``. ``percentiles``, such as 5 and 95, are the ends of the intervals, clustered by
    ``unit``.
    """
    n, classes = test.labels.shape
    if n < FEWEST:
        return None
    own, called, units = test.labels.argmax(axis=1), test.scores.argmax(axis=1), units_of(test, unit)
    confusion = np.bincount(own * classes + called, minlength=classes**2).reshape(classes, classes)
    return Decisions(
        accuracy=proportion(own == called, units, percentiles),
        balanced=balanced_accuracy(own, called, units, percentiles),
        commonest=float(confusion.sum(axis=1).max() / n),
        confusion=confusion,
    )


def balanced_accuracy(
    own: np.ndarray, called: np.ndarray, units: np.ndarray, percentiles: Sequence[float]
) -> Proportion:
    """Return the mean recall of the classes that occur in ``own``, with its logit interval, clustered by unit.

    ``own`` and ``called`` [n] are numbers of classes, ``units`` [n] the ids of the independent units. With n_k images of class k,
    recall r_k and K classes, an image of class k has the influence n / n_k (hit - r_k) / K. The interval has the degrees of
    freedom of the class with the fewest units, as that of an AUROC has those of the rarer label. Its ends are NaN if that class has
    fewer than FEWEST: the images of so small a class are easily all hits or all misses, which looks like certainty.
    """
    present, group, counts = np.unique(own, return_inverse=True, return_counts=True)
    hits = own == called
    recall = np.bincount(group, hits) / counts
    value = float(recall.mean())
    influence = len(own) / counts[group] * (hits - recall[group]) / len(present)
    error = standard_errors(influence[None], units)[0]
    rarest = min(len(np.unique(units[own == k])) for k in present)
    lower, upper = logit_interval(value if rarest >= FEWEST else np.nan, error, rarest, percentiles)
    return Proportion(value, float(lower), float(upper), len(own))
