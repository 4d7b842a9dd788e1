"""The epoch that predicts, where that is the best on validation and not the last (#13): linear and end to end alike.

One cell of the experiment: which images train, validate and test it, their labels, and the table of predictions.

Both ways of finetuning read their data and write their predictions here, and nowhere else, so that every predictions
file of a target holds the same images in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from moco_transfer.data.labels import read_targets, split_rows, subset_rows
from moco_transfer.errors import UserError
from moco_transfer.files import read_columns, replacing

State = TypeVar("State")


class BestEpoch(Generic[State]):
    """Keeps what a model was in the epoch with the highest score; of equal scores the first epoch's.

    Attributes
    ----------
    score : a function of (labels, logits), both [n, classes], higher is better
    labels : of the validation images, float32 [n, classes]
    epoch : the best epoch, counted from 1; 0 before the first
    value : its score
    state : what the model was then; None before the first epoch
    """

    def __init__(self, score: Callable[[np.ndarray, np.ndarray], float], labels: np.ndarray) -> None:
        self.score, self.labels = score, labels
        self.epoch, self.value = 0, -np.inf
        self.state: State | None = None

    def offer(self, epoch: int, logits: np.ndarray, copy: Callable[[], State]) -> None:
        """Score the validation ``logits`` of ``epoch``; where they are the best so far, keep what ``copy`` returns."""
        value = self.score(self.labels, logits)
        if value > self.value:
            self.epoch, self.value, self.state = epoch, value, copy()


@dataclass(frozen=True)
class Cell:
    """Rows of the store by role, and labels by row.

    Attributes
    ----------
    train, validation, test : rows of the store, int64 [m]; train in the order of the subset, the others ascending
    labels : float32 [n, classes] for all rows of the store; 0, 1 or NaN (masked)
    classes : names of the label columns
    ids : image_id and patient_id of all rows of the store
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    labels: np.ndarray
    classes: list[str]
    ids: pa.Table

    @property
    def scored(self) -> np.ndarray:
        """The rows that are predicted: validation, then test."""
        return np.concatenate([self.validation, self.test])


def read_cell(index: Path, splits: Path, subset: Path, uncertain: str) -> Cell:
    """Return the cell of one labelled subset; raises UserError where a split is empty."""
    rows = {name: split_rows(splits, [name]) for name in ("validation", "test")}
    for name, found in rows.items():
        if len(found) == 0:
            raise UserError(
                f"{splits}: no image is in the {name} split; change datasets.*.split or add images"
            )
    classes, labels = read_targets(index, uncertain)
    return Cell(
        train=subset_rows(subset),
        validation=rows["validation"],
        test=rows["test"],
        labels=labels,
        classes=classes,
        ids=read_columns(index, ["image_id", "patient_id"]),
    )


def write_predictions(path: Path, cell: Cell, logits: Sequence[tuple[int, np.ndarray]]) -> None:
    """Write the predictions of one cell.

    Parameters
    ----------
    logits : pairs (epochs, float32 [validation + test, classes]), a pair a budget, images as in ``cell.scored``

    Raises UserError, before anything is written, where a logit is not finite.
    """
    for epochs, values in logits:
        broken = int((~np.isfinite(values).all(axis=1)).sum())
        if broken:
            raise UserError(
                f"{path}: not written, as logits of {broken} of {len(values)} images are not finite after "
                f"{epochs} epochs; lower finetune.optimizers.*.lr"
            )
    codes = np.repeat(np.int32([0, 1]), [len(cell.validation), len(cell.test)])
    images = {
        "split": pa.DictionaryArray.from_arrays(codes, ["validation", "test"]),
        **{name: cell.ids[name].take(cell.scored) for name in cell.ids.column_names},
        **{
            f"label_{name}": column
            for name, column in zip(cell.classes, cell.labels[cell.scored].T, strict=True)
        },
    }
    parts = []
    for epochs, values in logits:
        scores = {
            f"logit_{name}": column for name, column in zip(cell.classes, np.float32(values).T, strict=True)
        }
        part = pa.table(images | scores)
        parts.append(part.add_column(1, "epochs", pa.array(np.full(len(part), epochs, np.int32))))
    with replacing(path) as temporary:
        pq.write_table(pa.concat_tables(parts), temporary, compression="zstd")
