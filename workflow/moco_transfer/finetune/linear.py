"""Linear finetuning: a logistic head on frozen features.

The frozen network is in evaluation mode, so the features of an image, or of an augmented view of it, never change and
are computed once (#11). What is left is to train the head, and to predict.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from moco_transfer import config
from moco_transfer.finetune.best_epoch import BestEpoch
from moco_transfer.finetune.cell import Cell
from moco_transfer.finetune.feature_cache import FeatureCache
from moco_transfer.finetune.head import apply_head, train_head
from moco_transfer.training.log import MetricsLog


def finetune_linear(
    cell: Cell,
    cache: FeatureCache,
    *,
    optimizer: config.Optimizer,
    epochs: int,
    score: Callable[[np.ndarray, np.ndarray], float] | None,
    seed: int,
    stream_name: tuple[str | int, ...],
    log: MetricsLog,
) -> np.ndarray:
    """Return the logits of ``cell.scored``, float32 [validation + test, classes].

    Parameters
    ----------
    cache : features of all rows of the cell; where it holds several views, the epochs train on them in turn
    score : None predicts with the last epoch; a function of (labels, logits) with the epoch that scores best on the
        validation images (#13)

    Raises UserError where the cache lacks a row, a feature is not finite, or the loss is no longer finite.
    """
    if score is not None:
        validation = cache.of(cell.validation)
        best = BestEpoch(score, cell.labels[cell.validation])

    def after_epoch(epoch: int, loss: float, rate: float, weights: np.ndarray) -> None:
        log.epoch(epoch=epoch, loss=loss, lr=rate)
        if score is not None:
            best.offer(epoch, apply_head(validation, weights), weights.copy)

    last = train_head(
        np.stack([cache.of(cell.train, view) for view in range(cache.views)]),
        cell.labels[cell.train],
        optimizer=optimizer,
        epochs=epochs,
        seed=seed,
        stream_name=stream_name,
        after_epoch=after_epoch,
    )
    return apply_head(cache.of(cell.scored), last if score is None else best.state)
