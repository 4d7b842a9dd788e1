"""Finetuned models with random weights, as a run writes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from moco_transfer.config.datasets import Store
from moco_transfer.config.encoders import About, Made, Network
from moco_transfer.model import Classifier
from moco_transfer.networks import build_network, seeded, write_weights

MADE = Made(run="r", target="t", source="s", mode="linear", percent="10", subset=1, epochs=2)


def network(name: str = "densenet_small", channels: int = 3, size: int = 32) -> Network:
    """Return a network whose normalisation differs between its channels."""
    mean, std = [0.4, 0.5, 0.6][:channels], [0.2, 0.25, 0.3][:channels]
    return Network(name=name, channels=channels, size=size, mean=mean, std=std)


def write_random_model(
    path: Path,
    store: Store,
    encoder: Network,
    crop: int = 32,
    thresholds: Sequence[float | None] = (0.0, None),
) -> nn.Module:
    """Write a model with the classes ``one``, ``two`` (as many as ``thresholds``) to ``path`` and return it, for evaluation."""
    classes = ["one", "two", "three"][: len(thresholds)]
    with seeded(1):
        model = Classifier(build_network(encoder, 1), len(classes))
    about = About(
        network=encoder, crop=crop, store=store, classes=classes, thresholds=list(thresholds), made=MADE
    )
    write_weights(path, model.state_dict(), about.model_dump())
    return model.eval()
