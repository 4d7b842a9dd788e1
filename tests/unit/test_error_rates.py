"""Tests and intervals of contrasts err as rarely as they say, if the variance between encoders counts, and only then."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from moco_transfer.statistics import error_rates
from moco_transfer.statistics.error_rates import DEVIATIONS, Scenario, simulate_error_rates, summary

TRIALS = 800
"""A rate of 5% has a Monte Carlo standard error of 0.54 percentage points, one of 0.5% of 0.18, a coverage of 90% of 1.06."""
DESIGNS = {"demo": (4, 2, 2, 6), "few": (2, 2, 4, 4), "study": (4, 3, 9, 21)}


@pytest.mark.parametrize("design", DESIGNS)
def test_errors_stay_at_the_level_only_if_the_variance_between_encoders_counts(design):
    scenario = Scenario(*DESIGNS[design], *DEVIATIONS["encoders large"])
    rates = simulate_error_rates([scenario], TRIALS, 1).set_index(["contrast", "counted"])
    counted = rates.xs(True, level="counted")
    assert (counted["error_5"] < 0.055 + 3 * 0.0054).all()
    assert (counted["error_05"] < 0.005 + 3 * 0.0018).all()
    assert (counted["coverage"] > 0.88 - 3 * 0.0106).all()
    assert rates.loc[("two trained", True), "error_5"] > 0.02  # it is not all caution
    if design != "demo":  # whose two averaged subsets meet an encoder each
        assert (rates.xs(False, level="counted")["error_5"] > 0.09).all()


def test_what_initial_weights_give_to_all_sources_counts_where_it_matters():
    large = DEVIATIONS["encoders large"]
    scenario = Scenario(4, 3, 9, 9, *large, shared=large[0])
    rates = simulate_error_rates([scenario], TRIALS, 1)
    counted = rates[rates["counted"]].set_index("contrast")
    assert (counted["error_5"] < 0.055 + 3 * 0.0054).all()
    alone = simulate_error_rates([Scenario(4, 3, 9, 9, *large)], TRIALS, 1)
    wider = counted["length"] / alone[alone["counted"]].set_index("contrast")["length"]
    assert wider["two percentages"] > 1.2 and wider["two trained"] == pytest.approx(1, abs=0.05)


def test_simulated_runs_have_the_variances_of_their_scenario():
    scenario = Scenario(2, 3, 9, 9, encoders=0.03, labelled=0.02, patients=0.01, scatter="first")
    effects = {name: [] for name in scenario.contrasts}
    for evidence in scenario.runs(4000, np.random.default_rng(1)):
        for name, weights in scenario.contrasts.items():
            effects[name].append(sum(weight * evidence.values[key] for key, weight in weights.items()))
    others = 0.01**2 + 0.02**2 / 9
    expected = {
        "two trained": others + (4 + 1) * 0.03**2 / 3,
        "trained less given": others + 4 * 0.03**2 / 3,
        "two percentages": others + 2 * 4 * 0.03**2 / 3,
    }
    for name, variance in expected.items():
        assert np.var(effects[name]) == pytest.approx(variance, rel=0.08)
        assert abs(np.mean(effects[name])) < 4 * np.sqrt(variance / 4000)


def test_the_command_writes_every_scenario_and_says_the_worst(monkeypatch, tmp_path, capsys):
    from moco_transfer.cli import main

    monkeypatch.setattr(error_rates, "TRIALS", 4)
    monkeypatch.setattr(error_rates, "DESIGNS", [(1, 2, 9, 9), (3, 2, 4, 4)])
    path = tmp_path / "rates.csv"
    assert main(["error-rates", "--settings", '{"seed": 1}', "--error-rates", str(path)]) == 0
    rates = pd.read_csv(path)
    assert len(rates) == 7 * 2 * 2 + 2 * 3 * 2
    assert rates.groupby("sources")["contrast"].nunique().to_dict() == {1: 2, 3: 3}
    found = summary(rates)
    assert found["error_5", "max"].max() == rates["error_5"].max()
    assert "two percentages" in capsys.readouterr().out
