"""Linear finetuning: all heads of one source and target, embedding included, against a forward pass an epoch.

The reference is what published code does (MoCo's ``main_lincls.py``): each epoch of each cell runs the labelled images
through the frozen network, batch by batch, under a head of PyTorch's, and in the end the validation and test images
once. It is spared what published code also does: decoding files, and scoring the validation images after every epoch.
Every epoch of a cell costs it the same, so that one epoch of each percentage is timed and multiplied by epochs and
seeds. Ours is timed in full, through the stages and their files, but for the start of Python.

Counts are the paper's divided by 10 (spine) and 100 (chest), the network is the demo's at 64 pixels.
"""

from __future__ import annotations

import io
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
from moco_transfer.config.training import Optimizer
from moco_transfer.data.labels import COLUMNS
from moco_transfer.finetune.data import FinetuningData, read_finetuning_data
from moco_transfer.finetune.embed import embed
from moco_transfer.finetune.linear import linear
from moco_transfer.networks import build_backbone, load_weights, save_weights
from moco_transfer.seeds import stream
from moco_transfer.training.images import DEVIATION, MEAN

MODEL, SIZE, EPOCHS, SUBSETS = "densenet_small", 64, 100, 3


@dataclass(frozen=True)
class Target:
    """The images of a dataset by split, its labelled subsets and its finetuning, in the paper's proportions."""

    name: str
    train: int
    validation: int
    test: int
    subsets: tuple[int, ...]
    classes: int
    optimizer: Optimizer
    goal: float


TARGETS = (
    Target(
        "spine",
        587,
        252,
        208,
        (5, 58, 587),
        1,
        Optimizer(batch=16, lr=0.001, name="sgd", momentum=0.9, weight_decay=1e-4),
        goal=100,
    ),
    Target(
        "chest",
        2257,
        757,
        757,
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
    with tempfile.TemporaryDirectory() as folder:
        files = write_inputs(target, Path(folder))
        jobs = [
            read_finetuning_data(files["index"], files["splits"], files[f"{n}-1"], "zero")
            for n in target.subsets
        ]
        images = np.load(files["images"])
        network = build_backbone(MODEL, 0).eval()
        load_weights(network, files["encoder"])
        ours, scoring, *an_epoch = best_seconds(
            lambda: _ours(target, files),
            lambda: _forward(network, images, jobs[0].scored, 256),
            *(lambda job=job: _reference_epoch(target, network, images, job) for job in jobs),
            repeats=3,
        )
    reference = SUBSETS * (EPOCHS * sum(an_epoch) + len(jobs) * scoring)
    name = f"linear heads of {target.name}, {SUBSETS * len(jobs)} x {EPOCHS} epochs"
    return Measure(name, ours, reference, "s", target.goal)


def write_inputs(target: Target, folder: Path) -> dict[str, Path]:
    """Write random images, their labels and splits, nested subsets and weights, and return where they lie."""
    outputs = ("images.npy", "index.parquet", "splits.parquet", "encoder.safetensors")
    files = {name.split(".")[0]: folder / name for name in outputs}
    draw = stream(0, "bench", "linear", target.name)
    n = target.train + target.validation + target.test
    np.save(files["images"], draw.integers(0, 256, (n, SIZE, SIZE), dtype=np.uint8))
    names = [str(row) for row in range(n)]
    index = pd.DataFrame(dict.fromkeys(COLUMNS, names))
    labels = (draw.random((n, target.classes)) < 0.3).astype(np.float32)
    classes = pd.DataFrame(labels, columns=[f"class{number}" for number in range(target.classes)])
    pd.concat([index, classes], axis=1).to_parquet(files["index"])
    splits = np.repeat(["train", "validation", "test"], [target.train, target.validation, target.test])
    pd.DataFrame({"split": splits}).to_parquet(files["splits"])
    save_weights(build_backbone(MODEL, 1), files["encoder"])
    for subset in range(1, SUBSETS + 1):
        order = draw.permutation(target.train)
        for size in target.subsets:
            files[f"{size}-{subset}"] = folder / f"{size}-{subset}.parquet"
            pd.DataFrame({"row": order[:size]}).to_parquet(files[f"{size}-{subset}"])
    return files


def _ours(target: Target, files: dict[str, Path]) -> None:
    """Embed once and train every head, from files to files."""
    subsets = [f"{size}-{subset}" for size in target.subsets for subset in range(1, SUBSETS + 1)]
    folder = files["images"].parent
    network = stages.Network(name=MODEL, input_size=SIZE)
    cached = {"features": folder / "features.npy", "rows": folder / "rows.npy"}
    embed(
        stages.Embed(network=network, views=1, augment="none", seed=0, stream=["bench"]),
        encoder=files["encoder"],
        images=files["images"],
        splits=files["splits"],
        subsets=[files[subset] for subset in subsets],
        device="cpu",
        **cached,
    )
    settings = stages.Linear(
        uncertain="zero",
        optimizer=target.optimizer,
        epochs=EPOCHS,
        checkpoint="last",
        average=None,
        seed=0,
        stream=["bench"],
    )
    for subset in subsets:
        linear(
            settings,
            index=files["index"],
            splits=files["splits"],
            subset=files[subset],
            predictions=folder / "predictions.parquet",
            metrics=folder / "metrics.csv",
            **cached,
        )


def _reference_epoch(target: Target, network: nn.Module, images: np.ndarray, job: FinetuningData) -> None:
    """Train a head for one epoch, each batch passing through the frozen network anew."""
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
        loss.item()  # what published code shows of each step


@torch.no_grad()
def _forward(network: nn.Module, images: np.ndarray, rows: np.ndarray, batch: int) -> torch.Tensor:
    """Return the features of ``rows`` in float32 and PyTorch's ordinary memory format."""
    mean, deviation = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(DEVIATION).view(3, 1, 1)
    features = []
    for start in range(0, len(rows), batch):
        grey = torch.from_numpy(images[rows[start : start + batch]]).unsqueeze(1)
        features.append(network((grey.float() / 255 - mean) / deviation))
    return torch.cat(features)
