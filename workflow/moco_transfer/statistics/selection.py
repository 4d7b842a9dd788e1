"""The budget of end-to-end training, chosen on validation images: protocol decisions 14 and 14a.

For each source and percentage the number of epochs with the best validation AUROC, averaged over seeds, is selected.
Nothing here reads a test image: the test is that permuting test labels leaves every budget as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from moco_transfer.errors import UserError
from moco_transfer.seeds import stream
from moco_transfer.statistics.auroc import Average, auroc_by_class, average, positives_by_class
from moco_transfer.statistics.predictions import PredictionsFile, read_split


def validation_aurocs(
    target: str,
    files: Iterable[PredictionsFile],
    n_labeled: Mapping[str, int],
    images: Literal["full", "matched"],
    how: Average,
    seed: int,
) -> pd.DataFrame:
    """Return the validation AUROC of every budget of end-to-end ``files``: source, percent, seed, epochs, auroc.

    ``images`` 'matched' scores as many validation images as were labelled for training (``n_labeled`` by percent), drawn
    from a stream of (target, seed): all sources share them, and a smaller percentage's are among a larger one's. An
    AUROC is NaN where the images hold no class with both values.
    """
    rows = []
    for file in files:
        for epochs, scored in read_split(file.path, "validation").items():
            labels, scores = scored.labels, scored.scores
            if images == "matched":
                order = stream(seed, "matched validation", target, file.seed).permutation(len(labels))
                kept = order[: n_labeled[file.percent]]
                labels, scores = labels[kept], scores[kept]
            value = average(auroc_by_class(labels, scores), positives_by_class(labels), how)
            rows.append((file.source, file.percent, file.seed, epochs, float(value)))
    return pd.DataFrame(rows, columns=["source", "percent", "seed", "epochs", "auroc"])


def select_budgets(validation: pd.DataFrame) -> pd.DataFrame:
    """Return every budget with its validation AUROC, and which one is selected.

    ``validation`` has source, percent, seed, epochs and auroc, of end-to-end mode. Returns source, percent, epochs,
    validation_auroc (the mean over seeds; seeds without one are left out) and selected: exactly one for each (source,
    percent), the smaller budget of equals. Raises UserError where no budget of a cell has an AUROC.
    """
    budgets = (
        validation.groupby(["source", "percent", "epochs"], sort=False)["auroc"]
        .mean()
        .rename("validation_auroc")
        .reset_index()
        .sort_values(["source", "percent", "epochs"], kind="stable", ignore_index=True)
    )
    budgets["selected"] = False
    for (source, percent), cell in budgets.groupby(["source", "percent"], sort=False):
        if cell["validation_auroc"].isna().all():
            raise UserError(
                f"{source}, {percent}%: no validation image set with both values of a class, so no budget can be "
                "chosen; take more validation images (split.validation, evaluation.validation: full)"
            )
        budgets.loc[cell.index[int(np.nanargmax(cell["validation_auroc"]))], "selected"] = True
    return budgets


def read_budgets(path: str | Path) -> pd.DataFrame:
    """Return a table of budgets written as CSV, with its percentages as the strings they are."""
    return pd.read_csv(path, dtype={"source": str, "percent": str})
