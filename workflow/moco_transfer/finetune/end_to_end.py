"""End-to-end finetuning: all weights are trained. Each budget of epochs is a separate training with its own cosine."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from moco_transfer.checksums import check
from moco_transfer.config import stages
from moco_transfer.config.augmentation import operations_of
from moco_transfer.data.labels import split_rows
from moco_transfer.errors import UserError
from moco_transfer.finetune.data import (
    BestEpoch,
    FinetuningData,
    read_finetuning_data,
    validation_score,
    versions_of,
    write_predictions,
)
from moco_transfer.model import Classifier
from moco_transfer.networks import load_encoder, seeded, write_weights
from moco_transfer.seeds import stream_key
from moco_transfer.tensors import read_tensors, write_tensors
from moco_transfer.training.attempt import attempt
from moco_transfer.training.checkpoint import Checkpoint, fingerprint
from moco_transfer.training.device import open_device
from moco_transfer.training.images import ImagePool, View, predict
from moco_transfer.training.log import MetricsLog
from moco_transfer.training.loop import Recipe, SupervisedTraining
from moco_transfer.training.schedule import longer_budget

logger = logging.getLogger(__name__)


def end_to_end(
    settings: stages.EndToEnd,
    *,
    encoder: Path,
    store: Path,
    splits: Path,
    subset: Path,
    predictions: Path,
    metrics: Path,
    networks: Path | None = None,
    device: str,
) -> None:
    """Finetune a whole network on one labelled subset, once per budget, and predict validation and test.

    If ``networks`` is given, the network of every budget is kept in that file: ``<epochs>/encoder.*``, ``<epochs>/head.*``.
    """
    data = read_finetuning_data(store / "index.parquet", splits, subset, settings.uncertain, settings.task)
    if settings.longer_by is not None:
        shown = len(split_rows(splits, settings.longer_by.images.split("+")))
        longer = longer_budget(settings.budgets, settings.longer_by.epochs, shown, len(data.train))
        settings = settings.model_copy(update={"budgets": [longer]})

    folder = predictions.parent / "state"
    kept = None if networks is None else KeptNetworks(folder, data.classes)

    def train(checkpoint: Checkpoint) -> None:
        events = metrics.parent / "tensorboard"
        with MetricsLog("end to end", sum(settings.budgets), len(data.train), events) as log:
            results = finetune(
                settings,
                data,
                store / "images.npy",
                encoder,
                open_device(device),
                log,
                checkpoint,
                kept,
            )
        log.write(metrics)
        if kept is not None:
            kept.join(settings.budgets, networks)
        write_predictions(predictions, data, results)

    index = store / "index.parquet"
    inputs = {"encoder": [encoder], "index": [index], "splits": [splits], "subset": [subset]}
    attempt(
        train,
        folder=folder,
        # A state of a training that did not keep its networks lacks those of its finished budgets.
        fingerprint=fingerprint(__name__, settings.model_dump(), [store / "images.npy"], inputs)
        | {"networks": "thrown away" if networks is None else "kept"},
        outputs=[predictions, metrics, *([] if networks is None else [networks])],
    )


class KeptNetworks:
    """The networks of the finished budgets of a training, each in a file in ``folder``, so that a kill loses none."""

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self.folder, self.classes = folder, list(classes)

    def _path(self, budget: int) -> Path:
        return self.folder / f"network{budget}.safetensors"

    def keep(self, budget: int, network: Classifier) -> None:
        about = {"network": network.encoder.network.model_dump(), "classes": self.classes}
        write_weights(self._path(budget), network.state_dict(), about)

    def has(self, budget: int) -> bool:
        """Return whether the file of ``budget`` is there and whole."""
        try:
            check(self._path(budget), required=True)
        except (FileNotFoundError, UserError):
            return False
        return True

    def join(self, budgets: Sequence[int], networks: Path) -> None:
        """Write the networks of all ``budgets`` into the file ``networks``."""
        weights: dict[str, np.ndarray] = {}
        for budget in budgets:
            own, about = read_tensors(self._path(budget))
            weights |= {f"{budget}/{name}": values for name, values in own.items()}
        versions = versions_of(["torch", "timm", "numpy"])
        write_tensors(
            networks,
            weights,
            {"network": about["network"], "classes": about["classes"], "versions": versions},
        )


def finetune(
    settings: stages.EndToEnd,
    data: FinetuningData,
    images: Path,
    encoder: Path,
    device: torch.device,
    log: MetricsLog,
    checkpoint: Checkpoint,
    kept: KeptNetworks | None = None,
) -> list[tuple[int, np.ndarray]]:
    """Return pairs (budget, the head's outputs for ``data.scored``, float32 [validation + test, classes]).

    Every budget starts from the same encoder with the same new head. The epoch that predicts is the last one, or with
    ``checkpoint: best`` the one that scores best on the validation images (#13). ``kept``, if given, keeps the network that
    predicts of every budget. Raises UserError with the step if a loss is not finite.
    """
    train, scored = (ImagePool([(images, rows)]) for rows in (data.train, data.scored))
    score = validation_score(settings)
    validation = None if score is None else ImagePool([(images, data.validation)])
    results: list[tuple[int, np.ndarray]] = []
    saved = checkpoint.read()
    if saved is not None and kept is not None and not all(kept.has(budget) for budget, _ in saved["results"]):
        logger.info(
            "training starts from the beginning: the network of a finished budget is missing or damaged"
        )
        saved = None
    if saved is not None:
        log.load_state(saved["log"])
        results = [(budget, outputs.numpy()) for budget, outputs in saved["results"]]

    def state() -> dict[str, Any]:
        return {
            "results": [(budget, torch.from_numpy(outputs)) for budget, outputs in results],
            "training": training.state(),
            "best": None if best is None else (best.epoch, best.value, best.state),
            "log": log.state(),
        }

    for budget in settings.budgets[len(results) :]:
        training = _open_training(settings, budget, data, train, encoder, device)
        best = None if score is None else BestEpoch(score, data.labels[data.validation])
        if saved is not None:
            training.load_state(saved["training"])
            if best is not None:
                best.epoch, best.value, best.state = saved["best"]
            saved = None  # the later budgets start from the encoder
        network, view = training.network, training.recipe.view
        for step in training.steps():
            log.step(step.images)
            if step.epoch is not None:
                log.epoch(budget=budget, epoch=step.epoch, loss=step.loss, lr=step.lr)
                if best is not None:
                    outputs = predict(network, validation, view, device)
                    best.offer(step.epoch, outputs, partial(copy.deepcopy, network.state_dict()))
            checkpoint.after_step(state)
        if best is not None:
            network.load_state_dict(best.state)
        if kept is not None:
            kept.keep(budget, network)
        results.append((budget, predict(network, scored, view, device)))
    return results


def _open_training(
    settings: stages.EndToEnd,
    budget: int,
    data: FinetuningData,
    pool: ImagePool,
    encoder: Path,
    device: torch.device,
) -> SupervisedTraining:
    """Return the training of the encoder with a new linear head for ``budget`` epochs."""
    backbone = load_encoder(encoder)
    with seeded(stream_key(settings.seed, *settings.stream, "head")):
        network = Classifier(backbone, len(data.classes))
    recipe = Recipe(
        optimizer=settings.optimizer,
        section="finetune.optimizers.*",
        epochs=budget,
        operations=[] if settings.augment == "none" else operations_of(settings.augment),
        view=View(settings.crop, backbone.network),
        computing=settings.computing,
        seed=settings.seed,
        stream=(*settings.stream, budget),
    )
    loss = {"multilabel": masked_bce, "multiclass": F.cross_entropy}[settings.task]
    return SupervisedTraining(network, pool, data.labels[data.train], loss, recipe, device)


def masked_bce(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean binary cross entropy over labels that are not NaN; both are [n, classes]."""
    known = ~labels.isnan()
    terms = F.binary_cross_entropy_with_logits(
        logits, labels.nan_to_num(0.0), weight=known.float(), reduction="sum"
    )
    return terms / known.sum().clamp(min=1)
