"""The advice: the confidence set of the best against p-values written out, its coverage, and the words for it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from advice import advice_summary
from scipy import stats

from moco_transfer.statistics.advice import advice_table
from moco_transfer.statistics.evidence import EstimateKey, Evidence

LEVEL = 0.05
TITLES = {"spine": "VinDr-SpineXR"}


def advise(ways: dict[tuple[str, str], list[float]], variance: float = 1e-4) -> pd.DataFrame:
    """The advice on spine at 1%, from (source, mode) -> AUROCs by subset, test sets' errors independent."""
    cells = {EstimateKey("spine", source, mode, "1"): aurocs for (source, mode), aurocs in ways.items()}
    evidence = Evidence(
        {cell: float(np.mean(aurocs)) for cell, aurocs in cells.items()},
        {(cell, cell): variance for cell in cells},
        {cell: dict(enumerate(aurocs, 1)) for cell, aurocs in cells.items()},
    )
    rows = [
        (*cell[:1], cell.source, cell.mode, "1", 58, 100, True, len(aurocs), np.mean(aurocs))
        for cell, aurocs in cells.items()
    ]
    names = ["target", "source", "mode", "percent", "n_labeled", "epochs", "selected", "n_subsets", "auroc"]
    return advice_table(pd.DataFrame(rows, columns=names), evidence, LEVEL)


def how_sure(ways, **settings) -> str:
    return advice_summary(advise(ways, **settings), None, TITLES)["How sure"].item()


THREE = {
    ("none", "linear"): [0.60, 0.60],
    ("spine", "linear"): [0.70, 0.70],
    ("chest", "linear"): [0.67, 0.67],
}


def test_p_values_and_costs_are_those_of_all_against_all():
    """Without scatter between subsets contrasts are normal, with a standard error of sqrt(2) x 0.01."""
    table = advise(THREE).set_index("source")
    assert list(table.index) == ["spine", "chest", "none"]
    se = np.sqrt(2e-4)
    assert table["p_best"]["chest"] == pytest.approx(2 * stats.norm.sf(0.03 / se))
    assert table["p_best"]["none"] == pytest.approx(2 * stats.norm.sf(0.10 / se))
    assert table["p_best"]["spine"] == 1
    reach = stats.norm.ppf(1 - LEVEL / 2) * se
    assert table["may_cost"]["spine"] == pytest.approx(max(-0.03 + reach, 0))
    assert table["may_cost"]["none"] == pytest.approx(0.10 + reach)
    assert table["behind"]["none"] == pytest.approx(0.10)


def test_one_alone_in_the_set_is_clearly_the_best_and_costs_nothing():
    table = advise(THREE)
    assert list(table["may_be_best"]) == [True, False, False]
    assert table["may_cost"].iloc[0] == 0
    assert "the best of 3 ways, on 2 labelled subsets" in how_sure(THREE)


def test_rivals_are_named_and_what_the_set_shares_is_said():
    ways = THREE | {("spine", "end_to_end"): [0.69, 0.69], ("chest", "end_to_end"): [0.60, 0.60]}
    ways["chest", "linear"] = [0.65, 0.65]
    said = how_sure(ways)
    assert "1 of the other 4 ways may be the best instead: MoCo on spine (all layers)." in said
    assert "the best way starts from MoCo on spine." in said
    without_none = how_sure(THREE | {("chest", "linear"): [0.69, 0.69]})
    assert "the best way starts from some kind of MoCo." in without_none
    one_mode = how_sure(
        {("none", "linear"): [0.7, 0.7], ("spine", "linear"): [0.7, 0.71], ("none", "end_to_end"): [0.5, 0.5]}
    )
    assert "the best way trains only the last layer." in one_mode


def test_the_cost_is_told_only_where_it_says_something():
    assert "costs at most 0.0" in how_sure(THREE | {("chest", "linear"): [0.695, 0.695]})
    assert "costs" not in how_sure({("none", "linear"): [0.5, 0.9], ("spine", "linear"): [0.9, 0.55]})


def test_noise_rules_nothing_out():
    said = how_sure(THREE, variance=0.01)
    assert "none of the other 2 ways can be ruled out" in said and "sure" not in said


def test_without_an_auroc_nothing_is_the_best():
    row = advice_summary(advise({way: [np.nan, np.nan] for way in THREE}), None, TITLES).iloc[0]
    assert row["Best in this run"] == "Unknown" and row["Its AUROC"] == ""
    assert "the test images cannot tell 3 ways apart" in row["How sure"]


def test_one_subset_or_one_way_claims_nothing():
    assert "one labelled subset cannot tell" in how_sure({way: aurocs[:1] for way, aurocs in THREE.items()})
    assert "Only one way" in how_sure({("none", "linear"): [0.6, 0.6]})


def test_the_set_holds_the_best_as_often_as_it_says():
    """400 runs of four equal ways, 6 subsets that scatter as test sets do: the first is left out in at most 5%."""
    generator, left_out = np.random.default_rng(0), 0
    for _ in range(400):
        aurocs = 0.7 + generator.normal(scale=0.01, size=(4, 1))
        aurocs = aurocs + generator.normal(scale=0.01 * np.sqrt(6), size=(4, 6))
        table = advise({(str(i), "linear"): list(aurocs[i]) for i in range(4)})
        left_out += not table.set_index("source")["may_be_best"]["0"]
    assert 0.01 < left_out / 400 < 0.075


def test_the_best_of_a_run_is_told_with_what_its_controls_say():
    controls = pd.DataFrame(
        [
            ("spine", "1", "linear", "Does the domain help?", "yes", 0.031, 0.01, 0.052),
            ("spine", "1", "linear", "Does the size help?", "undecided", 0.001, -0.03, 0.032),
            ("spine", "10", "linear", "Does the size help?", "no", -0.05, -0.08, -0.02),
        ],
        columns=["target", "percent", "mode", "question", "answer", "effect", "lower", "upper"],
    )
    row = advice_summary(advise(THREE | {("spine", "end_to_end"): [0.8, 0.8]}), controls, TITLES).iloc[0]
    assert list(row) == [
        "58 labelled images of VinDr-SpineXR (1%)",
        "MoCo on spine, then train all layers for 100 epochs",
        "0.800",
        "Clearly the best of 4 ways, on 2 labelled subsets.",
        "Does the domain help? Yes, training only the last layer: +0.031 (+0.010 to +0.052). 1 question remains open.",
    ]


def test_budgets_that_were_not_selected_are_no_ways_and_percentages_ascend():
    rows = [
        ("spine", "none", "end_to_end", percent, 58, epochs, epochs == 25, 2, 0.6)
        for percent in ("10", "9")
        for epochs in (25, 50)
    ]
    names = ["target", "source", "mode", "percent", "n_labeled", "epochs", "selected", "n_subsets", "auroc"]
    table = advice_table(pd.DataFrame(rows, columns=names), Evidence({}, {}, None), LEVEL)
    assert list(zip(table["percent"], table["epochs"], strict=True)) == [("9", 25), ("10", 25)]
