"""The budget of end-to-end training, chosen on validation images: protocol decisions 14 and 14a.

For each source and percentage the number of epochs with the best validation AUROC, averaged over subsets, is selected: by
all validation images ('full'), and by as many of them as were labelled for training ('matched'). Both choices are made,
so that they can be compared; the configured one counts. Nothing here reads a test image, and test labels cannot reach
what does: tests/unit/test_test_labels_stay_out.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import pandas as pd

from moco_transfer.errors import UserError
from moco_transfer.seeds import stream
from moco_transfer.statistics.auroc import Average, auroc_by_class, average, positives_by_class
from moco_transfer.statistics.predictions import PredictionsFile, read_split

ValidationImages = Literal["full", "matched"]
VALIDATION_IMAGES: tuple[ValidationImages, ...] = ("full", "matched")


def validation_aurocs(
    target: str,
    files: Iterable[PredictionsFile],
    n_labeled: Mapping[str, int],
    how: Average,
    seed: int,
) -> pd.DataFrame:
    """Return the validation AUROC of every budget of end-to-end ``files`` on full and on matched validation images.

    Columns are source, percent, subset, epochs, images_full, images_matched (how many), auroc_full and auroc_matched. The
    matched images are as many as were labelled for training (``n_labeled`` by percent), or all where there are fewer,
    drawn from a stream of (target, subset): all sources share them, and a smaller percentage's are among a larger one's.
    An AUROC is NaN where the images hold no class with both values.
    """
    rows = []
    for file in files:
        for epochs, scored in read_split(file.path, "validation").items():
            order = stream(seed, "matched validation", target, file.subset).permutation(len(scored.labels))
            row = {"source": file.source, "percent": file.percent, "subset": file.subset, "epochs": epochs}
            for name, kept in (("full", slice(None)), ("matched", order[: n_labeled[file.percent]])):
                labels = scored.labels[kept]
                by_class = auroc_by_class(labels, scored.scores[kept])
                row[f"images_{name}"] = len(labels)
                row[f"auroc_{name}"] = float(average(by_class, positives_by_class(labels), how))
            rows.append(row)
    columns = ["source", "percent", "subset", "epochs", *_both("images"), *_both("auroc")]
    return pd.DataFrame(rows, columns=columns)


def select_budgets(validation: pd.DataFrame, images: ValidationImages) -> pd.DataFrame:
    """Return every budget with its validation AUROCs, and which one is selected.

    ``validation`` is the frame of ``validation_aurocs``. Returns source, percent, epochs, validation_auroc and selected,
    which go by ``images``, the configured validation images; then images, validation_auroc and selected of full and of
    matched ones, as columns that end in _full and _matched. A validation AUROC is the mean over subsets (those without one
    are left out). Exactly one budget is selected for each (source, percent), the smaller one of equals; none by images
    on which no budget of the cell has an AUROC. Raises UserError where these are the configured ones.
    """
    budgets = (
        validation.groupby(["source", "percent", "epochs"], sort=False)[[*_both("images"), *_both("auroc")]]
        .mean()
        .rename(columns={name: f"validation_{name}" for name in _both("auroc")})
        .astype(dict.fromkeys(_both("images"), int))
        .reset_index()
        .sort_values(["source", "percent", "epochs"], kind="stable", ignore_index=True)
    )
    for name in VALIDATION_IMAGES:
        budgets[f"selected_{name}"] = False
        for (source, percent), cell in budgets.groupby(["source", "percent"], sort=False):
            aurocs = cell[f"validation_auroc_{name}"]
            if aurocs.notna().any():
                budgets.loc[aurocs.idxmax(), f"selected_{name}"] = True
            elif name == images:
                raise UserError(
                    f"{source}, {percent}%: no validation image set with both values of a class, so no budget can be "
                    "chosen; take more validation images (split.validation, evaluation.validation: full)"
                )
    budgets.insert(3, "validation_auroc", budgets[f"validation_auroc_{images}"])
    budgets.insert(4, "selected", budgets[f"selected_{images}"])
    return budgets


def read_budgets(path: str | Path) -> pd.DataFrame:
    """Return a table of budgets written as CSV, with its percentages as the strings they are."""
    return pd.read_csv(path, dtype={"source": str, "percent": str})


def _both(column: str) -> list[str]:
    """Return the names of a column of full and of matched validation images."""
    return [f"{column}_{name}" for name in VALIDATION_IMAGES]
