"""The test results of one target: every estimate with its interval and standard errors, per cell, subset and class.

A cell is one (source, mode, percent, epochs): an average over labelled subsets. Intervals are percentiles of the
bootstrap, as in the paper, and take the subsets as fixed. Standard errors are our addition. The test set's part comes from
influence functions, always clustered by patient, because images of one patient are not independent; the subsets' part
comes from the scatter between them. A single class may be too rare for percentiles, so it gets the logit interval. Files
of predictions are read one at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd

from moco_transfer.config import stages
from moco_transfer.config.experiment import Evaluation
from moco_transfer.errors import UserError
from moco_transfer.files import write_parquet
from moco_transfer.statistics.auroc import (
    auroc_by_class,
    auroc_influence,
    average,
    influence_by_class,
    influence_covariance,
    positives_by_class,
    standard_errors,
)
from moco_transfer.statistics.bootstrap import bootstrap_auroc, logit_interval, rarer_units, resample_counts
from moco_transfer.statistics.budgets import read_budgets
from moco_transfer.statistics.predictions import (
    PredictionsFile,
    Scored,
    labelled_counts,
    predictions_files,
    read_split,
    require_same_images,
)

CELL = ["source", "mode", "percent", "epochs"]
COLUMNS = {
    "estimates": [
        *("target", "source", "mode", "percent", "n_labeled", "epochs", "selected", "n_subsets", "auroc"),
        *("macro", "mean", "median", "lower", "upper", "se_test", "se_subset", "se"),
    ],
    "subsets": ["target", *CELL, "subset", "auroc", "macro"],
    "classes": ["target", *CELL, "class", "positives", "auroc", "lower", "upper", "se_test"],
    "replicates": ["target", *CELL, "replicate", "auroc"],
}


def evaluate(
    settings: stages.Evaluate, *, predictions: list[Path], subsets: list[Path], budgets: Path, out: Path
) -> None:
    """Score the test images of one target, bootstrap them, estimate standard errors, and write a table of each to ``out``."""
    frames = evaluate_target(
        settings.target,
        predictions_files(settings.jobs, predictions),
        read_budgets(budgets),
        labelled_counts(settings.percents, subsets),
        settings.evaluation,
        settings.seed,
    )
    for name, frame in frames.items():
        write_parquet(frame, out / f"{name}.parquet")


def evaluate_target(
    target: str,
    files: Iterable[PredictionsFile],
    budgets: pd.DataFrame,
    n_labeled: Mapping[str, int],
    settings: Evaluation,
    seed: int,
) -> dict[str, pd.DataFrame]:
    """Return the frames 'estimates', 'subsets', 'classes', 'replicates' and 'covariance' of ``target``.

    ``budgets`` comes from ``budgets.select_budgets``, ``n_labeled`` is the number of labelled images by percent, ``seed``
    the root of the random streams. The covariance is that of the subset-mean AUROCs over test sets, between all pairs of
    cells, in long format (source_a, ..., epochs_b, covariance). Raises UserError if two files do not hold the same images,
    or if an end-to-end cell has no selected budget among its epochs.
    """
    chosen = {(row.source, row.percent): row.epochs for row in budgets[budgets["selected"]].itertuples()}
    files = sorted(files, key=_place)
    test = next(iter(read_split(files[0].path, "test").values()))
    units = test.patients if settings.unit == "patient" else test.images
    counts = resample_counts(units, settings.replicates, seed, "bootstrap", target)
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in COLUMNS}
    cells: list[tuple] = []
    influences: list[np.ndarray] = []
    for (source, mode, percent), jobs in groupby(files, lambda file: (file.source, file.mode, file.percent)):
        by_budget = _by_budget(jobs, test, counts, settings)
        if mode == "end_to_end" and chosen.get((source, percent)) not in by_budget:
            raise UserError(
                f"{target}: no selected budget for source '{source}' at {percent}% among {sorted(by_budget)} epochs; "
                "select budgets again from these predictions"
            )
        for epochs, subsets in sorted(by_budget.items()):
            cell = {"target": target, "source": source, "mode": mode, "percent": percent, "epochs": epochs}
            selected = mode == "linear" or chosen[source, percent] == epochs
            frames = {
                "estimates": _estimate(subsets, settings.percentiles).assign(
                    n_labeled=n_labeled[percent], selected=selected
                ),
                "subsets": _by_subset(subsets),
                "classes": _by_class(subsets, test, settings.percentiles),
                "replicates": _by_replicate(subsets),
            }
            for name, frame in frames.items():
                parts[name].append(frame.assign(**cell))
            cells.append((source, mode, percent, epochs))
            influences.append(np.mean([subset.influence for subset in subsets], axis=0))
    covariance = influence_covariance(np.stack(influences), test.patients)
    frames = {name: pd.concat(part, ignore_index=True) for name, part in parts.items()}
    frames["estimates"]["se_test"] = np.sqrt(np.diag(covariance))
    frames["estimates"]["se"] = np.hypot(frames["estimates"]["se_test"], frames["estimates"]["se_subset"])
    frames = {name: frame[COLUMNS[name]] for name, frame in frames.items()}
    return frames | {"covariance": _long_covariance(cells, covariance)}


class _SubsetResult:
    """The results of one subset at one budget: values that are kept when the predictions are not."""

    def __init__(self, subset: int, scored: Scored, counts: np.ndarray, settings: Evaluation):
        self.subset = subset
        self.by_class = auroc_by_class(scored.labels, scored.scores)
        positives = positives_by_class(scored.labels)
        self.auroc = float(average(self.by_class, positives, settings.average))
        self.macro = float(average(self.by_class, positives, "macro"))
        self.replicates = bootstrap_auroc(scored.labels, scored.scores[None], counts, settings.average)
        self.influence = auroc_influence(scored.labels, scored.scores, settings.average)
        self.influence_by_class = influence_by_class(scored.labels, scored.scores)


def _place(file: PredictionsFile) -> tuple:
    return file.mode, float(file.percent), file.percent, file.source, file.subset


def _by_budget(
    jobs: Iterable[PredictionsFile], test: Scored, counts: np.ndarray, settings: Evaluation
) -> dict[int, list[_SubsetResult]]:
    """Return the results of each subset, by the budgets that all subsets share."""
    by_budget: dict[int, list[_SubsetResult]] = {}
    for job in jobs:
        scored_by_budget = read_split(job.path, "test")
        if by_budget and by_budget.keys() != scored_by_budget.keys():
            raise UserError(
                f"{job.path}: predictions after {sorted(scored_by_budget)} epochs, but {sorted(by_budget)} in the subsets "
                "before it; delete it and run again"
            )
        for epochs, scored in scored_by_budget.items():
            require_same_images(test, scored, job.path)
            by_budget.setdefault(epochs, []).append(_SubsetResult(job.subset, scored, counts, settings))
    return by_budget


def _estimate(results: list[_SubsetResult], percentiles: Sequence[float]) -> pd.DataFrame:
    """Return the one row of a cell, except for the test set's standard error."""
    replicates = _by_replicate(results)["auroc"].dropna()
    ends = [percentiles[0], 50, percentiles[1]]
    lower, median, upper = np.percentile(replicates, ends) if len(replicates) else [np.nan] * 3
    subsets = _by_subset(results)
    row = {
        "n_subsets": len(subsets),
        "auroc": subsets["auroc"].mean(),
        "macro": subsets["macro"].mean(),
        "mean": replicates.mean(),
        "median": median,
        "lower": lower,
        "upper": upper,
        # With one subset the scatter between subsets is unknown, and so is the standard error: NaN, not zero.
        "se_subset": subsets["auroc"].std(ddof=1) / np.sqrt(len(subsets)),
    }
    return pd.DataFrame([row])


def _by_subset(results: list[_SubsetResult]) -> pd.DataFrame:
    rows = [(result.subset, result.auroc, result.macro) for result in results]
    return pd.DataFrame(rows, columns=["subset", "auroc", "macro"])


def _by_class(results: list[_SubsetResult], test: Scored, percentiles: Sequence[float]) -> pd.DataFrame:
    aurocs = np.mean([result.by_class for result in results], axis=0)
    influences = np.mean([result.influence_by_class for result in results], axis=0)
    se = standard_errors(influences.T, test.patients)
    lower, upper = logit_interval(aurocs, se, rarer_units(test.labels, test.patients), percentiles)
    columns = {"class": test.classes, "positives": positives_by_class(test.labels), "auroc": aurocs}
    return pd.DataFrame(columns | {"lower": lower, "upper": upper, "se_test": se})


def _by_replicate(results: list[_SubsetResult]) -> pd.DataFrame:
    """Return the replicates. One in which no class could be scored is NaN and plays no part in the interval."""
    aurocs = np.mean([result.replicates for result in results], axis=0)
    return pd.DataFrame({"replicate": np.arange(len(aurocs)), "auroc": aurocs})


def _long_covariance(cells: list[tuple], covariance: np.ndarray) -> pd.DataFrame:
    names = pd.DataFrame(cells, columns=CELL)
    first, second = (axis.ravel() for axis in np.indices(covariance.shape))
    pairs = [
        names.iloc[first].reset_index(drop=True).add_suffix("_a"),
        names.iloc[second].reset_index(drop=True).add_suffix("_b"),
    ]
    return pd.concat(pairs, axis=1).assign(covariance=covariance.ravel())
