"""Predictions of finetuning jobs: labels and logits of validation and test images, read one split at a time.

A predictions file holds one row per image and budget of epochs. Reading filters by split, so code that asks
for validation images never sees a test row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from moco_transfer.errors import UserError
from moco_transfer.experiment import Job
from moco_transfer.files import read_parquet


@dataclass(frozen=True)
class PredictionsFile:
    """The path of one finetuning job's predictions, and which job it was. Numbers count from 1."""

    source: str
    mode: str
    percent: str
    subset: int
    replicate: int
    fold: int
    path: Path


@dataclass(frozen=True)
class Scored:
    """The scored images of one split and one budget: ids [n], labels [n, c] of 0, 1 or NaN, scores [n, c]."""

    images: np.ndarray
    patients: np.ndarray
    classes: tuple[str, ...]
    labels: np.ndarray
    scores: np.ndarray


def predictions_files(jobs: Sequence[Job], paths: Sequence[Path]) -> list[PredictionsFile]:
    """Return the predictions file of each job; ``paths`` are in the order of ``jobs``."""
    return [PredictionsFile(*job, path) for job, path in zip(jobs, paths, strict=True)]


def labelled_counts(percents: Sequence[str], subsets: Sequence[Path]) -> dict[str, int]:
    """Return the number of labelled images by percentage, from one subset of each, of fold 1.

    With folds, the numbers of other folds differ by what one unit of the split holds, at most a few images.
    """
    return {percent: pq.read_metadata(path).num_rows for percent, path in zip(percents, subsets, strict=True)}


def read_split(path: str | Path, split: str) -> dict[int, Scored]:
    """Return the images of ``split`` ('validation' or 'test') in a predictions file, by budget, ascending.

    Raises UserError, naming the file, if columns are missing, the split has no row, budgets hold different
    images, or a score is not finite (the training diverged).
    """
    frame = read_parquet(path, filters=[("split", "==", split)])
    classes = tuple(name.removeprefix("label_") for name in frame.columns if name.startswith("label_"))
    needed = ["epochs", "image_id", "patient_id", *(f"logit_{name}" for name in classes)]
    missing = [name for name in needed if name not in frame.columns]
    if missing or not classes:
        raise UserError(
            f"{path}: expected a predictions file, but it has no column '{(missing or ['label_...'])[0]}'; "
            "delete it and run again"
        )
    if frame.empty:
        raise UserError(f"{path}: no image of the {split} split; is its share in the configuration zero?")
    budgets = {int(epochs): _scored(rows, classes) for epochs, rows in frame.groupby("epochs", sort=True)}
    for epochs, scored in budgets.items():
        if not np.isfinite(scored.scores).all():
            raise UserError(f"{path}: logits at {epochs} epochs are not finite; lower the learning rate")
        require_same_images(next(iter(budgets.values())), scored, path)
    return budgets


def require_same_images(expected: Scored, found: Scored, path: str | Path) -> None:
    """Raise UserError, naming ``path``, unless both hold the same images and labels in the same order."""
    same = (
        expected.classes == found.classes
        and np.array_equal(expected.images, found.images)
        and np.array_equal(expected.patients, found.patients)
        and np.array_equal(expected.labels, found.labels, equal_nan=True)
    )
    if not same:
        raise UserError(
            f"{path}: expected the images and labels of the target's other predictions, in the same order; "
            "delete it and run again"
        )


def _scored(rows: pd.DataFrame, classes: tuple[str, ...]) -> Scored:
    return Scored(
        images=rows["image_id"].to_numpy(dtype=str),
        patients=rows["patient_id"].to_numpy(dtype=str),
        classes=classes,
        labels=rows[[f"label_{name}" for name in classes]].to_numpy(dtype=np.float32),
        scores=rows[[f"logit_{name}" for name in classes]].to_numpy(dtype=np.float32),
    )
