"""The test results of one target: estimates with intervals and standard errors, per cell, subset and class.

A cell is one (source, mode, percent, epochs), averaged over labelled subsets and, in a cross-validation, over the folds
of each; a target without folds is the case of one fold. As in the paper, intervals are
percentiles of the bootstrap and take the subsets as fixed. We add standard errors. The test set's part comes
from influence functions, clustered by patient because images of one patient are not independent; the subsets'
part comes from the scatter between them. A single class may be too rare for percentiles, so it gets the logit
interval. Predictions files are read one at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd

from moco_transfer.config import stages
from moco_transfer.config.analysis import Evaluation
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
from moco_transfer.statistics.budgets import read_budgets, validation_aurocs
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
        *("target", "source", "mode", "percent", "n_labeled", "epochs", "selected", "n_subsets"),
        *("validation_auroc", "auroc", "macro", "mean", "median", "lower", "upper", "se_test"),
    ],
    "subsets": ["target", *CELL, "subset", "replicate", "auroc", "macro"],
    "classes": ["target", *CELL, "class", "positives", "rarer", "auroc", "lower", "upper", "se_test"],
    "replicates": ["target", *CELL, "replicate", "auroc"],
}


def evaluate(
    settings: stages.Evaluate, *, predictions: list[Path], subsets: list[Path], budgets: Path, out: Path
) -> None:
    """Score and bootstrap the test images of one target, and write the resulting tables to ``out``."""
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

    ``budgets`` comes from ``budgets.best_budgets``, ``n_labeled`` is the number of labelled images by
    percent, ``seed`` the root of the random streams. 'estimates' also has the mean AUROC on the configured
    validation images, by which a way to train can be chosen without the test images. 'covariance' holds, for each pair of cells, the
    covariance over test sets of their subset-mean AUROCs (columns source_a, ..., epochs_b, covariance).
    Raises UserError if two files do not hold the same images, or if the selected budget of an end-to-end cell
    is not among its epochs.
    """
    chosen = {(row.source, row.percent): row.epochs for row in budgets[budgets["selected"]].itertuples()}
    files = sorted(
        files, key=lambda file: (file.mode, float(file.percent), file.source, file.subset, file.fold)
    )
    first = {file.fold: file.path for file in reversed(files)}
    test = _Test([next(iter(read_split(first[fold], "test").values())) for fold in sorted(first)])
    units = test.patients if settings.unit == "patient" else test.images
    counts = resample_counts(units, settings.replicates, seed, "bootstrap", target)
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in COLUMNS}
    influences: list[np.ndarray] = []
    for (source, mode, percent), jobs in groupby(files, lambda file: (file.source, file.mode, file.percent)):
        by_budget = _by_budget(jobs, test, counts, settings)
        if mode == "end_to_end" and chosen.get((source, percent)) not in by_budget:
            raise UserError(
                f"{target}: no selected budget for source '{source}' at {percent}% among "
                f"{sorted(by_budget)} epochs; select budgets again from these predictions"
            )
        for epochs, results in sorted(by_budget.items()):
            facts = {"source": source, "mode": mode, "percent": percent, "epochs": epochs}
            facts |= {"target": target, "n_labeled": n_labeled[percent]}
            facts["selected"] = mode == "linear" or chosen[source, percent] == epochs
            for name, frame in _frames(results, test, settings.percentiles).items():
                parts[name].append(frame.assign(**facts)[COLUMNS[name]])
            influences.append(np.mean([result.influence for result in results], axis=0))
    frames = {name: pd.concat(part, ignore_index=True) for name, part in parts.items()}
    validation = validation_aurocs(target, files, n_labeled, settings.average, seed)
    by_cell = validation.groupby(CELL)[f"auroc_{settings.validation}"].mean()
    cells = pd.MultiIndex.from_frame(frames["estimates"][CELL])
    frames["estimates"]["validation_auroc"] = by_cell.reindex(cells).to_numpy()
    covariance = influence_covariance(np.stack(influences), test.patients)
    frames["estimates"]["se_test"] = np.sqrt(np.diag(covariance))
    cells = frames["estimates"][CELL]
    pairs = cells.merge(cells, how="cross", suffixes=("_a", "_b"))
    return frames | {"covariance": pairs.assign(covariance=covariance.ravel())}


class _Test:
    """The test images of all folds, one fold after the other: images, patients [n], labels [n, c], and each fold's part."""

    def __init__(self, folds: Sequence[Scored]):
        self.folds, self.classes = folds, folds[0].classes
        self.images, self.patients, self.labels = (
            np.concatenate([getattr(fold, name) for fold in folds])
            for name in ("images", "patients", "labels")
        )
        ends = np.cumsum([len(fold.images) for fold in folds])
        self.parts = [slice(end - len(fold.images), end) for fold, end in zip(folds, ends, strict=True)]


class _FoldResult:
    """The results of one subset at one budget in one fold, kept after its predictions are dropped from memory."""

    def __init__(self, scored: Scored, counts: np.ndarray, settings: Evaluation):
        self.by_class = auroc_by_class(scored.labels, scored.scores)
        positives = positives_by_class(scored.labels)
        self.auroc = average(self.by_class, positives, settings.average)
        self.macro = average(self.by_class, positives, "macro")
        self.replicates = bootstrap_auroc(scored.labels, scored.scores[None], counts, settings.average)
        self.influence = auroc_influence(scored.labels, scored.scores, settings.average)
        self.influence_by_class = influence_by_class(scored.labels, scored.scores)


class _SubsetResult:
    """The results of one subset at one budget: means over the folds.

    Each fold's AUROC compares its own images only. Scores of different folds come from different networks, whose scales may differ:
    in one ROC curve, an image could outrank another because its network gives higher scores to all.
    """

    def __init__(self, job: PredictionsFile, folds: Sequence[_FoldResult]):
        self.subset, self.replicate = job.subset, job.replicate
        auroc, macro, self.by_class, self.replicates = (
            _mean_of_known(np.stack([getattr(fold, name) for fold in folds]))
            for name in ("auroc", "macro", "by_class", "replicates")
        )
        self.auroc, self.macro = float(auroc), float(macro)
        self.influence = _joined([fold.influence for fold in folds])
        self.influence_by_class = _joined([fold.influence_by_class for fold in folds])


def _mean_of_known(folds: np.ndarray) -> np.ndarray:
    """Return the mean over the first axis of ``folds`` [folds, ...] without the folds that are NaN: they lack a class."""
    return average(np.moveaxis(folds, 0, -1), np.ones(len(folds)), "macro")


def _joined(folds: Sequence[np.ndarray]) -> np.ndarray:
    """Return the influence of each image of all ``folds`` ([n of the fold, ...] each) on the mean of their AUROCs: [n, ...].

    An image's influence on its own fold's AUROC counts as if there were as many images as in all folds (``influence_covariance``
    divides by these), and in the mean with one part in as many as there are folds with an AUROC.
    """
    known = np.array([~np.isnan(fold).any(axis=0) for fold in folds])
    total = sum(map(len, folds))
    shares = [total / (len(fold) * np.maximum(known.sum(axis=0), 1)) for fold in folds]
    parts = [
        np.where(has, fold * share, np.where(known.any(axis=0), 0.0, np.nan))
        for fold, has, share in zip(folds, known, shares, strict=True)
    ]
    return np.concatenate(parts)


def _by_budget(
    jobs: Iterable[PredictionsFile], test: _Test, counts: np.ndarray, settings: Evaluation
) -> dict[int, list[_SubsetResult]]:
    """Return the results of all subsets by budget. Raises UserError if predictions have different budgets."""
    by_budget: dict[int, list[_SubsetResult]] = {}
    for _, folds in groupby(jobs, lambda job: job.subset):
        found: dict[int, list[_FoldResult]] = {}
        for job, expected, part in zip(folds, test.folds, test.parts, strict=True):
            scored_by_budget = read_split(job.path, "test")
            known = by_budget or found
            if known and known.keys() != scored_by_budget.keys():
                raise UserError(
                    f"{job.path}: predictions after {sorted(scored_by_budget)} epochs, but the subsets before "
                    f"it have {sorted(known)}; delete it and run again"
                )
            for epochs, scored in scored_by_budget.items():
                require_same_images(expected, scored, job.path)
                found.setdefault(epochs, []).append(_FoldResult(scored, counts[part], settings))
        for epochs, results in found.items():
            by_budget.setdefault(epochs, []).append(_SubsetResult(job, results))
    return by_budget


def _frames(
    results: list[_SubsetResult], test: _Test, percentiles: Sequence[float]
) -> dict[str, pd.DataFrame]:
    """Return the rows of one cell in every table; the columns that are computed for all cells at once are NaN."""
    subsets = pd.DataFrame(
        [(result.subset, result.replicate, result.auroc, result.macro) for result in results],
        columns=["subset", "replicate", "auroc", "macro"],
    )
    # A replicate in which no class could be scored is NaN and plays no part in the interval.
    replicates = pd.Series(np.mean([result.replicates for result in results], axis=0))
    known, ends = replicates.dropna(), [percentiles[0], 50, percentiles[1]]
    lower, median, upper = np.percentile(known, ends) if len(known) else [np.nan] * 3
    estimate = {
        "n_subsets": len(subsets),
        "validation_auroc": np.nan,
        "auroc": subsets["auroc"].mean(),
        "macro": subsets["macro"].mean(),
        "mean": known.mean(),
        "median": median,
        "lower": lower,
        "upper": upper,
        "se_test": np.nan,
    }
    aurocs = np.mean([result.by_class for result in results], axis=0)
    influences = np.mean([result.influence_by_class for result in results], axis=0)
    se = standard_errors(influences.T, test.patients)
    rarer = rarer_units(test.labels, test.patients)
    lower, upper = logit_interval(aurocs, se, rarer, percentiles)
    classes = {"class": test.classes, "positives": positives_by_class(test.labels), "rarer": rarer}
    classes |= {"auroc": aurocs}
    return {
        "estimates": pd.DataFrame([estimate]),
        "subsets": subsets,
        "classes": pd.DataFrame(classes | {"lower": lower, "upper": upper, "se_test": se}),
        "replicates": pd.DataFrame({"replicate": replicates.index, "auroc": replicates}),
    }
