"""The advice: the confidence set of the best, its coverage and its wording."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
from advice import advice_summary
from made_up_predictions import independent_aurocs
from scipy import stats

from moco_transfer.statistics.advice import advice_table
from moco_transfer.statistics.evidence import Evidence

LEVEL = 0.05
NAMES = ["target", "source", "mode", "percent", "n_labeled", "epochs", "selected", "n_subsets", "auroc"]
TITLES = {"spine": "VinDr-SpineXR"}
KINDS = {"none": "initial", "spine": "moco", "chest": "moco", "xrv": "encoder", "lite0": "encoder"}
LEAK = "its weights were trained on spine"


def advise(
    ways: dict[tuple[str, str], list[float]], variance: float = 1e-4, leaks: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Return the advice on spine at 1%, from (source, mode) -> AUROCs by subset; ``leaks`` maps source to reason."""
    seen = {"spine": leaks or {}}
    evidence = independent_aurocs({("spine", *way, "1"): aurocs for way, aurocs in ways.items()}, variance)
    rows = [("spine", *way, "1", 58, 100, True, len(aurocs), np.mean(aurocs)) for way, aurocs in ways.items()]
    return advice_table(pd.DataFrame(rows, columns=NAMES), evidence.without(seen), LEVEL, seen)


def summary(ways, **settings) -> pd.Series:
    return advice_summary(advise(ways, **settings), None, TITLES, KINDS).iloc[0]


def how_sure(ways, **settings) -> str:
    return summary(ways, **settings)["How sure"]


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


def test_a_way_without_rivals_is_clearly_the_best_and_costs_nothing():
    table = advise(THREE)
    assert list(table["may_be_best"]) == [True, False, False]
    assert table["may_cost"].iloc[0] == 0
    assert "the best of 3 ways, on 2 labelled subsets" in how_sure(THREE)


def test_rivals_are_named_and_what_they_have_in_common_is_stated():
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


def test_the_cost_is_stated_only_if_it_is_informative():
    assert "costs at most 0.0" in how_sure(THREE | {("chest", "linear"): [0.695, 0.695]})
    assert "costs" not in how_sure({("none", "linear"): [0.5, 0.9], ("spine", "linear"): [0.9, 0.55]})


def test_noise_rules_nothing_out():
    said = how_sure(THREE, variance=0.01)
    assert "none of the other 2 ways can be ruled out" in said and "sure" not in said
    two = {way: THREE[way] for way in list(THREE)[:2]}
    assert "Not clear: the other way cannot be ruled out." in how_sure(two, variance=0.01)


def test_without_an_auroc_no_way_is_the_best():
    table = advise({way: [np.nan, np.nan] for way in THREE})
    assert not table["best"].any()
    row = advice_summary(table, None, TITLES, KINDS).iloc[0]
    assert row["Best in this run"] == "Unknown" and row["Its AUROC"] == ""
    assert "the test images cannot tell 3 ways apart" in row["How sure"]


def test_one_subset_or_one_way_claims_nothing():
    assert "one labelled subset cannot tell" in how_sure({way: aurocs[:1] for way, aurocs in THREE.items()})
    assert "Only one way" in how_sure({("none", "linear"): [0.6, 0.6]})


def test_the_set_contains_the_best_as_often_as_its_level_says():
    """In 400 runs of four equal ways, with six subsets, the first is left out in at most about 5%."""
    generator, left_out = np.random.default_rng(0), 0
    for _ in range(400):
        aurocs = 0.7 + generator.normal(scale=0.01, size=(4, 1))
        aurocs = aurocs + generator.normal(scale=0.01 * np.sqrt(6), size=(4, 6))
        table = advise({(str(i), "linear"): list(aurocs[i]) for i in range(4)})
        left_out += not table.set_index("source")["may_be_best"]["0"]
    assert 0.01 < left_out / 400 < 0.075


def test_the_best_way_is_shown_with_the_answers_of_the_controls():
    controls = pd.DataFrame(
        [
            ("spine", "1", "linear", "Does the domain help?", "yes", 0.031, 0.01, 0.052),
            ("spine", "1", "linear", "Does the size help?", "undecided", 0.001, -0.03, 0.032),
            ("spine", "10", "linear", "Does the size help?", "no", -0.05, -0.08, -0.02),
        ],
        columns=["target", "percent", "mode", "question", "answer", "effect", "lower", "upper"],
    )
    advice = advise(THREE | {("spine", "end_to_end"): [0.8, 0.8]})
    row = advice_summary(advice, controls, TITLES, KINDS).iloc[0]
    assert list(row) == [
        "58 labelled images of VinDr-SpineXR (1%)",
        "MoCo on spine, then train all layers for 100 epochs",
        "0.800",
        "Clearly the best of 4 ways, on 2 labelled subsets.",
        "Does the domain help? Yes, training only the last layer: +0.031 (+0.010 to +0.052). 1 question remains open.",
    ]


def test_budgets_that_were_not_selected_are_left_out_and_percentages_ascend():
    rows = [
        ("spine", "none", "end_to_end", percent, 58, epochs, epochs == 25, 2, 0.6)
        for percent in ("10", "9")
        for epochs in (25, 50)
    ]
    table = advice_table(pd.DataFrame(rows, columns=NAMES), Evidence({}, {}, None), LEVEL)
    assert list(zip(table["percent"], table["epochs"], strict=True)) == [("9", 25), ("10", 25)]


def test_an_encoder_that_may_have_seen_the_test_images_is_never_advised():
    """The leak is the best by far in both modes; without it, the advice is the same as if it had not been tried."""
    planted = THREE | {("xrv", "linear"): [0.99, 0.99], ("xrv", "end_to_end"): [0.98, 0.98]}
    table, clean = advise(planted, leaks={"xrv": LEAK}), advise(THREE)
    assert table["source"].tolist()[:3] == clean["source"].tolist()
    same = clean.drop(columns="may_have_seen")
    pd.testing.assert_frame_equal(table.iloc[:3][same.columns], same)
    left_out = table.iloc[3:]
    assert left_out["source"].tolist() == ["xrv", "xrv"] and set(left_out["may_have_seen"]) == {LEAK}
    assert not left_out[["best", "may_be_best"]].any(axis=None)
    assert left_out["auroc"].tolist() == [0.99, 0.98] and left_out[["p_best", "behind"]].isna().all(axis=None)
    row = summary(planted, leaks={"xrv": LEAK})
    assert row["Best in this run"].startswith("MoCo on spine") and row["Its AUROC"] == "0.700"
    assert row["How sure"] == how_sure(THREE)
    assert row["Left out"] == "The encoder xrv: its weights were trained on spine."
    # Not declared, it would have been advised.
    assert summary(planted)["Best in this run"].startswith("The encoder xrv")
    assert "Left out" not in summary(planted)


def test_if_every_way_is_left_out_none_is_named():
    leaks = dict.fromkeys(("none", "spine", "chest"), "the initial weights were trained on spine")
    assert not advise(THREE, leaks=leaks)["best"].any()
    row = summary(THREE, leaks=leaks)
    assert row["Best in this run"] == "Unknown" and row["Its AUROC"] == ""
    assert row["How sure"].startswith("Every way is left out")
    assert row["Left out"] == (
        "MoCo on spine, MoCo on chest, no MoCo: the initial weights were trained on spine."
    )


def test_encoders_of_others_are_no_moco():
    ways = {(source, "linear"): [auroc, auroc] for source, auroc in (("none", 0.5), ("spine", 0.7))}
    assert "some kind of MoCo" not in how_sure(ways | {("lite0", "linear"): [0.7, 0.7]})
    both = ways | {("chest", "linear"): [0.7, 0.7]}
    assert "starts from some kind of MoCo." in how_sure(both | {("lite0", "linear"): [0.5, 0.5]})
    others = {("lite0", "linear"): [0.9, 0.9], ("xrv", "linear"): [0.9, 0.9]}
    assert "starts from an encoder that" in how_sure(both | others)
    assert "the encoder lite0" in how_sure(
        both | {("lite0", "linear"): [0.9, 0.9], ("lite0", "end_to_end"): [0.9, 0.9]}
    )
