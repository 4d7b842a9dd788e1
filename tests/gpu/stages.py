"""Every stage that can use a GPU, as Snakemake starts it, on the device and on the CPU; the two results are compared.

Several jobs for the device start at once and wait for each other's lock of the GPU, as they do in a run. Trainings are compared by
the loss of their first epoch: later, differences of rounding grow. Where nothing is trained, outputs are compared, as errors
relative to the norm; in float32 a GPU computes convolutions with TF32, which has ten bits of precision.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from record import Part, Record
from scale import PRECISIONS, Files, Scale, end_to_end_settings, moco_settings, scale_of

from moco_transfer.config import Section, stages
from moco_transfer.config.datasets import Store
from moco_transfer.config.encoders import About, Made
from moco_transfer.files import read_parquet
from moco_transfer.model import Classifier
from moco_transfer.networks import build_network, save_encoder, seeded, write_weights
from moco_transfer.similarity.activations import read_layers

BATCH, EPOCHS, IMAGES, SEED = 16, 2, 64, 1
LOSS = {"float32": 0.02, "bfloat16": 0.05}
OUTPUTS = 0.01
AT_ONCE = 6
CLASSES = ("a", "b", "c")


class Job(NamedTuple):
    """One stage with its settings, its files for a folder of outputs, and what is compared of them."""

    name: str
    stage: str
    settings: Section | None
    files: Callable[[Path], Mapping[str, object]]
    read: Callable[[Path], np.ndarray]
    limit: float


def run(part: Part, record: Record, work: Path, device: str) -> None:
    """Run all stages on ``device`` and on the CPU, and compare them; one that fails does not stop the others."""
    jobs, runs = _jobs(scale_of(device), Files(work)), {"device": device, "CPU": "cpu"}
    with ThreadPoolExecutor(min(AT_ONCE, len(os.sched_getaffinity(0)))) as runners:
        errors = {
            (job.name, name): runners.submit(_run, job, where, _folder(work, job, name))
            for job in jobs
            for name, where in runs.items()
        }
        for job in jobs:
            failed = [(name, error) for name in runs if (error := errors[job.name, name].result())]
            for name, error in failed:
                part.note(f"{job.name} on the {name} failed: {error}")
            part.check(job.name, float("nan") if failed else _difference(work, job), job.limit)


def _folder(work: Path, job: Job, name: str) -> Path:
    return work / "stages" / f"{job.name} on the {name}".replace(" ", "_")


def _run(job: Job, device: str, folder: Path) -> str:
    """Run ``job`` in a process of its own, and return the last lines that it printed if it failed."""
    folder.mkdir(parents=True)
    arguments = [sys.executable, "-m", "moco_transfer", job.stage, "--device", device]
    if job.settings is not None:
        arguments += ["--settings", job.settings.model_dump_json()]
    for option, value in job.files(folder).items():
        arguments += [f"--{option}", *map(str, value if isinstance(value, list) else [value])]
    threads = str(max(1, len(os.sched_getaffinity(0)) // AT_ONCE))
    environment = os.environ | {"OMP_NUM_THREADS": threads}
    run = subprocess.run(arguments, capture_output=True, text=True, check=False, env=environment)
    return "" if run.returncode == 0 else " / ".join(run.stderr.strip().splitlines()[-3:])[-600:]


def _difference(work: Path, job: Job) -> float:
    found, expected = (np.float64(job.read(_folder(work, job, name))) for name in ("device", "CPU"))
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def _jobs(scale: Scale, files: Files) -> list[Job]:
    encoder, crop = files.encoder(scale.checked), scale.checked
    computing = {name: stages.Computing(precision=name, compile=False) for name in PRECISIONS}
    jobs = [
        Job(
            "embed",
            "embed",
            stages.Embed(crop=crop, views=2, augment="chexclusion", seed=SEED, stream=["gpu"]),
            lambda out: {
                "encoder": encoder,
                "images": files.images,
                "splits": files.splits,
                "subsets": [files.subset],
                "features": out / "features.npy",
                "rows": out / "rows.npy",
            },
            lambda out: np.load(out / "features.npy"),
            OUTPUTS,
        ),
        Job(
            "activations",
            "activations",
            stages.RecordActivations(crop=crop, datasets=["chest"], images=IMAGES, seed=SEED),
            lambda out: {
                "encoder": encoder,
                "images": [files.images],
                "activations": [out / "chest.safetensors"],
            },
            lambda out: np.concatenate([*map(np.ravel, read_layers(out / "chest.safetensors").values())]),
            OUTPUTS,
        ),
        Job(
            "compare-networks",
            "compare-networks",
            stages.CompareNetworks(
                crop=crop,
                sources=["none", "other"],
                targets=["chest"],
                images=IMAGES,
                variance=0.99,
                seed=SEED,
            ),
            lambda out: {
                "encoders": [encoder, _other_encoder(scale, out)],
                "images": [files.images],
                "networks": out / "networks.parquet",
            },
            lambda out: read_parquet(out / "networks.parquet").query("measure == 'cka'")["value"].to_numpy(),
            OUTPUTS,
        ),
        Job(
            "predict",
            "predict",
            None,
            lambda out: {
                "model": _model(scale, out),
                "images": files.release / "files",
                "out": out / "predicted.csv",
            },
            lambda out: pd.read_csv(out / "predicted.csv").filter(like="logit_").to_numpy(),
            OUTPUTS,
        ),
    ]
    for name, how in computing.items():
        jobs += [
            Job(
                f"pretrain, {name}",
                "pretrain",
                moco_settings(scale, BATCH, name, EPOCHS, crop),
                lambda out: {
                    "initial": encoder,
                    "stores": [files.store],
                    "splits": [files.splits],
                    "encoder": out / "encoder.safetensors",
                    "metrics": out / "metrics.csv",
                },
                _first_loss,
                LOSS[name],
            ),
            Job(
                f"end-to-end, {name}",
                "end-to-end",
                end_to_end_settings(scale, name, EPOCHS),
                lambda out: {
                    "encoder": encoder,
                    "store": files.store,
                    "splits": files.splits,
                    "subset": files.subset,
                    "predictions": out / "predictions.parquet",
                    "metrics": out / "metrics.csv",
                    "networks": out / "networks.safetensors",
                },
                _first_loss,
                LOSS[name],
            ),
            Job(
                f"train-weights, {name}",
                "train-weights",
                stages.TrainWeights(
                    encoder={
                        "encoder": scale.network,
                        "weights": {"classes_of": "chest", "epochs": EPOCHS, "batch": BATCH, "lr": 0.01},
                    },
                    crop=crop,
                    computing=how,
                    seed=SEED,
                    stream=["gpu"],
                ),
                lambda out: {
                    "store": files.one_class,
                    "splits": files.splits,
                    "encoder": out / "encoder.safetensors",
                    "metrics": out / "metrics.csv",
                },
                _first_loss,
                LOSS[name],
            ),
        ]
    return jobs


def _first_loss(out: Path) -> np.ndarray:
    with (out / "metrics.csv").open(newline="") as file:
        return np.array([float(next(csv.DictReader(file))["loss"])])


def _other_encoder(scale: Scale, out: Path) -> Path:
    path = out / "other.safetensors"
    save_encoder(build_network(scale.encoder(scale.checked), SEED + 1), path)
    return path


def _model(scale: Scale, out: Path) -> Path:
    """Write a finetuned model with random weights and return its path."""
    network, path = scale.encoder(scale.checked), out / "model.safetensors"
    with seeded(SEED):
        model = Classifier(build_network(network, SEED), len(CLASSES))
    about = About(
        network=network,
        crop=scale.checked,
        store=Store(size=scale.stored, fit="center_crop"),
        classes=list(CLASSES),
        thresholds=[None] * len(CLASSES),
        made=Made(run="gpu", target="chest", source="none", mode="linear", percent="1", subset=1, epochs=1),
    )
    write_weights(path, model.state_dict(), about.model_dump())
    return path
