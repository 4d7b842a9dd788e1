"""Two small training jobs as the workflow runs them, each a process of its own that a test may kill."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from made_up_settings import END_TO_END, NETWORK, PRETRAIN, changed
from made_up_stores import write_store, write_subset

from moco_transfer.config import Section
from moco_transfer.networks import build_network, save_encoder

IMAGES = 64
# A state after every step, so that a kill hits a write as often as a step.
RUN = (
    "import sys, torch; torch.set_num_threads(1); from moco_transfer import cli; "
    "from moco_transfer.training import checkpoint; checkpoint.SECONDS_BETWEEN_SAVES = 0; "
    "sys.exit(cli.main(sys.argv[1:]))"
)


@dataclass(frozen=True)
class Job:
    """A stage with its settings and inputs; its outputs go to the folder that it is started for."""

    stage: str
    settings: Section
    inputs: dict[str, Path]
    outputs: tuple[str, ...]

    def arguments(self, out: Path, **changes: object) -> list[str]:
        """Return the command line of the job for the folder ``out``, with ``changes`` of its settings."""
        named = self.inputs | {name.split(".")[0]: out / name for name in self.outputs}
        files = [text for name, path in named.items() for text in (f"--{name}", str(path))]
        settings = changed(self.settings, **changes).model_dump_json()
        return [self.stage, "--settings", settings, "--device", "cpu", *files]

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


def small_trainings(folder: Path, epochs: int, colour: bool = False) -> dict[str, Job]:
    """Make 64 labelled noise images in ``folder``, in grey or ``colour``, and return the jobs that train on them, by stage."""
    half, quarter = IMAGES // 2, IMAGES // 4
    labels = {"abnormal": np.tile([0, 1], half)}
    store = write_store(
        folder / "store",
        (IMAGES, 40, 40, 3) if colour else (IMAGES, 40, 40),
        labels,
        (half, quarter, quarter),
    )
    weights = folder / "initial.safetensors"
    save_encoder(build_network(NETWORK, 1), weights)
    pretrain = Job(
        "pretrain",
        changed(
            PRETRAIN,
            moco__queue=48,
            moco__augment="moco_v2" if colour else "moco_cxr",
            schedule={"epochs": epochs, "batch": 16, "lr": 0.03, "bn_groups": 2},
            images="train+validation",
            datasets=[{"name": "noise", "uncertain": "zero"}],
            probe={"every": 2, "images": 16},
        ),
        {"initial": weights, "stores": store, "splits": store / "splits.parquet"},
        ("encoder.safetensors", "metrics.csv"),
    )
    end_to_end = Job(
        "end-to-end",
        changed(
            END_TO_END,
            optimizer={"batch": 16, "lr": 0.01, "name": "adam", "momentum": None, "weight_decay": 0},
            budgets=[epochs // 2, epochs],
            augment="moco_v2" if colour else "chexclusion",
            checkpoint="best",
        ),
        {
            "encoder": weights,
            "store": store,
            "splits": store / "splits.parquet",
            "subset": write_subset(folder / "subset.parquet", range(half)),
        },
        ("predictions.parquet", "metrics.csv", "networks.safetensors"),
    )
    return {job.stage: job for job in (pretrain, end_to_end)}
