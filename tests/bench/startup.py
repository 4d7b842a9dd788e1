"""Start-up: from the start of a job's process to its first training step, beside the limit for it.

Each stage runs on small made-up inputs in a process of its own, which ends where the learning rate of the first step is
asked for. What depends on the size of a dataset is not measured here.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from linear import MODEL, SIZE, TARGETS, write_inputs
from measure import Measure

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


def measure() -> list[Measure]:
    """Return the seconds of the fastest of a few starts of each kind of training, beside their limits."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write_inputs(TARGETS[0], folder)
        images, width = len(np.load(files["images"], mmap_mode="r")), 8
        np.save(folder / "features.npy", np.ones((images, width), np.float32))
        np.save(folder / "rows.npy", np.stack([np.arange(images), np.zeros(images, np.int64)], axis=1))
        (folder / "manifest.json").write_text(json.dumps({"sha256": {"images.npy": "made up"}}))
        return [
            Measure(f"start-up of {stage}", _seconds(stage, files, folder), limit, "s", 1)
            for stage, limit in LIMITS.items()
        ]


def _seconds(stage: str, files: dict[str, Path], folder: Path) -> float:
    arguments = [sys.executable, "-c", STAGE, stage, "--settings", json.dumps(_settings(stage))]
    for option, value in _options(stage, files, folder).items():
        arguments += [f"--{option}", str(value)]
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        run = subprocess.run(arguments, capture_output=True, text=True, check=False)
        best = min(best, time.perf_counter() - start)
        if run.returncode != FIRST_STEP:
            raise RuntimeError(f"{stage} did not come to its first step: {run.stderr}")
    return best


def _settings(stage: str) -> dict[str, object]:
    shared = {"seed": 0, "stream": ["bench"], "model": MODEL, "input_size": SIZE}
    trained = {"precision": "float32", "compile": False}
    finetuned = {
        "uncertain": "zero",
        "optimizer": TARGETS[0].optimizer.model_dump(),
        "checkpoint": "last",
        "average": None,
    }
    if stage == "linear":
        return {**shared, **finetuned, "epochs": 1}
    if stage == "end-to-end":
        return {**shared, **trained, **finetuned, "budgets": [1], "longer_by": None, "augment": "none"}
    moco = {"dim": 128, "momentum": 0.999, "temperature": 0.2, "queue": 64, "mask_own_keys": True}
    moco |= {"augment": [{"crop": "random"}], "sgd_momentum": 0.9, "weight_decay": 1e-4}
    schedule = {"epochs": 1, "batch": 16, "lr": 0.002, "bn_groups": 1}
    pretrained = {"moco": moco, "schedule": schedule, "images": "train", "datasets": [], "probe": None}
    return {**shared, **trained, **pretrained}


def _options(stage: str, files: dict[str, Path], folder: Path) -> dict[str, Path | str]:
    data = {name: files[name] for name in ("index", "splits")}
    written = {"metrics": folder / stage / "metrics.csv"}
    if stage == "pretrain":
        encoders = {"initial": files["encoder"], "encoder": folder / stage / "encoder.safetensors"}
        return {**data, **written, **encoders, "images": files["images"], "device": "cpu"}
    finetuned = {"subset": files["58-1"], "predictions": folder / stage / "predictions.parquet"}
    if stage == "linear":
        cached = {"features": folder / "features.npy", "rows": folder / "rows.npy"}
        return {**data, **written, **finetuned, **cached}
    network = {"images": files["images"], "encoder": files["encoder"], "device": "cpu"}
    return {**data, **written, **finetuned, **network}
