"""End-to-end finetuning: every weight may move. Each budget of epochs is a training of its own, with its own cosine."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moco_transfer import config
from moco_transfer.finetune.cell import BestEpoch, Cell
from moco_transfer.networks import build_backbone, load_weights, seeded
from moco_transfer.seeds import stream_key
from moco_transfer.training.checkpoint import Checkpoint
from moco_transfer.training.device import Precision
from moco_transfer.training.images import ImagePool, predict
from moco_transfer.training.log import MetricsLog
from moco_transfer.training.loop import train_network


def finetune_budgets(
    cell: Cell,
    images: Path,
    encoder: Path,
    *,
    model: str,
    input_size: int,
    optimizer: config.Optimizer,
    budgets: Sequence[int],
    augmentation: str | list[dict[str, Any]],
    score: Callable[[np.ndarray, np.ndarray], float] | None,
    precision: Precision,
    compiled: bool,
    seed: int,
    stream_name: tuple[str | int, ...],
    device: torch.device,
    log: MetricsLog,
    checkpoint: Checkpoint,
) -> list[tuple[int, np.ndarray]]:
    """Return, for each budget, (epochs, logits [validation + test, classes] of ``cell.scored``).

    Parameters
    ----------
    images : the store's images.npy
    encoder : the weights that training starts from, every budget anew and with the same new head
    score : None predicts with the last epoch; a function of (labels, logits) with the epoch that scores best on the
        validation images (#13)
    checkpoint : where the state lies to go on from, if there is one

    Raises UserError with the step where the loss is not finite.
    """
    training, scored = ImagePool([(images, cell.train)]), ImagePool([(images, cell.scored)])
    validation = ImagePool([(images, cell.validation)]) if score is not None else None
    results: list[tuple[int, np.ndarray]] = []
    saved = checkpoint.read()
    if saved is not None:
        log.load_state(saved["log"])
        results = [(budget, logits.numpy()) for budget, logits in saved["results"]]
    for budget in budgets[len(results) :]:
        head = stream_key(seed, *stream_name, "head")
        network = build_classifier(model, input_size, encoder, len(cell.classes), head)
        best = None if score is None else BestEpoch(score, cell.labels[cell.validation])
        if best is not None and saved is not None:
            best.epoch, best.value, best.state = saved["best"]

        def after_epoch(
            epoch: int,
            loss: float,
            rate: float,
            budget: int = budget,
            network: nn.Module = network,
            best: BestEpoch | None = best,
        ) -> None:
            log.epoch(budget=budget, epoch=epoch, loss=loss, lr=rate)
            if best is not None:
                logits = predict(network, validation, input_size, device)
                best.offer(epoch, logits, lambda: copy.deepcopy(network.state_dict()))

        def after_step(state: Callable[[], dict[str, Any]], best: BestEpoch | None = best) -> None:
            checkpoint.after_step(
                lambda: {
                    "results": [(budget, torch.from_numpy(logits)) for budget, logits in results],
                    "training": state(),
                    "best": None if best is None else (best.epoch, best.value, best.state),
                    "log": log.state(),
                }
            )

        train_network(
            network,
            training,
            cell.labels[cell.train],
            loss=masked_bce,
            optimizer=optimizer,
            epochs=budget,
            augmentation=augmentation,
            input_size=input_size,
            precision=precision,
            compiled=compiled,
            seed=seed,
            stream_name=(*stream_name, budget),
            device=device,
            seen=log.step,
            after_epoch=after_epoch,
            after_step=after_step,
            saved=None if saved is None else saved["training"],
        )
        saved = None  # it was of this budget
        if best is not None:
            network.load_state_dict(best.state)
        results.append((budget, predict(network, scored, input_size, device)))
    return results


def build_classifier(model: str, input_size: int, encoder: Path, classes: int, key: int) -> nn.Sequential:
    """Return the encoder's network with a new linear head for ``classes``, drawn from the stream ``key``."""
    backbone = build_backbone(model, 0, input_size)
    load_weights(backbone, encoder)
    with seeded(key):
        head = nn.Linear(backbone.width, classes)
    return nn.Sequential(backbone, head)


def masked_bce(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean binary cross entropy over labels that are not NaN; both are [n, classes]."""
    known = ~labels.isnan()
    terms = F.binary_cross_entropy_with_logits(
        logits, labels.nan_to_num(0.0), weight=known.float(), reduction="sum"
    )
    return terms / known.sum().clamp(min=1)
