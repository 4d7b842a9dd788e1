"""Two small training jobs as the workflow runs them, each a process of its own that a test may kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from moco_transfer.networks import build_backbone, save_weights

IMAGES = 64
# A state after every step, so that a kill hits a write as often as a step.
RUN = (
    "import sys, torch; torch.set_num_threads(1); from moco_transfer import cli; "
    "from moco_transfer.training import checkpoint; checkpoint.SECONDS_BETWEEN_SAVES = 0; "
    "sys.exit(cli.main(sys.argv[1:]))"
)
MOCO = {
    "dim": 8,
    "momentum": 0.9,
    "temperature": 0.2,
    "queue": 48,
    "mask_own_keys": True,
    "augment": "moco_cxr",
    "sgd_momentum": 0.9,
    "weight_decay": 1e-4,
}
OPTIMIZER = {"batch": 16, "lr": 0.01, "name": "adam", "momentum": None, "weight_decay": 0}


@dataclass(frozen=True)
class Job:
    """A stage with its settings and inputs; its outputs go to the folder that it is started for."""

    stage: str
    settings: dict
    inputs: dict[str, Path]
    outputs: tuple[str, ...]

    def arguments(self, out: Path, **settings: object) -> list[str]:
        """Return the command line of the job for the folder ``out``, with ``settings`` in place of its own."""
        named = self.inputs | {name.split(".")[0]: out / name for name in self.outputs}
        files = [text for name, path in named.items() for text in (f"--{name}", str(path))]
        return [self.stage, "--settings", json.dumps(self.settings | settings), "--device", "cpu", *files]

    def start(self, out: Path) -> subprocess.Popen:
        """Start the job in a process of its own, as Snakemake does: what it declares is deleted first."""
        out.mkdir(exist_ok=True)
        for name in self.outputs:
            (out / name).unlink(missing_ok=True)
        return subprocess.Popen(
            [sys.executable, "-c", RUN, *self.arguments(out)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    def finish(self, out: Path) -> dict[str, bytes]:
        """Run the job to its end in a process of its own and return the bytes of its outputs by name."""
        process = self.start(out)
        _, errors = process.communicate()
        assert process.returncode == 0, errors
        return self.written(out)

    def written(self, out: Path) -> dict[str, bytes]:
        """Return the bytes of the outputs by name. Beside them ``out`` may hold only events and what a second job needs."""
        assert sorted(path.name for path in (out / "state").iterdir()) == ["finished", "lock"]
        found = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
        assert sorted(found) == sorted(self.outputs)
        return found


def small_trainings(folder: Path, epochs: int) -> dict[str, Job]:
    """Make 64 labelled noise images in ``folder`` and return the jobs that train on them, by stage."""
    random = np.random.default_rng(0)
    store = folder / "store"
    store.mkdir(parents=True)
    np.save(store / "images.npy", random.integers(0, 256, (IMAGES, 40, 40), dtype=np.uint8))
    (store / "manifest.json").write_text(json.dumps({"sha256": {"images.npy": "noise"}}))
    ids = [f"i{number}" for number in range(IMAGES)]
    people = {"image_id": ids, "patient_id": ids}
    nothing = pd.Series([None] * IMAGES, dtype="str")
    pd.DataFrame(
        {
            **people,
            "study_id": ids,
            "path": ids,
            "official_split": nothing,
            "view": nothing,
            "abnormal": np.tile(np.float32([0, 1]), IMAGES // 2),
        }
    ).to_parquet(store / "index.parquet")
    roles = np.repeat(["train", "validation", "test"], [IMAGES // 2, IMAGES // 4, IMAGES // 4])
    pd.DataFrame({**people, "split": roles}).to_parquet(folder / "splits.parquet")
    pd.DataFrame({"image_id": ids[:32], "row": range(32)}).to_parquet(folder / "subset.parquet")
    save_weights(build_backbone("densenet_small", 1), folder / "initial.safetensors")
    common = {
        "model": "densenet_small",
        "input_size": 32,
        "precision": "float32",
        "compile": False,
        "seed": 1,
        "stream": ["test"],
    }
    weights, images = folder / "initial.safetensors", store / "images.npy"
    pretrain = Job(
        "pretrain",
        common
        | {
            "moco": MOCO,
            "schedule": {"epochs": epochs, "batch": 16, "lr": 0.03, "bn_groups": 2},
            "images": "train+validation",
            "datasets": [{"name": "noise", "uncertain": "zero"}],
            "probe": {"every": 2, "images": 16},
        },
        {
            "initial": weights,
            "images": images,
            "index": store / "index.parquet",
            "splits": folder / "splits.parquet",
        },
        ("encoder.safetensors", "metrics.csv"),
    )
    end_to_end = Job(
        "end-to-end",
        common
        | {
            "uncertain": "zero",
            "optimizer": OPTIMIZER,
            "budgets": [epochs // 2, epochs],
            "longer_by": None,
            "augment": "chexclusion",
            "checkpoint": "best",
            "average": "weighted",
        },
        {
            "encoder": weights,
            "images": images,
            "index": store / "index.parquet",
            "splits": folder / "splits.parquet",
            "subset": folder / "subset.parquet",
        },
        ("predictions.parquet", "metrics.csv"),
    )
    return {job.stage: job for job in (pretrain, end_to_end)}
