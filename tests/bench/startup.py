"""Start-up: from the start of a job's process to its first training step, and the limit for it.

Each stage runs on small made-up inputs in a process of its own, which ends when it asks for the learning rate
of the first step. What depends on the size of a dataset is not measured here.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from linear import CROP, TARGETS, linear_settings, write_inputs
from measure import Measure

from moco_transfer.config import stages
from moco_transfer.config.training import Moco, Schedule
from moco_transfer.files import write_array

FIRST_STEP = 42
STAGE = f"""
import os
from moco_transfer.training import schedule
schedule.cosine = lambda *_: os._exit({FIRST_STEP})
from moco_transfer.cli import main
main()
"""
LIMITS = {"linear": 1, "end-to-end": 10, "pretrain": 10}
REPEATS = 3
LINEAR = linear_settings(TARGETS[0], epochs=1)
SHARED = {
    "crop": CROP,
    "computing": stages.Computing(precision="float32", compile=False),
    "seed": 0,
    "stream": ["bench"],
}
SETTINGS = {
    "linear": LINEAR,
    "end-to-end": stages.EndToEnd(
        **LINEAR.model_dump(exclude={"recipe", "epochs", "seed", "stream"}),
        budgets=[1],
        longer_by=None,
        augment="none",
        **SHARED,
    ),
    "pretrain": stages.Pretrain(
        moco=Moco(
            dim=128,
            momentum=0.999,
            temperature=0.2,
            queue=64,
            mask_own_keys=True,
            augment=[{"crop": "random"}],
            sgd_momentum=0.9,
            weight_decay=1e-4,
        ),
        schedule=Schedule(epochs=1, batch=16, lr=0.002, bn_groups=1),
        match="epochs",
        datasets=[{"name": "bench", "uncertain": "zero"}],
        images="train",
        probe=None,
        **SHARED,
    ),
}


def measure() -> list[Measure]:
    """Return the seconds of the fastest of a few starts of each kind of training, with their limits."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(TARGETS[0], folder)
        images = sum(TARGETS[0].splits.values())
        write_array(np.ones((images, 8), np.float32), folder / "features.npy")
        write_array(np.stack([np.arange(images), np.zeros(images, np.int64)], axis=1), folder / "rows.npy")
        return [
            Measure(f"start-up of {stage}", _seconds(stage, folder), limit, "s", 1)
            for stage, limit in LIMITS.items()
        ]


def _seconds(stage: str, folder: Path) -> float:
    arguments = [sys.executable, "-c", STAGE, stage, "--settings", SETTINGS[stage].model_dump_json()]
    for option, value in _options(stage, folder).items():
        arguments += [f"--{option}", str(value)]
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        run = subprocess.run(arguments, capture_output=True, text=True, check=False)
        best = min(best, time.perf_counter() - start)
        if run.returncode != FIRST_STEP:
            raise RuntimeError(f"{stage} did not reach its first step: {run.stderr}")
    return best


def _options(stage: str, folder: Path) -> dict[str, Path | str]:
    encoder, out = folder / "encoder.safetensors", folder / stage
    shared = {"splits": folder / "splits.parquet", "metrics": out / "metrics.csv"}
    if stage == "pretrain":
        return {
            **shared,
            "initial": encoder,
            "stores": folder,
            "encoder": out / encoder.name,
            "device": "cpu",
        }
    shared |= {"subset": folder / "58-1.parquet", "predictions": out / "predictions.parquet"}
    if stage == "linear":
        cached = {name: folder / f"{name}.npy" for name in ("features", "rows")}
        head = out / "head.safetensors"
        return {**shared, **cached, "index": folder / "index.parquet", "head": head}
    return {**shared, "store": folder, "encoder": encoder, "device": "cpu"}
