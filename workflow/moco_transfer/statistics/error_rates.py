"""How often tests and intervals of contrasts err: a simulation of whole runs, in which the truth is known.

A run has sources whose encoders are trained and one whose weights are given. Each labelled subset meets one encoder of each
source, in turn. The AUROC of a source after one subset is the sum of normal deviations: of the test patients, of the subset, of the
encoder, and, if initial weights are trained too, of what they give to all sources. The true value of every contrast is zero,
so each effect that a test finds is an error. The contrasts are made by ``Evidence.contrast``, with encoders and, for comparison,
as if encoders did not vary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from moco_transfer.config import stages
from moco_transfer.files import write_csv
from moco_transfer.seeds import stream
from moco_transfer.statistics.evidence import EstimateKey, Evidence, Weights, difference

TRIALS = 2000
"""Simulated runs of each scenario."""
LEVELS = {"error_5": 0.05, "error_05": 0.005}
CELLS = ("10", "40")
"""Two percentages of labels."""
GIVEN = "given"
DESIGNS = [(sources, r, s, s) for sources in (1, 2, 3, 4, 5) for r in (2, 3) for s in (4, 6, 9, 21)]
"""Trained sources, encoders of each, labelled subsets that are averaged, and those in all."""
# Linear cells of the demo and of the study have more subsets than they average.
DESIGNS += [(4, 2, 2, 6), (4, 3, 9, 21)]
DEVIATIONS = {
    "all alike": (0.012, 0.012, 0.012),
    "encoders large": (0.016, 0.01, 0.004),
    "subsets large": (0.009, 0.03, 0.01),
    "patients large": (0.012, 0.012, 0.03),
}
"""The standard deviations of one AUROC between encoders, labelled subsets and test sets."""


def error_rates(settings: stages.SimulateErrorRates, *, error_rates: Path) -> str:
    """Simulate how often tests and intervals of contrasts err, and return the summary as text."""
    rates = simulate_error_rates(scenarios(), TRIALS, settings.seed)
    write_csv(rates, error_rates)
    return summary(rates).to_string()


@dataclass(frozen=True)
class Scenario:
    """A simulated run.

    ``sources`` are trained, each with ``replicates`` encoders. AUROCs average the first ``averaged`` of ``subsets`` labelled
    subsets. ``encoders``, ``labelled`` and ``patients`` are the standard deviations of one AUROC between encoders, labelled subsets
    and test sets. ``shared`` is the standard deviation of what trained initial weights add to all sources. ``scatter`` says whether
    encoders of all sources scatter equally: 'equal'; 'drawn' (in each run, those of each source scatter twice as much
    with even odds); or 'first' (only those of the first source, which all contrasts contain, scatter twice as much).
    """

    sources: int
    replicates: int
    averaged: int
    subsets: int
    encoders: float
    labelled: float
    patients: float
    shared: float = 0.0
    scatter: Literal["equal", "drawn", "first"] = "equal"

    @property
    def names(self) -> list[str]:
        """Return the sources, the given one last."""
        return [*(f"source{k}" for k in range(1, self.sources + 1)), GIVEN]

    @property
    def contrasts(self) -> dict[str, Weights]:
        """Return the kinds of contrasts, which are zero."""
        first, second = self.names[:2]
        cells = (EstimateKey("target", first, "linear", percent) for percent in CELLS)
        kinds = {
            "two trained": difference("target", "linear", CELLS[0], first, second),
            "trained less given": difference("target", "linear", CELLS[0], first, GIVEN),
            "two percentages": dict(zip(cells, (1.0, -1.0), strict=True)),
        }
        return {name: weights for name, weights in kinds.items() if self.sources > 1 or name != "two trained"}

    def runs(self, trials: int, random: np.random.Generator) -> Iterator[Evidence]:
        """Yield the evidence of independent runs."""
        names, met = self.names, np.arange(self.subsets) % self.replicates
        keys = [EstimateKey("target", name, "linear", percent) for name in names for percent in CELLS]
        shape = (len(names), len(CELLS))
        trained = np.array([float(name != GIVEN) for name in names])[:, None, None]
        # That the encoders of a source scatter twice as much.
        odds = {"equal": 0.0, "drawn": 0.5, "first": np.arange(len(names)) == 0}[self.scatter]
        # A half of the variance of patients and of subsets is common to all AUROCs, so differences vary as much as AUROCs do.
        half = np.sqrt(0.5)
        covariance = {(a, b): self.patients**2 * (1.0 if a == b else 0.5) for a, b in product(keys, keys)}
        encoders = {name: dict(enumerate(met + 1, 1)) for name in names[:-1]}
        for _ in range(trials):
            patients = self.patients * half * (random.normal() + random.normal(size=shape))
            subset = random.normal(size=self.subsets) + random.normal(size=(*shape, self.subsets))
            factor = 1.0 + (random.random(len(names)) < odds)
            encoder = self.encoders * factor[:, None, None] * random.normal(size=(*shape, self.replicates))
            encoder += self.shared * random.normal(size=(len(CELLS), self.replicates))
            aurocs = patients[..., None] + self.labelled * half * subset + (trained * encoder)[..., met]
            rows = aurocs.reshape(len(keys), -1)
            yield Evidence(
                values=dict(zip(keys, rows[:, : self.averaged].mean(axis=1), strict=True)),
                covariance=covariance,
                by_subset={key: dict(enumerate(row, 1)) for key, row in zip(keys, rows, strict=True)},
                n_averaged=dict.fromkeys(keys, self.averaged),
                encoders=encoders,
                shared_start=self.shared > 0,
            )


def scenarios() -> list[Scenario]:
    """Return the scenarios of the tables in docs/statistics.md."""
    large = DEVIATIONS["encoders large"]
    nine = [design for design in DESIGNS if design[2:] == (9, 9) or design[2] < design[3]]
    return [
        *(
            Scenario(*design, *DEVIATIONS[name])
            for name in ("encoders large", "all alike")
            for design in DESIGNS
        ),
        *(
            Scenario(*design, *DEVIATIONS[name])
            for name in ("subsets large", "patients large")
            for design in nine
        ),
        *(Scenario(*design, *large, shared=large[0]) for design in nine),
        *(Scenario(*design, *large, scatter=scatter) for scatter in ("drawn", "first") for design in nine),
    ]


def simulate_error_rates(scenarios: Sequence[Scenario], trials: int, seed: int) -> pd.DataFrame:
    """Return how often contrasts err: one row per scenario, kind of contrast, and whether the variance between encoders counts.

    The columns are the fields of the scenario, contrast, counted (whether encoders count), trials, error_5 and error_05 (how
    often a one-sided test at 5% and at 0.5% finds an effect, the mean over both sides), coverage (of the 90% interval) and
    length (its mean). The Monte Carlo standard error of a coverage c is sqrt(c (1 - c) / trials), and half of that for error_5.
    """
    rows = []
    for scenario in scenarios:
        kinds = list(scenario.contrasts.items())
        effects = np.empty((trials, len(kinds)))
        reaches = np.empty((trials, len(kinds), 2, len(LEVELS)))
        random = stream(seed, "error-rates", *map(str, vars(scenario).values()))
        for trial, evidence in enumerate(scenario.runs(trials, random)):
            for way, known in enumerate((evidence, replace(evidence, encoders={}))):
                for kind, (_, weights) in enumerate(kinds):
                    contrast = known.contrast(weights)
                    effects[trial, kind] = contrast.effect
                    reaches[trial, kind, way] = [
                        contrast.upper_quantile(level) * contrast.se for level in LEVELS.values()
                    ]
        errors = (abs(effects)[:, :, None, None] > reaches).mean(axis=0)
        for (kind, (name, _)), (way, counted) in product(enumerate(kinds), enumerate((True, False))):
            of = vars(scenario) | {"contrast": name, "counted": counted, "trials": trials}
            of |= dict(zip(LEVELS, errors[kind, way] / 2, strict=True))
            rows.append(
                of | {"coverage": 1 - errors[kind, way, 0], "length": 2 * reaches[:, kind, way, 0].mean()}
            )
    return pd.DataFrame(rows)


def summary(rates: pd.DataFrame) -> pd.DataFrame:
    """Return the mean and the worst rates over scenarios, by what encoders do, contrast and whether their variance counts."""
    what = np.where(rates["shared"] > 0, "equal, shared", rates["scatter"])
    by = [pd.Series(what, rates.index, name="encoders"), rates["contrast"], rates["counted"]]
    most = ["mean", "max"]
    return rates.groupby(by, sort=False).agg({"error_5": most, "error_05": most, "coverage": ["mean", "min"]})
