"""Linear finetuning: all jobs of one source and target, embedding included, against a forward pass per epoch.

The reference is what published code does (MoCo's ``main_lincls.py``): in each epoch of each job, the labelled
images pass through the frozen network, batch by batch, under a PyTorch head, and at the end the validation
and test images once. It is spared what published code also does: decoding files, and scoring the validation
images after every epoch. Every epoch of a job takes equally long, so one epoch per percentage is timed and
multiplied by epochs and subsets. Ours is timed in full, through the stages and their files, except for the
start of Python.

The counts are the paper's, divided by 10 (spine) and 100 (chest); the network is the demo's at 64 pixels.
"""

from __future__ import annotations

import io
import json
import tempfile
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from measure import Measure, best_seconds
from torch import nn
from torch.nn import functional as F

from moco_transfer.config import stages
from moco_transfer.config.encoders import IMAGENET_MEAN, IMAGENET_STD, Network
from moco_transfer.config.training import Optimizer
from moco_transfer.data.labels import COLUMNS
from moco_transfer.finetune.data import FinetuningData, read_finetuning_data
from moco_transfer.finetune.embed import embed
from moco_transfer.finetune.linear import linear
from moco_transfer.networks import build_network, load_encoder, save_encoder
from moco_transfer.seeds import stream

CROP = 64
NETWORK = Network(name="densenet_small", channels=3, size=CROP, mean=IMAGENET_MEAN, std=IMAGENET_STD)
EPOCHS, SUBSETS = 100, 3


@dataclass(frozen=True)
class Target:
    """The images per split and per labelled subset, and the finetuning, in the paper's proportions."""

    name: str
    splits: dict[str, int]
    subsets: tuple[int, ...]
    classes: int
    optimizer: Optimizer
    goal: float


TARGETS = (
    Target(
        "spine",
        {"train": 587, "validation": 252, "test": 208},
        (5, 58, 587),
        1,
        Optimizer(batch=16, lr=0.001, name="sgd", momentum=0.9, weight_decay=1e-4),
        goal=100,
    ),
    Target(
        "chest",
        {"train": 2257, "validation": 757, "test": 757},
        (1, 2, 22, 225),
        14,
        Optimizer(batch=48, lr=0.0005, name="adam", momentum=None, weight_decay=0.0),
        goal=40,
    ),
)


def measure() -> list[Measure]:
    """Return the seconds of both ways for each target, on one thread: small batches gain little from more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with redirect_stderr(io.StringIO()):  # the heads' progress
            return [_measure(target) for target in TARGETS]
    finally:
        torch.set_num_threads(threads)


def _measure(target: Target) -> Measure:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(target, folder)
        index, splits = folder / "index.parquet", folder / "splits.parquet"
        jobs = [
            read_finetuning_data(index, splits, folder / f"{size}-1.parquet", "zero")
            for size in target.subsets
        ]
        images = np.load(folder / "images.npy")
        network = load_encoder(folder / "encoder.safetensors").eval()
        ours, scoring, *an_epoch = best_seconds(
            lambda: _ours(target, folder),
            lambda: _forward(network, images, jobs[0].scored, 256),
            *(lambda job=job: _reference_epoch(target, network, images, job) for job in jobs),
            repeats=3,
        )
    reference = SUBSETS * (EPOCHS * sum(an_epoch) + len(jobs) * scoring)
    name = f"linear cells of {target.name}, {SUBSETS * len(jobs)} x {EPOCHS} epochs"
    return Measure(name, ours, reference, "s", target.goal)


def write_inputs(target: Target, folder: Path) -> None:
    """Write a store of random images, splits, nested subsets ({size}-{number}.parquet) and an encoder."""
    draw = stream(0, "bench", "linear", target.name)
    n, side = sum(target.splits.values()), CROP
    np.save(folder / "images.npy", draw.integers(0, 256, (n, side, side), dtype=np.uint8))
    (folder / "manifest.json").write_text(json.dumps({"sha256": {"images.npy": "made up"}}))
    index = pd.DataFrame({column: [str(row) for row in range(n)] for column in COLUMNS})
    labels = (draw.random((n, target.classes)) < 0.3).astype(np.float32)
    classes = pd.DataFrame(labels, columns=[f"class{number}" for number in range(target.classes)])
    pd.concat([index, classes], axis=1).to_parquet(folder / "index.parquet")
    splits = np.repeat(list(target.splits), list(target.splits.values()))
    pd.DataFrame({"split": splits}).to_parquet(folder / "splits.parquet")
    save_encoder(build_network(NETWORK, 1), folder / "encoder.safetensors")
    for number in range(1, SUBSETS + 1):
        order = draw.permutation(target.splits["train"])
        for size in target.subsets:
            pd.DataFrame({"row": order[:size]}).to_parquet(folder / f"{size}-{number}.parquet")


def linear_settings(target: Target, epochs: int) -> stages.Linear:
    """Return the settings of the linear heads of ``target``."""
    return stages.Linear(
        recipe="paper",
        uncertain="zero",
        optimizer=target.optimizer,
        checkpoint="last",
        average=None,
        epochs=epochs,
        seed=0,
        stream=["bench"],
    )


def _ours(target: Target, folder: Path) -> None:
    """Embed once and train every head, from files to files."""
    numbers = range(1, SUBSETS + 1)
    subsets = [folder / f"{size}-{number}.parquet" for size in target.subsets for number in numbers]
    splits = folder / "splits.parquet"
    cached = {"features": folder / "features.npy", "rows": folder / "rows.npy"}
    embed(
        stages.Embed(crop=CROP, views=1, augment="none", seed=0, stream=["bench"]),
        encoder=folder / "encoder.safetensors",
        images=folder / "images.npy",
        splits=splits,
        subsets=subsets,
        device="cpu",
        **cached,
    )
    for subset in subsets:
        linear(
            linear_settings(target, EPOCHS),
            index=folder / "index.parquet",
            splits=splits,
            subset=subset,
            predictions=folder / "predictions.parquet",
            metrics=folder / "metrics.csv",
            head=folder / "head.safetensors",
            **cached,
        )


def _reference_epoch(target: Target, network: nn.Module, images: np.ndarray, job: FinetuningData) -> None:
    """Train a head for one epoch, passing each batch through the frozen network again."""
    head = nn.Linear(network.width, target.classes)
    if target.optimizer.name == "sgd":
        update = torch.optim.SGD(head.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4)
    else:
        update = torch.optim.Adam(head.parameters(), lr=5e-4)
    order = np.random.default_rng(0).permutation(job.train)
    for start in range(0, len(order), target.optimizer.batch):
        rows = order[start : start + target.optimizer.batch]
        logits = head(_forward(network, images, rows, target.optimizer.batch))
        loss = F.binary_cross_entropy_with_logits(logits, torch.from_numpy(job.labels[rows]))
        update.zero_grad()
        loss.backward()
        update.step()
        loss.item()  # published code shows it at each step


@torch.no_grad()
def _forward(network: nn.Module, images: np.ndarray, rows: np.ndarray, batch: int) -> torch.Tensor:
    """Return the features of ``rows`` in float32 and in PyTorch's default memory format."""
    mean, deviation = (torch.tensor(each).view(3, 1, 1) for each in (NETWORK.mean, NETWORK.std))
    features = []
    for start in range(0, len(rows), batch):
        grey = torch.from_numpy(images[rows[start : start + batch]]).unsqueeze(1)
        features.append(network((grey.float() / 255 - mean) / deviation))
    return torch.cat(features)
