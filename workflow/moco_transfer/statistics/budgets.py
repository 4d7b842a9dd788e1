"""The budget of end-to-end training (its number of epochs), chosen on validation images (#14, #14a).

For each source and percentage, the budget with the best validation AUROC, averaged over labelled subsets (and
folds, so that all folds take the same), is selected: once on all validation images ('full'), and once on as many of them as were labelled for training
('matched'). Both choices are made so that they can be compared; the configured one counts. Nothing here reads
a test image, and tests/unit/test_test_labels_stay_out.py checks that test labels cannot change a choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import pandas as pd

from moco_transfer.config import stages
from moco_transfer.errors import UserError
from moco_transfer.files import read_csv, write_csv
from moco_transfer.seeds import stream
from moco_transfer.statistics.auroc import Average, average_auroc
from moco_transfer.statistics.predictions import (
    PredictionsFile,
    labelled_counts,
    predictions_files,
    read_split,
)

ValidationImages = Literal["full", "matched"]
VALIDATION_IMAGES: tuple[ValidationImages, ...] = ("full", "matched")


def select_budgets(
    settings: stages.SelectBudgets, *, predictions: list[Path], subsets: list[Path], budgets: Path
) -> None:
    """Choose the number of epochs of end-to-end training on validation images."""
    aurocs = validation_aurocs(
        settings.target,
        predictions_files(settings.jobs, predictions),
        labelled_counts(settings.percents, subsets),
        settings.average,
        settings.seed,
    )
    write_csv(best_budgets(aurocs, settings.validation), budgets, float_format="%.9g")


def validation_aurocs(
    target: str,
    files: Iterable[PredictionsFile],
    n_labeled: Mapping[str, int],
    how: Average,
    seed: int,
) -> pd.DataFrame:
    """Return the AUROC of every budget in ``files``, on full and on matched validation images.

    There is a row for each file and budget. Columns are source, mode, percent, subset, epochs, images_full, images_matched (how many), auroc_full and
    auroc_matched. There are as many matched images as were labelled for training (``n_labeled`` by percent),
    or all if there are fewer. They are drawn from a stream of (target, subset): all sources share them, and
    those of a smaller percentage are among those of a larger one. An AUROC is NaN if no class has both values
    in the images.
    """
    rows = []
    for file in files:
        for epochs, scored in read_split(file.path, "validation").items():
            order = stream(seed, "matched validation", target, file.subset).permutation(len(scored.labels))
            row = {name: getattr(file, name) for name in ("source", "mode", "percent", "subset")}
            row["epochs"] = epochs
            for name, kept in (("full", slice(None)), ("matched", order[: n_labeled[file.percent]])):
                row[f"images_{name}"] = len(scored.labels[kept])
                row[f"auroc_{name}"] = average_auroc(scored.labels[kept], scored.scores[kept], how)
            rows.append(row)
    columns = ["source", "mode", "percent", "subset", "epochs", *_both("images"), *_both("auroc")]
    return pd.DataFrame(rows, columns=columns)


def best_budgets(validation: pd.DataFrame, images: ValidationImages) -> pd.DataFrame:
    """Return every budget with its validation AUROCs, and which one is selected.

    ``validation`` is the frame of ``validation_aurocs`` of end-to-end files. Returns source, percent, epochs, and
    validation_auroc and selected on ``images``, the configured validation images; then images,
    validation_auroc and selected on full and on matched images, in columns that end in _full and _matched. A
    validation AUROC is the mean over the subsets, in all folds, that have one; so is a number of images, rounded down. For each (source, percent) exactly one budget
    is selected, the smallest of equally good ones. If no budget of a cell has an AUROC on some images, none
    is selected on them; on the configured images, this raises UserError.
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
                    f"{source}, {percent}%: no budget can be chosen, because no class has both values among "
                    f"the {images} validation images; use more of them (split.validation, "
                    "evaluation.validation: full)"
                )
    budgets.insert(3, "validation_auroc", budgets[f"validation_auroc_{images}"])
    budgets.insert(4, "selected", budgets[f"selected_{images}"])
    return budgets


def read_budgets(path: str | Path) -> pd.DataFrame:
    """Return a table of budgets from CSV, with percentages kept as strings; raises UserError if it is damaged."""
    names = ["source", "percent"]
    return read_csv(path, [*names, "epochs", "selected"], names)


def _both(column: str) -> list[str]:
    """Return the names of a column for full and for matched validation images."""
    return [f"{column}_{name}" for name in VALIDATION_IMAGES]
