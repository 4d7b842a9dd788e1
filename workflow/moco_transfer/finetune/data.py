"""What both modes of finetuning share: the images and labels of one job, the epoch that predicts, and the predictions file.

All jobs read their data and write their predictions here, so that all predictions files of a target hold the same images in
the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from moco_transfer.config import Task, stages
from moco_transfer.data.labels import MULTICLASS, read_targets, require_one_class, split_rows, subset_rows
from moco_transfer.errors import UserError
from moco_transfer.files import read_columns, write_table
from moco_transfer.finetune.logits import class_logits

Score = Callable[[np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class FinetuningData:
    """The images of one finetuning job by role, and the labels of all images.

    Attributes
    ----------
    train, validation, test : rows of the store, int64 [m]; ``train`` in the order of the labelled subset, the others ascending
    labels : float32 [n, classes] for all rows of the store; 0, 1 or NaN (masked)
    classes : names of the label columns
    ids : image_id and patient_id of all rows of the store
    task : whether an image may have several of the classes, or has exactly one
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    labels: np.ndarray
    classes: list[str]
    ids: pa.Table
    task: Task = "multilabel"

    @property
    def scored(self) -> np.ndarray:
        """The rows that the job predicts: validation, then test."""
        return np.concatenate([self.validation, self.test])

    def patients(self, rows: np.ndarray) -> np.ndarray:
        """Return a number for the patient of each of the ``rows``."""
        encoded = self.ids["patient_id"].take(rows).combine_chunks().dictionary_encode()
        return np.from_dlpack(encoded.indices)


def read_finetuning_data(
    index: Path, splits: Path, subset: Path, uncertain: str, task: Task = "multilabel"
) -> FinetuningData:
    """Return the data of a job on one labelled subset.

    Raises UserError if the validation or the test split is empty, or if the task is multiclass and an image has no class or several.
    """
    rows = {name: split_rows(splits, [name]) for name in ("validation", "test")}
    for name, found in rows.items():
        if len(found) == 0:
            raise UserError(
                f"{splits}: no image is in the {name} split; change datasets.*.split, or add images"
            )
    classes, labels = read_targets(index, uncertain)
    train = subset_rows(subset)
    if task == "multiclass":
        require_one_class(labels, np.concatenate([train, *rows.values()]), index, MULTICLASS)
    return FinetuningData(
        train=train,
        validation=rows["validation"],
        test=rows["test"],
        labels=labels,
        classes=classes,
        ids=read_columns(index, ["image_id", "patient_id"]),
        task=task,
    )


class BestEpoch:
    """Keeps a model's state from the epoch with the highest validation score; of equal ones, the first (#13).

    Attributes
    ----------
    labels : of the validation images, float32 [n, classes]
    epoch : the best epoch, counted from 1; 0 before the first
    value : its score
    state : the model's state in that epoch; None before the first
    """

    def __init__(self, score: Score, labels: np.ndarray) -> None:
        self.score, self.labels = score, labels
        self.epoch, self.value = 0, -np.inf
        self.state: Any = None

    def offer(self, epoch: int, outputs: np.ndarray, copy: Callable[[], Any]) -> None:
        """Score the ``outputs`` for the validation images in ``epoch``; if they are the best so far, keep what ``copy`` returns."""
        value = self.score(self.labels, outputs)
        if value > self.value:
            self.epoch, self.value, self.state = epoch, value, copy()


def validation_score(settings: stages.Finetune) -> Score | None:
    """Return the AUROC as a function of (labels, a head's outputs), both [n, classes]; None if the last epoch predicts (#13)."""
    if settings.checkpoint == "last":
        return None
    from moco_transfer.statistics.auroc import average_auroc

    def score(labels: np.ndarray, outputs: np.ndarray) -> float:
        value = average_auroc(labels, class_logits(outputs, settings.task), settings.average)
        if np.isnan(value):
            raise UserError(
                "no class has both positive and negative validation images; set finetune.checkpoint to last"
            )
        return value

    return score


def versions_of(packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of the ``packages`` that a job computes with, by name, for the files of its weights."""
    return {name: version(name) for name in packages}


def write_predictions(path: Path, data: FinetuningData, outputs: Sequence[tuple[int, np.ndarray]]) -> None:
    """Write the predictions of one job.

    Parameters
    ----------
    outputs : pairs (epochs, what the head gives, float32 [validation + test, classes]), one per budget, with the images of
        ``data.scored``

    Raises UserError and writes nothing if a logit is not finite.
    """
    logits = [(epochs, class_logits(values, data.task)) for epochs, values in outputs]
    for epochs, values in logits:
        broken = int((~np.isfinite(values).all(axis=1)).sum())
        if broken:
            raise UserError(
                f"{path}: not written, because logits of {broken} of {len(values)} images are not finite after "
                f"{epochs} epochs; lower finetune.optimizers.*.lr"
            )
    codes = np.repeat(np.int32([0, 1]), [len(data.validation), len(data.test)])
    images = {
        "split": pa.DictionaryArray.from_arrays(codes, ["validation", "test"]),
        **{name: data.ids[name].take(data.scored) for name in data.ids.column_names},
        **dict(zip([f"label_{name}" for name in data.classes], data.labels[data.scored].T, strict=True)),
    }
    parts = []
    for epochs, values in logits:
        columns = zip([f"logit_{name}" for name in data.classes], np.float32(values).T, strict=True)
        part = pa.table(images | dict(columns))
        parts.append(part.add_column(1, "epochs", pa.array(np.full(len(part), epochs, np.int32))))
    write_table(pa.concat_tables(parts), path)
