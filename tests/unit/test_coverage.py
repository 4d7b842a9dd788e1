"""The coverage of the intervals in the results, and the simulation that shows it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from moco_transfer.statistics import coverage
from moco_transfer.statistics.auroc import auroc_by_class
from moco_transfer.statistics.coverage import Scenario, coverage_table, simulate_coverage

TRIALS = 2000


def simulated(scenario: Scenario) -> pd.Series:
    """Return the coverage of a nominal 90% interval of 500 replicates by (unit, interval)."""
    table = simulate_coverage([scenario], [5, 95], 500, TRIALS, 1)
    return table.set_index(["unit", "interval"])["coverage"]


@pytest.mark.parametrize("auroc", [0.8, 0.95])
def test_with_200_positives_both_intervals_have_their_nominal_coverage(auroc):
    assert simulated(Scenario(auroc, 200, 400)).between(0.88, 0.92).all()


def test_with_20_positives_percentiles_cover_too_little_and_the_logit_interval_does_not():
    covered = simulated(Scenario(0.95, 20, 80))["image"]
    assert 0.79 < covered["percentile"] < 0.86
    assert 0.87 < covered["logit"] < 0.92


def test_only_clustering_by_patient_covers_if_the_images_of_a_patient_are_correlated():
    covered = simulated(Scenario(0.8, 100, 200, images=3))
    assert (covered["image"] < 0.82).all()
    assert covered["patient"].between(0.88, 0.92).all()


def test_scores_have_the_scenarios_auroc_and_share_half_their_variance_within_a_patient():
    scenario = Scenario(0.8, 300, 500, images=2)
    scores = scenario.scores(200, np.random.default_rng(1))
    labels = np.tile(scenario.labels()[:, None], 200)
    assert auroc_by_class(labels, scores).mean() == pytest.approx(0.8, abs=0.005)
    negatives = scores[scenario.labels() == 0].reshape(500, 2, 200)
    assert np.corrcoef(negatives[:, 0].ravel(), negatives[:, 1].ravel())[0, 1] == pytest.approx(0.5, abs=0.01)
    assert negatives.var() == pytest.approx(1, abs=0.02)


def test_the_table_accounts_for_every_trial_and_is_reproducible(monkeypatch):
    monkeypatch.setattr(coverage, "TRIALS", 40)
    table = coverage_table([5, 95], 50, 1)
    total = table[["coverage", "below", "above", "undefined"]].sum(axis=1)
    np.testing.assert_allclose(total, 1)
    units = table.groupby(["study", "images"])["unit"].unique().map(list)
    assert units["positives", 1] == units["patients", 1] == ["image"]
    assert units["patients", 4] == ["image", "patient"]
    pd.testing.assert_frame_equal(coverage_table([5, 95], 50, 1), table)
    assert not coverage_table([5, 95], 50, 2)["coverage"].equals(table["coverage"])
