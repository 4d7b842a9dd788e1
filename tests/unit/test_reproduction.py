"""The paper's AUROCs beside those of a run: the difference, its interval and the verdict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from moco_transfer.config.composition import read_config
from moco_transfer.experiment import table_names
from moco_transfer.statistics.evidence import Evidence
from moco_transfer.statistics.reproduction import reproduction

CELL = {"target": "spine", "percent": "1.0", "n_labeled": 58, "mode": "linear", "source": "none"}
PAPER = pd.DataFrame([CELL | {"percent": "1", "auroc_median": 0.623, "q05": 0.610, "q95": 0.634}])
NOISE = np.array([-0.004, 0.001, 0.003, 0.002, -0.003, 0.001])


def compared(
    auroc: float, noise: np.ndarray = NOISE, patients: float = 0.004, trained: tuple = (), n_labeled: int = 58
):
    """Return the comparison with a run of six subsets with the mean ``auroc``; three encoders if they are trained."""
    cell = CELL | {"epochs": 100, "n_labeled": n_labeled}
    estimates = pd.DataFrame(
        [cell | {"selected": True, "auroc": auroc, "median": auroc + 0.001, "n_subsets": len(noise)}]
    )
    subsets = pd.DataFrame(
        [
            cell | {"subset": k + 1, "replicate": k % 3 + 1, "auroc": auroc + each}
            for k, each in enumerate(noise)
        ]
    )
    pair = {
        f"{name}{end}": cell[name] for name in ("source", "mode", "percent", "epochs") for end in ("_a", "_b")
    }
    covariance = pd.DataFrame([pair | {"covariance": patients**2}])
    evidence = Evidence.from_run(estimates, {"spine": covariance}, subsets, None, trained)
    return reproduction(estimates, evidence, PAPER, 0.02, 0.05)


def test_the_difference_has_the_variances_of_both():
    row = compared(0.630).iloc[0]
    assert (row["auroc"], row["paper"]) == (0.631, 0.623) and row["difference"] == pytest.approx(0.008)
    # Given weights: patients of both, and subsets twice, with Cochran's quantile.
    patients = 0.004**2 + ((0.634 - 0.610) / (2 * stats.norm.ppf(0.95))) ** 2
    subsets = 2 * NOISE.var(ddof=1) / 6
    quantile = (patients * stats.norm.ppf(0.95) + subsets * stats.t.ppf(0.95, 5)) / (patients + subsets)
    reach = quantile * np.sqrt(patients + subsets)
    assert (row["lower"], row["upper"]) == pytest.approx((0.008 - reach, 0.008 + reach))


@pytest.mark.parametrize(
    ("auroc", "settings", "verdict"),
    [
        (0.622, {}, "yes"),
        (0.630, {}, "within its interval"),
        (0.680, {}, "no"),
        (0.680, {"noise": 20 * NOISE}, "within its interval"),
        (0.622, {"noise": NOISE[:1]}, "unknown"),
    ],
)
def test_the_verdict_follows_the_interval(auroc, settings, verdict):
    assert compared(auroc, **settings)["verdict"].tolist() == [verdict]


def test_encoders_that_are_trained_count_and_their_scatter_widens_the_interval():
    scattered = np.array([-0.02, 0.0, 0.02, -0.02, 0.0, 0.02]) + NOISE / 10
    given, trained = (compared(0.630, scattered, trained=each).iloc[0] for each in ((), ("none",)))
    assert trained["upper"] - trained["lower"] > 1.2 * (given["upper"] - given["lower"])


def test_other_numbers_of_labels_are_not_compared():
    assert compared(0.630, n_labeled=29).empty


def test_only_runs_on_the_papers_datasets_have_the_table():
    root = Path(__file__).parents[2]
    assert "reproduced" in table_names(read_config([]))
    assert "reproduced" not in table_names(read_config([root / "config/demo.yaml"]))
