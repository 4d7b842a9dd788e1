"""Short trainings in every way that a configuration can choose: both precisions, images on the device or from pinned memory.

Each is a few steps of the real loops. Its losses are compared with those on the CPU in float32, and its weights must be the same to the
last bit wherever the images come from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from record import Part, Record
from scale import PRECISIONS, Files, end_to_end_settings, moco_settings, scale_of

from moco_transfer.config import Precision
from moco_transfer.config.augmentation import operations_of
from moco_transfer.config.encoders import IMAGENET_MEAN, IMAGENET_STD, SMALL, Network
from moco_transfer.finetune.end_to_end import masked_bce
from moco_transfer.model import Classifier
from moco_transfer.networks import build_network, seeded
from moco_transfer.pretrain import train_moco
from moco_transfer.training import images as image_module
from moco_transfer.training.device import open_device
from moco_transfer.training.images import ImagePool, View
from moco_transfer.training.loop import Recipe, SupervisedTraining

KINDS = ("MoCo", "end to end")
SIDE, BATCH, STEPS, CLASSES, SEED = 32, 16, 4, 5, 1
LOSS = {"float32": 0.02, "bfloat16": 0.05}  # relative to the losses on the CPU in float32
CPU = torch.device("cpu")


class Trained(NamedTuple):
    """The losses of the steps, and a state after the last one."""

    losses: np.ndarray
    state: dict[str, Any]

    def unlike(self, other: Trained) -> float:
        """Return the relative difference of the losses."""
        return float(np.linalg.norm(self.losses - other.losses) / np.linalg.norm(other.losses))


class Enough(Exception):
    """Ends MoCo after ``STEPS`` steps."""


class Checkpoint:
    """In place of a checkpoint: keeps the state after ``STEPS`` steps, and stops."""

    received, count = None, 0

    def read(self) -> None:
        """Return no state."""

    def after_step(self, state: Any) -> None:
        """Count a step."""
        self.count += 1
        if self.count == STEPS:
            self.state = state()
            raise Enough


def run(part: Part, record: Record, work: Path, device: str) -> None:
    """Compare all ways with the CPU, and pinned with resident images."""
    where, files = open_device(device), Files(work)
    # On the CPU, a thread that reads ahead stands for pinned memory.
    ways = ("resident", "pinned" if device == "cuda" else "ahead")
    for kind in KINDS:
        reference = train(kind, files, CPU, "float32")
        for precision in PRECISIONS:
            resident, pinned = (train(kind, files, where, precision, way) for way in ways)
            part.check(f"{kind}, {precision}: losses", resident.unlike(reference), LOSS[precision])
            unequal = sum(
                not torch.equal(a, b) for a, b in zip(_tensors(resident), _tensors(pinned), strict=True)
            )
            part.check(f"{kind}, {precision}: arrays that differ with pinned images", unequal, 0)


def train(
    kind: str,
    files: Files,
    device: torch.device,
    precision: Precision,
    delivery: str = "resident",
    compiled: bool = False,
) -> Trained:
    """Train the small network for ``STEPS`` steps."""
    network = Network(name=SMALL, channels=3, size=SIDE, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    # One step more than are taken, because at the end of an epoch MoCo forgets the losses.
    pool = ImagePool([(files.images, np.arange(BATCH * (STEPS + 1)))])
    with patch.object(image_module, "delivery", lambda *_: delivery):
        state = {"MoCo": _moco, "end to end": _end_to_end}[kind](network, pool, device, precision, compiled)
    losses = state["measured"][:, 0] if kind == "MoCo" else state["losses"]
    return Trained(losses[:STEPS].double().cpu().numpy(), state)


def _moco(
    network: Network, pool: ImagePool, device: torch.device, precision: Precision, compiled: bool
) -> dict[str, Any]:
    settings = moco_settings(scale_of("cpu"), BATCH, precision, 1, SIDE, compiled)
    checkpoint = Checkpoint()
    try:
        train_moco(settings, build_network(network, SEED), pool, {}, device, checkpoint, None)
    except Enough:
        return checkpoint.state
    raise RuntimeError("the training ended too early")


def _end_to_end(
    network: Network, pool: ImagePool, device: torch.device, precision: Precision, compiled: bool
) -> dict[str, Any]:
    settings = end_to_end_settings(scale_of("cpu"), precision, 1, compiled)
    with seeded(SEED):
        classifier = Classifier(build_network(network, SEED), CLASSES)
    recipe = Recipe(
        optimizer=settings.optimizer,
        section="gpu",
        epochs=1,
        operations=operations_of("chexclusion"),
        view=View(SIDE, network),
        computing=settings.computing,
        seed=SEED,
        stream=("gpu",),
    )
    labels = np.random.default_rng(SEED).integers(0, 2, (len(pool), CLASSES)).astype(np.float32)
    training = SupervisedTraining(classifier, pool, labels, masked_bce, recipe, device)
    steps = training.steps()
    for _ in range(STEPS):
        next(steps)
    return training.state()


def _tensors(trained: Trained) -> list[torch.Tensor]:
    return list(trained.state["network"].values())
