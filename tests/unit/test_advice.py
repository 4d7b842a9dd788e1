"""The advice: what validation images choose, what test images say of it, and the page in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from advice import caption
from made_up_predictions import independent_aurocs
from scipy import stats

from moco_transfer.report.advice_page import Advice, details, summary, two_digits
from moco_transfer.statistics.advice import COLUMNS, advice_table, longest_budgets
from moco_transfer.statistics.evidence import Evidence

LEVEL = 0.05
NAMES = ["target", "source", "mode", "percent", "n_labeled", "epochs", "selected", "n_subsets", "auroc"]
TITLES = {"spine": "VinDr-SpineXR"}
KINDS = {
    **{"none": "initial", "spine": "moco", "chest": "moco", "limited": "moco"},
    **{"xrv": "encoder", "lite0": "encoder"},
}
LEAK = "its weights were trained on spine"
CHOSEN, CHEAPEST = "Best on validation images", "Cheapest that is not ruled out"
TEST_AUROC = "test AUROC (90% interval)"

Ways = Mapping[tuple[str, str], list[float]]


def advise(
    ways: Ways,
    variance: float = 1e-4,
    leaks: Mapping[str, str] | None = None,
    validation: Mapping[tuple[str, str], float] | None = None,
    costs: Mapping[tuple[str, str], int] | None = None,
    encoders: Mapping[str, Mapping[int, int]] | None = None,
) -> pd.DataFrame:
    """Return the advice on spine at 1%, from (source, mode) -> test AUROCs by subset.

    ``leaks`` maps source to reason. Unless given, validation AUROCs are those of the test images, and all cost the same.
    """
    seen = {"spine": leaks or {}}
    evidence = independent_aurocs({("spine", *way, "1"): aurocs for way, aurocs in ways.items()}, variance)
    evidence = Evidence(evidence.values, evidence.covariance, evidence.by_subset, encoders=encoders or {})
    rows = [("spine", *way, "1", 58, 100, True, len(aurocs), np.mean(aurocs)) for way, aurocs in ways.items()]
    frame = pd.DataFrame(rows, columns=NAMES)
    frame["validation_auroc"] = [(validation or {}).get(way, np.mean(aurocs)) for way, aurocs in ways.items()]
    frame["images_trained"] = [(costs or {}).get(way, 1000) for way in ways]
    return advice_table(frame, evidence.without(seen), LEVEL, seen)


def page(table: pd.DataFrame, **facts: Any) -> Advice:
    return Advice(ways=table, sources=KINDS, titles=TITLES, interval="90% interval", **facts)


def summary_of(ways: Ways, **settings: Any) -> pd.Series:
    return summary(page(advise(ways, **settings))).iloc[0]


def notes(advice: Advice) -> pd.DataFrame:
    return details(advice)[0][0]


def note(advice: Advice, what: str) -> str:
    """Return all that the notes on the first cell say of ``what``."""
    found = notes(advice)
    return " ".join(found.loc[found["What"] == what, "In this run"])


def how_sure(ways: Ways, **settings: Any) -> str:
    return note(page(advise(ways, **settings)), "How sure")


def warned(table: pd.DataFrame, **facts: Any) -> str:
    return note(page(table, **facts), "Warning")


def ranking(advice: Advice) -> pd.DataFrame:
    return details(advice)[1][0]


THREE = {
    ("none", "linear"): [0.60, 0.60],
    ("spine", "linear"): [0.70, 0.70],
    ("chest", "linear"): [0.67, 0.67],
}
NONE, SPINE, CHEST = THREE


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


def test_intervals_are_those_of_the_estimate_with_all_parts_of_its_variance():
    """Two subsets that differ by 0.02 add a variance of 0.0001 with one degree of freedom; the test set has as much."""
    table = advise({("none", "linear"): [0.60, 0.62], ("spine", "linear"): [0.99, 0.99]}).set_index("source")
    reach = (stats.norm.ppf(0.95) + stats.t.ppf(0.95, 1)) / 2 * np.sqrt(2e-4)
    assert table.loc["none", ["lower", "upper"]].tolist() == pytest.approx([0.61 - reach, 0.61 + reach])
    reach = stats.norm.ppf(0.95) * 0.01
    assert table.loc["spine", ["lower", "upper"]].tolist() == pytest.approx([0.99 - reach, 1.0])


def test_a_way_without_rivals_is_clearly_the_best_and_costs_nothing():
    table = advise(THREE)
    assert list(table["may_be_best"]) == [True, False, False]
    assert table["may_cost"].iloc[0] == 0
    assert how_sure(THREE) == "Clearly the best of 3 ways."
    row = summary_of(THREE)
    assert row[CHOSEN] == "MoCo on spine, then train only the last layer" and row[CHEAPEST] == "The same"
    assert row[f"Its {TEST_AUROC}"] == "0.700 (0.684–0.716)"


def test_validation_images_choose_and_test_images_contradict():
    table = advise(THREE, validation={NONE: 0.9})
    assert table["source"].tolist() == ["none", "spine", "chest"]
    assert table["chosen"].tolist() == [True, False, False]
    assert table["may_be_best"].tolist() == [False, True, False]
    row = summary_of(THREE, validation={NONE: 0.9})
    assert row[CHOSEN].startswith("No MoCo") and row[f"Its {TEST_AUROC}"].startswith("0.600")
    assert row[CHEAPEST].startswith("MoCo on spine")
    assert "contradict this choice: 1 of the other 2 ways" in how_sure(THREE, validation={NONE: 0.9})


def test_of_ways_with_equal_validation_auroc_the_cheapest_is_chosen_and_then_the_first():
    equal = dict.fromkeys(THREE, 0.7)
    assert advise(THREE, validation=equal)["source"].tolist() == ["none", "spine", "chest"]
    table = advise(THREE, validation=equal, costs={SPINE: 10, CHEST: 10})
    assert table["source"].tolist() == ["spine", "chest", "none"] and table["chosen"].tolist()[0]


def test_a_way_without_validation_auroc_is_never_chosen():
    table = advise(THREE, validation={SPINE: np.nan})
    assert table["source"].tolist() == ["chest", "none", "spine"]
    assert table["chosen"].tolist() == [True, False, False] and table["may_be_best"].tolist()[2]
    nothing = dict.fromkeys(THREE, np.nan)
    assert not advise(THREE, validation=nothing)["chosen"].any()
    row = summary_of(THREE, validation=nothing)
    assert row[CHOSEN] == "Unknown" and row[f"Its {TEST_AUROC}"] == ""
    assert "No way can be chosen" in row["How sure"] and row[CHEAPEST].startswith("MoCo on spine")


def test_without_a_test_auroc_the_choice_stands_and_nothing_is_ruled_out():
    table = advise({way: [np.nan, np.nan] for way in THREE}, validation={SPINE: 0.9, NONE: 0.8})
    assert table["chosen"].tolist() == [True, False, False] and table["source"].iloc[0] == "spine"
    assert table["may_be_best"].all() and not table["cheapest"].any()
    row = summary(page(table)).iloc[0]
    assert row[CHEAPEST] == "Unknown" and row[f"Its {TEST_AUROC}"] == ""
    assert "the test images cannot tell 3 ways apart" in row["How sure"]
    assert set(ranking(page(table))["May be the best"]) == {"unknown"}


def test_the_cheapest_is_the_cheapest_of_those_that_may_be_the_best():
    ways = THREE | {CHEST: [0.69, 0.69]}
    costs = {NONE: 1, SPINE: 5000, CHEST: 2000}
    table = advise(ways, costs=costs).set_index("source")
    assert table["cheapest"].to_dict() == {"spine": False, "chest": True, "none": False}
    row = summary_of(ways, costs=costs)
    assert (
        row[CHEAPEST]
        == "MoCo on chest, then train only the last layer (test AUROC 0.690, 40% of the training)"
    )
    said = how_sure(ways, costs=costs)
    se, reach = np.sqrt(2e-4), stats.norm.ppf(1 - LEVEL / 2)
    assert f"the cheapest that is not ruled out costs at most {0.01 + reach * se:.3f} AUROC" in said
    assert f"the best on validation images costs at most {-0.01 + reach * se:.3f} AUROC" in said


def test_what_the_ways_that_may_be_best_have_in_common_is_stated():
    ways = THREE | {("spine", "end_to_end"): [0.69, 0.69], ("chest", "end_to_end"): [0.60, 0.60]}
    ways["chest", "linear"] = [0.65, 0.65]
    said = how_sure(ways)
    assert "1 of the other 4 ways may be the best instead." in said
    assert "the best way starts from MoCo on spine." in said
    without_none = how_sure(THREE | {CHEST: [0.69, 0.69]})
    assert "the best way starts from some kind of MoCo." in without_none
    one_mode = how_sure({NONE: [0.7, 0.7], SPINE: [0.7, 0.71], ("none", "end_to_end"): [0.5, 0.5]})
    assert "the best way trains only the last layer." in one_mode


@pytest.mark.parametrize(("bound", "said"), [(0.099, True), (0.101, False)])
def test_a_bound_on_the_cost_is_stated_up_to_a_tenth(bound, said):
    """Two equal ways may differ by 1.64 standard errors of their difference."""
    equal = {NONE: [0.7] * 2, SPINE: [0.7] * 2}
    variance = (bound / stats.norm.ppf(1 - LEVEL)) ** 2 / 2
    assert advise(equal, variance=variance)["may_cost"].tolist() == pytest.approx([bound, bound])
    assert (f"costs at most {bound:.3f} AUROC" in how_sure(equal, variance=variance)) == said
    assert ("costs" in how_sure(equal, variance=variance)) == said


def test_noise_rules_nothing_out():
    said = how_sure(THREE, variance=0.01)
    assert said == "Not clear: none of the other 2 ways can be ruled out."
    two = {way: THREE[way] for way in list(THREE)[:2]}
    assert how_sure(two, variance=0.01) == "Not clear: the other way cannot be ruled out."


def test_one_subset_or_one_way_claims_nothing():
    one = {way: aurocs[:1] for way, aurocs in THREE.items()}
    assert "one labelled subset cannot tell" in how_sure(one)
    assert summary_of(one)[CHEAPEST] == "Unknown" and "One labelled subset was drawn" in warned(advise(one))
    assert "Only one way" in how_sure({NONE: [0.6, 0.6]})


def test_the_set_contains_the_best_and_only_validation_chooses_without_bias():
    """In 400 runs of four equal ways, the first is left out in at most about 5%, and the choice is worth what all are.

    The largest of four test AUROCs with a standard error of 0.014 is 0.0145 too high on average.
    """
    generator, left_out, chosen, largest = np.random.default_rng(0), 0, [], []
    for _ in range(400):
        aurocs = 0.7 + generator.normal(scale=0.01, size=(4, 1))
        aurocs = aurocs + generator.normal(scale=0.01 * np.sqrt(6), size=(4, 6))
        ways = {(str(i), "linear"): list(aurocs[i]) for i in range(4)}
        validation = {way: 0.7 + generator.normal(scale=0.014) for way in ways}
        table = advise(ways, validation=validation)
        left_out += not table.set_index("source")["may_be_best"]["0"]
        chosen += table.loc[table["chosen"], "auroc"].tolist()
        largest.append(table["auroc"].max())
    assert 0.01 < left_out / 400 < 0.075
    assert len(chosen) == 400 and abs(np.mean(chosen) - 0.7) < 3 * 0.0141 / np.sqrt(400)
    assert np.mean(largest) - 0.7 > 0.012


def test_the_notes_repeat_the_answers_of_the_controls_and_what_would_settle_it():
    controls = pd.DataFrame(
        [
            ("spine", "1", "linear", "Does the domain help?", "yes", 0.031, 0.01, 0.052, "spine"),
            ("spine", "1", "linear", "Does the size help?", "undecided", 0.001, -0.03, 0.032, np.nan),
            ("spine", "10", "linear", "Does the size help?", "no", -0.05, -0.08, -0.02, np.nan),
        ],
        columns=[
            "target",
            "percent",
            "mode",
            "question",
            "answer",
            "effect",
            "lower",
            "upper",
            "one_encoder",
        ],
    )
    advice = page(advise(THREE), controls=controls, settle={("spine", "1"): "58 more test patients."})
    assert notes(advice).iloc[-2:].to_numpy().tolist() == [
        ["What would settle it", "58 more test patients."],
        [
            "What the controls say",
            "Does the domain help? Yes, about these encoders, training only the last layer: +0.031 (+0.010 to +0.052). 1 question remains open.",
        ],
    ]
    assert "What would settle it" not in set(notes(page(advise(THREE)))["What"])
    assert [caption for _, caption in details(advice)] == [
        "58 labelled images of VinDr-SpineXR (1%): what to know.",
        "58 labelled images of VinDr-SpineXR (1%): all ways to train, best on validation images first.",
    ]


def test_only_without_folds_have_test_images_no_say_in_the_choice():
    both = pd.concat([advise(THREE), advise(THREE).assign(target="chest")])
    says, has_a_part = "No test image has a say", "luck with them has a part in the test AUROC of the choice"
    for folded, expected in (
        ([], (True, False)),
        (["spine"], (True, True)),
        (["spine", "chest"], (False, True)),
    ):
        text = caption(page(both), LEVEL, folded)
        assert (says in text, has_a_part in text) == expected
        assert ("In the cross-validation of VinDr-SpineXR," in text) == (folded == ["spine"])


def test_a_ranking_has_every_way_with_its_numbers_and_time():
    ways = THREE | {("spine", "end_to_end"): [0.8, 0.8]}
    validation = {("spine", "end_to_end"): 0.75}
    table = advise(ways, validation=validation, costs={NONE: 58, SPINE: 90_000})
    shown = ranking(page(table, speed=50, device="cpu"))
    assert shown.columns.tolist() == [
        *("Way to train", "Validation AUROC", f"Test AUROC{TEST_AUROC.removeprefix('test AUROC')}"),
        *("May be the best", "Images trained", "Minutes", "Advice"),
    ]
    assert shown.to_numpy().tolist() == [
        ["MoCo on spine, then train all layers for 100 epochs", "0.750", "0.800 (0.784–0.816)"]
        + ["yes", "1,000", "0.33", "best on validation images; cheapest that is not ruled out"],
        ["MoCo on spine, then train only the last layer", "0.700", "0.700 (0.684–0.716)"]
        + ["no", "90,000", "30", ""],
        ["MoCo on chest, then train only the last layer", "0.670", "0.670 (0.654–0.686)"]
        + ["no", "1,000", "0.33", ""],
        ["No MoCo, then train only the last layer", "0.600", "0.600 (0.584–0.616)", "no", "58", "0.019", ""],
    ]
    assert ranking(page(table, speed=50, device="cuda"))["GPU-hours"].tolist()[1] == "0.50"
    assert not {"Minutes", "GPU-hours"} & set(ranking(page(table)).columns)


@pytest.mark.parametrize(
    ("number", "text"), [(0.0296, "0.030"), (3, "3.0"), (9.97, "10"), (344, "340"), (34_400, "34,000")]
)
def test_times_have_two_digits(number, text):
    assert two_digits(number) == text


def test_a_choice_that_may_only_guess_is_warned_of():
    near = {NONE: [0.51, 0.51], SPINE: [0.50, 0.50]}
    assert "Not shown to beat chance. The test AUROC of the best on validation images" in warned(advise(near))
    assert summary_of(near)["How sure"].startswith("Not shown to beat chance. Not clear")
    # Only the choice counts, and without an interval its AUROC.
    far = {NONE: [0.60, 0.60], SPINE: [0.50, 0.50]}
    assert "Not shown to beat chance" not in warned(advise(far)) + summary_of(far)["How sure"]
    for auroc, warns in ((0.50, True), (0.51, False)):
        assert ("Not shown to beat chance" in warned(advise({NONE: [auroc], SPINE: [0.4]}))) == warns


@pytest.mark.parametrize(
    ("selected", "warns"),
    [({"none": 50, "spine": 50}, True), ({"none": 25, "spine": 50}, False), ({"none": 50}, True)],
)
def test_the_longest_budget_that_won_everywhere_is_warned_of(selected, warns):
    rows = [
        ("spine", source, "end_to_end", "1", 58, epochs, epochs == best, 3, 0.6)
        for source, best in selected.items()
        for epochs in (25, 50)
    ]
    # Neither linear finetuning nor another percentage with a single budget counts.
    rows += [("spine", "none", "linear", "1", 58, 100, True, 3, 0.6)]
    rows += [("spine", "none", "end_to_end", "10", 580, 25, True, 3, 0.6)]
    longest = longest_budgets(pd.DataFrame(rows, columns=NAMES))
    assert longest == ({("spine", "1"): 50} if warns else {})
    assert (
        "the most epochs that were tried, 50: try more" in warned(advise(THREE), longest=longest)
    ) == warns


def test_few_patients_subsets_and_encoders_are_warned_of():
    table = advise(THREE)
    assert "Only 2 labelled subsets were drawn" in warned(table)
    three = {way: [aurocs[0]] * 3 for way, aurocs in THREE.items()}
    assert warned(advise(three), rarer={"spine": {"a": 20}, "chest": {"b": 1}}) == ""
    assert "rarer label of a (19): too few" in warned(table, rarer={"spine": {"a": 19, "b": 20}})
    counts = {"spine": {"a": 9, "b": 3, "c": 11, "d": 10, "e": 30}}
    assert "rarer label of b (3), a (9), d (10), and 1 more class: too few" in warned(table, rarer=counts)
    # Each subset met its own encoder of chest, but all met the same one of spine. Encoders of 'none' do not vary.
    met = {"spine": {1: 1, 2: 1}, "chest": {1: 1, 2: 2}}
    one = advise(THREE, encoders=met)
    assert one.set_index("source")["one_encoder"].to_dict() == {"spine": True, "chest": False, "none": False}
    assert "Only one encoder was trained for MoCo on spine: the advice is about these encoders" in warned(one)
    all_one = advise(THREE, encoders={source: {1: 1, 2: 1} for source, _ in THREE})
    assert "Only one encoder was trained for each source" in warned(all_one)
    assert "encoder" not in warned(table)


def test_budgets_that_were_not_selected_are_left_out_and_percentages_ascend():
    rows = [
        ("spine", "none", "end_to_end", percent, 58, epochs, epochs == 25, 2, 0.6)
        for percent in ("10", "9")
        for epochs in (25, 50)
    ]
    evidence = independent_aurocs({("spine", "none", "end_to_end", p): [0.6, 0.6] for p in ("10", "9")}, 1e-4)
    frame = pd.DataFrame(rows, columns=NAMES).assign(validation_auroc=0.6, images_trained=1)
    table = advice_table(frame, evidence, LEVEL)
    assert list(zip(table["percent"], table["epochs"], strict=True)) == [("9", 25), ("10", 25)]
    assert table.columns.tolist() == COLUMNS and table["chosen"].all() and table["cheapest"].all()


def test_an_encoder_that_may_have_seen_the_test_images_is_never_advised():
    """The leak is the best by far in both modes; without it, the advice is the same as if it had not been tried."""
    planted = THREE | {("xrv", "linear"): [0.99, 0.99], ("xrv", "end_to_end"): [0.98, 0.98]}
    table, clean = advise(planted, leaks={"xrv": LEAK}), advise(THREE)
    assert table["source"].tolist()[:3] == clean["source"].tolist()
    same = clean.drop(columns="may_have_seen")
    pd.testing.assert_frame_equal(table.iloc[:3][same.columns], same)
    left_out = table.iloc[3:]
    assert left_out["source"].tolist() == ["xrv", "xrv"] and set(left_out["may_have_seen"]) == {LEAK}
    assert not left_out[["chosen", "may_be_best", "cheapest"]].any(axis=None)
    assert left_out["auroc"].tolist() == [0.99, 0.98]
    assert left_out[["lower", "upper", "p_best", "may_cost"]].isna().all(axis=None)
    advice = page(table)
    row = summary(advice).iloc[0]
    assert row[CHOSEN].startswith("MoCo on spine") and row[f"Its {TEST_AUROC}"].startswith("0.700")
    assert note(advice, "How sure") == how_sure(THREE)
    assert note(advice, "Left out †") == "The encoder xrv: its weights were trained on spine."
    assert ranking(advice)["May be the best"].tolist() == ["yes", "no", "no", "left out †", "left out †"]
    # Not declared, it would have been advised.
    assert summary_of(planted)[CHOSEN].startswith("The encoder xrv")
    assert "Left out †" not in set(notes(page(advise(planted)))["What"])


def test_if_every_way_is_left_out_none_is_named():
    leaks = dict.fromkeys(("none", "spine", "chest"), "the initial weights were trained on spine")
    table = advise(THREE, leaks=leaks)
    assert not table["chosen"].any()
    row = summary(page(table)).iloc[0]
    assert row[CHOSEN] == row[CHEAPEST] == "Unknown" and row[f"Its {TEST_AUROC}"] == ""
    assert row["How sure"].startswith("Every way is left out")
    assert note(page(table), "Left out †") == (
        "MoCo on spine, MoCo on chest, no MoCo: the initial weights were trained on spine."
    )
    assert warned(table) == ""


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
