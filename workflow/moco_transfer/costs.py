"""What one model of a way to train costs, in images that pass through the network; how fast a run trains; how large networks are.

Counted are the trainings in this run that the model needs: of the initial weights and of MoCo, as the plan counts them, and
of one finetuning. Published weights cost nothing, and nor does the choice between ways, budgets, subsets and encoders. A
forward pass alone, as for the keys of MoCo and for features, counts as a third of an image (``TRAINING_PASSES``). What an
image costs depends on the network and its input; these are taken as equal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from moco_transfer.config.experiment import INITIAL, LIMITED, Config
from moco_transfer.training.schedule import full_steps

# Training on an image costs a forward pass and a backward pass, and a backward pass costs two forward passes.
TRAINING_PASSES = 3
# Matches a line in the log of a training, for example "epoch 6/6, loss 0.32, 584 images/s, 5 s, 0 s left".
LOGGED_SPEED = re.compile(r"(\d+) images/s, (\d+) s, ")
# So that nothing that counts costs has to build a network. A test compares them with the networks themselves.
NETWORK_SIZES = {
    "densenet_small": (50, 47_272),
    "densenet121": (1024, 7_037_504),
    "densenet169": (1664, 12_642_880),
    "efficientnet_lite0": (1280, 3_413_024),
    "resnet18": (512, 11_186_112),
    "resnet50": (2048, 23_561_152),
    "tf_efficientnet_lite0": (1280, 3_413_024),
    "vit_base_patch14_dinov2": (768, 86_579_712),
    "vit_base_patch16_224": (768, 85_798_656),
}
"""The width of the features and the values in the encoder's file, by architecture."""


class EncoderTraining(NamedTuple):
    """A training of an encoder on the ``splits`` of ``datasets``, or without any on the labelled images."""

    datasets: list[str]
    splits: list[str]
    epochs: int
    batch: int
    moco: bool


def encoder_trainings(config: Config, target: str, source: str) -> list[EncoderTraining]:
    """Return the trainings that an encoder of ``source`` needs for finetuning on ``target``, the first one first."""
    found = []
    first = config.encoders.get(source, config.model.initial_weights)
    if first.kind == "supervised":
        weights = first.weights
        found.append(
            EncoderTraining([weights.classes_of], ["train"], weights.epochs, weights.batch, moco=False)
        )
    seen = [] if source == LIMITED else config.moco_sources.get(source, [])
    if seen or source == LIMITED:
        schedule = config.schedule(source if seen else target)
        splits = config.pretraining.images.split("+") if seen else []
        found.append(EncoderTraining(seen, splits, schedule.epochs, schedule.batch, moco=True))
    return found


def encoder_cost(
    trainings: Sequence[EncoderTraining], images: Mapping[str, Mapping[str, int]], labelled: int
) -> float:
    """Return the cost of an encoder in images; ``images`` counts those of each dataset by split, ``labelled`` the labelled ones."""
    cost = 0.0
    for each in trainings:
        n = sum(images[name].get(split, 0) for name in each.datasets for split in each.splits) or labelled
        if each.moco:  # in full batches, each with a key for every query
            cost += each.epochs * full_steps(n, each.batch) * min(each.batch, n) * (1 + 1 / TRAINING_PASSES)
        else:
            cost += each.epochs * n
    return cost


def finetuning_cost(mode: str, epochs: int, labelled: int, views: int) -> float:
    """Return the cost of one finetuning in images: all of every epoch, or the features of the ``views`` of each."""
    return epochs * labelled if mode == "end_to_end" else views * labelled / TRAINING_PASSES


def measured_speed(config: Config) -> float | None:
    """Return from this run's logs how many images per second one device trains, or None."""
    return logged_speed(Path("results", config.run, "logs"), config.pretraining.ranks)


def logged_speed(logs: Path, ranks: int) -> float | None:
    """Return how many images per second one device trains, from the ``logs`` of a run whose MoCo has ``ranks`` processes, or None."""
    # For each image that it trains on, MoCo also computes a key in a forward pass.
    kinds = {"pretrain": (4, ranks), "finetune/*/*/*/end_to_end": (3, 1)}
    passes = seconds = 0.0
    for folder, (cost, devices) in kinds.items():
        for log in logs.glob(f"{folder}/**/*.log"):
            for rate, elapsed in LOGGED_SPEED.findall(log.read_text(encoding="utf-8", errors="replace"))[-1:]:
                passes += cost * float(rate) * float(elapsed)
                seconds += devices * float(elapsed)
    return passes / seconds / TRAINING_PASSES if seconds else None


def network_size(config: Config, source: str) -> tuple[int, int]:
    """Return the width of the features of a source, and the values in its encoder's file; 0 if unknown."""
    encoder = config.encoders.get(source, config.encoders[INITIAL])  # MoCo starts from the initial weights
    return NETWORK_SIZES.get(encoder.architecture, (0, 0))
