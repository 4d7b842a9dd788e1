"""The epoch that predicts, where that is the best on validation and not the last (#13): linear and end to end alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np

State = TypeVar("State")


class BestEpoch(Generic[State]):
    """Keeps what a model was in the epoch with the highest score; of equal scores the first epoch's.

    Attributes
    ----------
    score : a function of (labels, logits), both [n, classes], higher is better
    labels : of the validation images, float32 [n, classes]
    epoch : the best epoch, counted from 1; 0 before the first
    value : its score
    state : what the model was then; None before the first epoch
    """

    def __init__(self, score: Callable[[np.ndarray, np.ndarray], float], labels: np.ndarray) -> None:
        self.score, self.labels = score, labels
        self.epoch, self.value = 0, -np.inf
        self.state: State | None = None

    def offer(self, epoch: int, logits: np.ndarray, copy: Callable[[], State]) -> None:
        """Score the validation ``logits`` of ``epoch``; where they are the best so far, keep what ``copy`` returns."""
        value = self.score(self.labels, logits)
        if value > self.value:
            self.epoch, self.value, self.state = epoch, value, copy()
