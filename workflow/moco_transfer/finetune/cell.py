"""One cell of the experiment: which images train, validate and test it, their labels, and the table of predictions.

Both ways of finetuning read their data and write their predictions here, and nowhere else, so that every predictions
file of a target holds the same images in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from moco_transfer.atomic import write_parquet
from moco_transfer.data.labels import label_columns, label_matrix
from moco_transfer.errors import UserError


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
    ids: pd.DataFrame

    @property
    def scored(self) -> np.ndarray:
        """The rows that are predicted: validation, then test."""
        return np.concatenate([self.validation, self.test])


def read_cell(index: Path, splits: Path, subset: Path, uncertain: str) -> Cell:
    """Return the cell of one labelled subset; raises UserError where a split is empty."""
    stored = pd.read_parquet(index)
    split = pd.read_parquet(splits)["split"]
    rows = {name: np.flatnonzero(split == name) for name in ("validation", "test")}
    for name, found in rows.items():
        if len(found) == 0:
            raise UserError(
                f"{splits}: no image is in the {name} split; change datasets.*.split or add images"
            )
    return Cell(
        train=pd.read_parquet(subset, columns=["row"])["row"].to_numpy(),
        validation=rows["validation"],
        test=rows["test"],
        labels=label_matrix(stored, uncertain),
        classes=label_columns(stored),
        ids=stored[["image_id", "patient_id"]],
    )


def write_predictions(path: Path, cell: Cell, logits: Sequence[tuple[int, np.ndarray]]) -> None:
    """Write the predictions of one cell.

    Parameters
    ----------
    logits : pairs (epochs, float32 [validation + test, classes]), a pair a budget, images as in ``cell.scored``
    """
    split = pd.Categorical(
        ["validation"] * len(cell.validation) + ["test"] * len(cell.test), categories=["validation", "test"]
    )
    images = cell.ids.iloc[cell.scored].reset_index(drop=True)
    labels = pd.DataFrame(cell.labels[cell.scored], columns=[f"label_{name}" for name in cell.classes])
    frames = []
    for epochs, values in logits:
        scores = pd.DataFrame(values.astype(np.float32), columns=[f"logit_{name}" for name in cell.classes])
        head = pd.DataFrame({"split": split, "epochs": np.int32(epochs)})
        frames.append(pd.concat([head, images, labels, scores], axis=1))
    write_parquet(pd.concat(frames, ignore_index=True), path)
