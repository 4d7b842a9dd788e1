"""What one model of a way to train costs: how many images pass through the network, forward and back.

Counted are the trainings in this run that the model needs: of the initial weights and of MoCo, as the plan counts them, and
of one finetuning. Published weights cost nothing, and nor does the choice between ways, budgets, subsets and encoders. A
forward pass alone, as for the keys of MoCo and for features, counts as a third of an image (``plan.TRAINING_PASSES``). What an
image costs depends on the network and its input; these are taken as equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from moco_transfer.config.experiment import LIMITED, Config
from moco_transfer.plan import TRAINING_PASSES
from moco_transfer.training.schedule import full_steps


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
