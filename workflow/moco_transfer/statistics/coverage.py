"""How often an interval contains the true AUROC: a simulation, in which the truth is known.

Scores are binormal, with variance 1: the mean of the positives lies ``sqrt(2)`` times the normal quantile of
the AUROC above that of the negatives. The simulation answers two questions. With independent images, how many
positives does an interval need? With several images per patient, whose scores share half their variance, how
wrong is it to treat the images as independent? Trials take the place of classes, so the simulation tests the
very functions that compute the results. All trials of a scenario share their resamples, as all models share
those of a test set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtri

from moco_transfer.config import stages
from moco_transfer.files import write_parquet
from moco_transfer.seeds import stream
from moco_transfer.statistics.auroc import auroc_by_class, influence_by_class, standard_errors
from moco_transfer.statistics.bootstrap import (
    bootstrap_by_class,
    logit_interval,
    rarer_units,
    resample_counts,
)

POSITIVES = (10, 20, 50, 100, 200)
AUROCS = (0.8, 0.95)
IMAGES_PER_PATIENT = (1, 2, 4)
SHARED_VARIANCE = 0.5
TRIALS = 2000


def coverage(settings: stages.SimulateCoverage, *, coverage: Path) -> None:
    """Simulate how often the intervals contain the true value."""
    write_parquet(coverage_table(settings.percentiles, settings.replicates, settings.seed), coverage)


@dataclass(frozen=True)
class Scenario:
    """A simulated test set of one class: ``positives`` and ``negatives`` patients with ``images`` each."""

    auroc: float
    positives: int
    negatives: int
    images: int = 1

    def patients(self) -> np.ndarray:
        """Return the patient of each image: [n], those with the finding first."""
        return np.repeat(np.arange(self.positives + self.negatives), self.images)

    def labels(self) -> np.ndarray:
        """Return the label of each image: [n]."""
        return (self.patients() < self.positives).astype(float)

    def scores(self, trials: int, random: np.random.Generator) -> np.ndarray:
        """Return the scores of independent test sets: [n, trials], each column contiguous in memory."""
        own = random.normal(size=(trials, len(self.patients())))
        if self.images > 1:
            of_patient = random.normal(size=(trials, self.positives + self.negatives))[:, self.patients()]
            own = np.sqrt(1 - SHARED_VARIANCE) * own + np.sqrt(SHARED_VARIANCE) * of_patient
        return (own + np.sqrt(2) * ndtri(self.auroc) * self.labels()).T


INDEPENDENT_IMAGES = [Scenario(auroc, each, 4 * each) for auroc in AUROCS for each in POSITIVES]
"""One image per patient, a fifth of the patients with the finding, from few to many."""
IMAGES_OF_PATIENTS = [Scenario(AUROCS[0], 100, 200, images) for images in IMAGES_PER_PATIENT]
"""Several images per patient, a third of the patients with the finding."""


def coverage_table(percentiles: Sequence[float], replicates: int, seed: int) -> pd.DataFrame:
    """Return ``simulate_coverage`` for both questions, with a column study: 'positives' or 'patients'."""
    studies = {"positives": INDEPENDENT_IMAGES, "patients": IMAGES_OF_PATIENTS}
    parts = [
        simulate_coverage(scenarios, percentiles, replicates, TRIALS, seed).assign(study=study)
        for study, scenarios in studies.items()
    ]
    return pd.concat(parts, ignore_index=True)


def simulate_coverage(
    scenarios: Sequence[Scenario], percentiles: Sequence[float], replicates: int, trials: int, seed: int
) -> pd.DataFrame:
    """Return how often each interval contains the truth: one row per scenario, unit and interval.

    The columns are auroc, positives and negatives (patients), images (per patient), unit ('image' or
    'patient'), interval ('percentile' or 'logit'), trials, coverage (the share of trials), below and above
    (the share of trials whose interval lies entirely on that side of the truth) and undefined (the share of
    trials without an interval, which count as not covering). With one image per patient the two units are the
    same, and 'patient' is left out.
    """
    rows = []
    for scenario in scenarios:
        name = ("coverage", *map(str, vars(scenario).values()))
        scores = scenario.scores(trials, stream(seed, *name, "scores"))
        labels = np.tile(scenario.labels(), (trials, 1)).T
        aurocs = auroc_by_class(labels, scores)
        influences = influence_by_class(labels, scores).T
        units = {"image": np.arange(len(labels))}
        if scenario.images > 1:
            units["patient"] = scenario.patients()
        for unit, ids in units.items():
            drawn, _ = bootstrap_by_class(labels, scores, resample_counts(ids, replicates, seed, *name, unit))
            # With few positives a resample may have none. nanpercentile is far slower, so it is used only if
            # needed.
            quantile = np.nanpercentile if np.isnan(drawn).any() else np.percentile
            se, rarer = standard_errors(influences, ids), rarer_units(labels[:, :1], ids)
            intervals = {
                "percentile": quantile(drawn, percentiles, axis=0),
                "logit": logit_interval(aurocs, se, rarer, percentiles),
            }
            for interval, (lower, upper) in intervals.items():
                rows.append(
                    vars(scenario)
                    | {"unit": unit, "interval": interval, "trials": trials}
                    | {"coverage": np.mean((lower <= scenario.auroc) & (scenario.auroc <= upper))}
                    | {"below": np.mean(upper < scenario.auroc), "above": np.mean(lower > scenario.auroc)}
                    | {"undefined": np.mean(np.isnan(lower))}
                )
    return pd.DataFrame(rows)
