"""End-to-end finetuning: every weight may move. Each budget of epochs is a training of its own, with its own cosine."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moco_transfer.config import stages
from moco_transfer.config.augmentation import operations_of
from moco_transfer.data.labels import split_rows
from moco_transfer.finetune.data import (
    BestEpoch,
    FinetuningData,
    read_finetuning_data,
    validation_score,
    write_predictions,
)
from moco_transfer.networks import build_backbone, load_weights, seeded
from moco_transfer.seeds import stream_key
from moco_transfer.training.attempt import attempt
from moco_transfer.training.checkpoint import Checkpoint, fingerprint
from moco_transfer.training.device import open_device
from moco_transfer.training.images import ImagePool, predict
from moco_transfer.training.log import MetricsLog
from moco_transfer.training.loop import Recipe, SupervisedTraining
from moco_transfer.training.schedule import longer_budget

Results = list[tuple[int, np.ndarray]]
"""Pairs (epochs, logits [validation + test, classes])."""


def end_to_end(
    settings: stages.EndToEnd,
    *,
    encoder: Path,
    store: Path,
    splits: Path,
    subset: Path,
    predictions: Path,
    metrics: Path,
    device: str,
) -> None:
    """Finetune a whole network on one labelled subset, once per budget, and predict validation and test."""
    data = read_finetuning_data(store / "index.parquet", splits, subset, settings.uncertain)
    if settings.longer_by is not None:
        shown = len(split_rows(splits, settings.longer_by.images.split("+")))
        longer = longer_budget(settings.budgets, settings.longer_by.epochs, shown, len(data.train))
        settings = settings.model_copy(update={"budgets": [longer]})

    def train(checkpoint: Checkpoint) -> None:
        events = metrics.parent / "tensorboard"
        with MetricsLog("end to end", sum(settings.budgets), len(data.train), events) as log:
            training = Finetuning(settings, data, store, encoder, open_device(device), log, checkpoint)
            results = training.run()
        log.write(metrics)
        write_predictions(predictions, data, results)

    inputs = {
        "encoder": [encoder],
        "index": [store / "index.parquet"],
        "splits": [splits],
        "subset": [subset],
    }
    attempt(
        train,
        folder=predictions.parent / "state",
        fingerprint=fingerprint(settings.model_dump(), [store / "images.npy"], inputs),
        outputs=[predictions, metrics],
    )


class Finetuning:
    """The trainings of all budgets, one after the other.

    Every budget starts from the same encoder with the same new head. With ``checkpoint: best`` it predicts with the epoch
    that scores best on the validation images, otherwise with the last one (#13).
    """

    def __init__(
        self,
        settings: stages.EndToEnd,
        data: FinetuningData,
        store: Path,
        encoder: Path,
        device: torch.device,
        log: MetricsLog,
        checkpoint: Checkpoint,
    ) -> None:
        self.settings, self.data, self.encoder = settings, data, encoder
        self.device, self.log, self.checkpoint = device, log, checkpoint
        images = store / "images.npy"
        self.training, self.scored = (ImagePool([(images, rows)]) for rows in (data.train, data.scored))
        self.score = validation_score(settings)
        self.validation = None if self.score is None else ImagePool([(images, data.validation)])
        self.operations = [] if settings.augment == "none" else operations_of(settings.augment)
        self.results: Results = []

    def run(self) -> Results:
        """Return the results of all budgets; raises UserError with the step if a loss is not finite."""
        saved = self.checkpoint.read()
        if saved is not None:
            self.log.load_state(saved["log"])
            self.results = [(budget, logits.numpy()) for budget, logits in saved["results"]]
        for budget in self.settings.budgets[len(self.results) :]:
            self.results.append((budget, self._train(budget, saved)))
            saved = None  # it was of the first budget that was left
        return self.results

    def _train(self, budget: int, saved: dict[str, Any] | None) -> np.ndarray:
        """Return the logits of the images that are scored after a training of ``budget`` epochs."""
        settings, data = self.settings, self.data
        network = self._build()
        recipe = Recipe(
            settings.optimizer,
            budget,
            self.operations,
            settings.network.input_size,
            settings.computing,
            settings.seed,
            (*settings.stream, budget),
        )
        training = SupervisedTraining(
            network, self.training, data.labels[data.train], masked_bce, recipe, self.device
        )
        best = None if self.score is None else BestEpoch(self.score, data.labels[data.validation])
        if saved is not None:
            training.load_state(saved["training"])
            if best is not None:
                best.epoch, best.value, best.state = saved["best"]

        def state() -> dict[str, Any]:
            return {
                "results": [(budget, torch.from_numpy(logits)) for budget, logits in self.results],
                "training": training.state(),
                "best": None if best is None else (best.epoch, best.value, best.state),
                "log": self.log.state(),
            }

        for step in training.steps():
            self.log.step(step.images)
            if step.epoch is not None:
                self.log.epoch(budget=budget, epoch=step.epoch, loss=step.loss, lr=step.lr)
                if best is not None:
                    logits = self._predict(network, self.validation)
                    best.offer(step.epoch, logits, lambda: copy.deepcopy(network.state_dict()))
            self.checkpoint.after_step(state)
        if best is not None:
            network.load_state_dict(best.state)
        return self._predict(network, self.scored)

    def _build(self) -> nn.Sequential:
        """Return the encoder with a new linear head."""
        settings = self.settings
        backbone = build_backbone(settings.network.name, 0, settings.network.input_size)
        load_weights(backbone, self.encoder)
        with seeded(stream_key(settings.seed, *settings.stream, "head")):
            head = nn.Linear(backbone.width, len(self.data.classes))
        return nn.Sequential(backbone, head)

    def _predict(self, network: nn.Module, pool: ImagePool) -> np.ndarray:
        return predict(network, pool, self.settings.network.input_size, self.device)


def masked_bce(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean binary cross entropy over labels that are not NaN; both are [n, classes]."""
    known = ~labels.isnan()
    terms = F.binary_cross_entropy_with_logits(
        logits, labels.nan_to_num(0.0), weight=known.float(), reduction="sum"
    )
    return terms / known.sum().clamp(min=1)
