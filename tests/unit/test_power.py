"""Predicted power against formulas and simulated runs, and the numbers that give 80% of it."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from scipy import stats
from simulated_runs import Design, simulated, true_contrast

from moco_transfer.statistics.contrast import Contrast
from moco_transfer.statistics.error_rates import Scenario
from moco_transfer.statistics.evidence import EstimateKey, Evidence
from moco_transfer.statistics.power import (
    BETTER,
    ENOUGH,
    MOST,
    Numbers,
    Statement,
    are_apart,
    needed,
    numbers_of,
    power,
    resized,
    smallest_decided,
    what_decides,
)

EQUIVALENT = Statement(-0.02, 0.02)
GIVEN = Design(1e-4, 0.01, 0, 4, averaged=3, scattered=3, encoders=1)
OWN = Design(1e-4, 0.01, 0.012, 4, averaged=2, scattered=2, encoders=2)
DEMO = Design(1e-4, 0.012, 0.012, 5, averaged=2, scattered=6, encoders=2)
STUDY = Design(1e-4, 0.012, 0.012, 5, averaged=9, scattered=21, encoders=3)
FEW_PATIENTS = Design(6e-4, 0.012, 0.008, 4, averaged=6, scattered=6, encoders=2)
ENCODERS_AND_SUBSETS = Design(1e-5, 0.02, 0.012, 5, averaged=4, scattered=8, encoders=2)
RUNS = 400


def test_power_is_that_of_students_and_of_the_normal_test_if_one_part_is_all():
    for df in (1, 2, 9):
        for effect in (0.5, 2.0, 5.0):
            expected = stats.nct.sf(stats.t.isf(0.05, df), df, effect)
            assert power(Contrast(0.0, 0.0, 1.0, df), BETTER, effect, 0.05) == pytest.approx(
                expected, abs=2e-3
            )
    normal = stats.norm.sf(stats.norm.isf(0.01) - 2.0)
    assert power(Contrast(0.0, 0.25), BETTER, 1.0, 0.01) == pytest.approx(normal)
    assert power(Contrast(0.0, 0.25), BETTER, -1.0, 0.01) == pytest.approx(normal)


def test_power_without_an_effect_is_the_level():
    assert power(Contrast(0.0, 1.0), BETTER, 1e-12, 0.05) == pytest.approx(0.05)
    # The larger of two estimates of the encoders' part counts, so tests with few encoders err less often.
    assert 0.03 < power(true_contrast(STUDY), BETTER, 1e-12, 0.05) < 0.05


def share_decided(design: Design, statement: Statement, effect: float, level: float) -> float:
    """Return in how many of ``RUNS`` simulated runs the tests of ``Contrast`` decide for the side of ``effect``."""
    draw, decided = np.random.default_rng(16), 0
    for _ in range(RUNS):
        contrast = simulated(draw, design, effect)
        above, below = statement.lower, statement.upper
        if statement.holds(effect):
            p = max(contrast.p_above(above), contrast.p_below(below) if np.isfinite(below) else 0.0)
        elif np.isfinite(below):
            p = 2 * min(contrast.p_below(above), contrast.p_above(below))
        else:
            p = contrast.p_below(above)
        decided += p < level
    return decided / RUNS


@pytest.mark.parametrize("level", [0.05, 0.01])
@pytest.mark.parametrize("design", [GIVEN, OWN, DEMO, STUDY, FEW_PATIENTS])
def test_predicted_power_is_that_of_simulated_runs(design, level):
    contrast = true_contrast(design)
    effect = smallest_decided(contrast, level)
    assert power(contrast, BETTER, effect, level) == pytest.approx(ENOUGH, abs=0.001)
    assert share_decided(design, BETTER, effect, level) == pytest.approx(ENOUGH, abs=0.05)


@pytest.mark.parametrize("effect", [0.0, 0.01, -0.045])
def test_predicted_power_of_equivalence_and_its_opposite(effect):
    design = STUDY._replace(patients=1e-5, encoder_sd=0.004)
    predicted = power(true_contrast(design), EQUIVALENT, effect, 0.05)
    assert 0.25 < predicted < 0.99
    assert share_decided(design, EQUIVALENT, effect, 0.05) == pytest.approx(predicted, abs=0.05)


@pytest.mark.parametrize(
    "now, then",
    [
        (GIVEN, {"averaged": 8, "scattered": 8}),
        (DEMO, {"averaged": 4}),
        (DEMO, {"averaged": 12, "scattered": 12, "encoders": 3}),
        (DEMO, {"averaged": 6, "encoders": 6}),
        (STUDY, {"averaged": 40, "scattered": 40, "encoders": 40}),
        (OWN, {"averaged": 7, "scattered": 7, "encoders": 7}),
    ],
)
def test_a_resized_contrast_is_that_of_a_run_with_these_numbers(now, then):
    then = now._replace(patients=now.patients / 2.5, **then)
    numbers = Numbers(2.5, then.averaged, then.encoders)
    expected, found = asdict(true_contrast(then, 0.03)), asdict(resized(true_contrast(now, 0.03), numbers))
    assert found.pop("one_encoder") == expected.pop("one_encoder")
    assert found == pytest.approx(expected)


def test_a_contrast_knows_the_numbers_that_it_rests_on():
    met = {subset: (subset - 1) % 2 + 1 for subset in range(1, 7)}
    aurocs = {subset: 0.7 + 0.01 * subset**2 for subset in met}
    keys = {name: EstimateKey("spine", name, "linear", "1") for name in ("a", "b", "given", "limited")}
    evidence = Evidence(
        dict.fromkeys(keys.values(), 0.7),
        {},
        {key: {s: a * (1 + i) for s, a in aurocs.items()} for i, key in enumerate(keys.values())},
        dict.fromkeys(keys.values(), 4),
        encoders={"a": met, "b": met, "limited": {subset: subset for subset in met}},
    )

    def of(first: str, second: str) -> Contrast:
        return evidence.contrast({keys[first]: 1.0, keys[second]: -1.0})

    assert numbers_of(of("a", "b")) == (1.0, 4, 2) and are_apart(of("a", "b"))
    assert numbers_of(of("a", "given")) == (1.0, 4, 2)
    # The configuration has no say in how many encoders MoCo on the labelled images has.
    assert numbers_of(of("limited", "given")) == (1.0, 4, 1) and not are_apart(of("limited", "given"))
    assert numbers_of(of("a", "limited")) == (1.0, 4, 2)


@pytest.mark.parametrize(
    "statement, effect, expected",
    [
        (BETTER, 0.003, 0.02),
        (BETTER, -0.1, -0.02),
        (Statement(lower=-0.02), 0.05, 0.0),
        (Statement(lower=-0.02), -0.05, -0.04),
        (EQUIVALENT, 0.015, 0.0),
        (EQUIVALENT, -0.015, 0.0),
        (EQUIVALENT, 0.03, 0.04),
        (EQUIVALENT, -0.03, -0.04),
    ],
)
def test_the_smallest_effect_of_interest_is_a_margin_away_from_what_is_excluded(statement, effect, expected):
    assert statement.effect_of_interest(effect, 0.02) == pytest.approx(expected)
    contrast = Contrast(effect, 1e-4, 1e-4, 5, n_subsets=3)
    assert [each.effect for each in what_decides(contrast, statement, 0.05, 0.02)] == pytest.approx(
        [effect, expected]
    )


@pytest.mark.parametrize(
    "design, effect, way",
    [
        (GIVEN._replace(subset_sd=0.02), 0.03, "subsets"),
        (GIVEN._replace(patients=6e-4), 0.045, "patients"),
        (OWN, 0.035, "subsets"),
        (STUDY, 0.034, "encoders"),
        (ENCODERS_AND_SUBSETS, 0.025, "together"),
    ],
)
def test_the_numbers_needed_are_the_smallest_that_give_80_percent(design, effect, way):
    contrast = true_contrast(design)
    numbers = getattr(needed(contrast, BETTER, effect, 0.05), way)
    then = design._replace(
        patients=design.patients / numbers.patients,
        averaged=numbers.subsets,
        scattered=max(design.scattered, numbers.subsets),
        encoders=numbers.encoders,
    )
    share = share_decided(then, BETTER, effect, 0.05)
    assert ENOUGH - 0.05 < share < ENOUGH + 0.1  # whole numbers give a little more
    fewer = {
        "patients": numbers._replace(patients=numbers.patients * 0.98),
        "subsets": Numbers(1.0, numbers.subsets - 1, min(numbers.encoders, numbers.subsets - 1)),
        "encoders": numbers._replace(encoders=numbers.encoders - 1),
        "together": numbers._replace(subsets=numbers.subsets - 1),
    }
    assert power(resized(contrast, fewer[way]), BETTER, effect, 0.05) < ENOUGH


@pytest.mark.parametrize("design", [GIVEN, OWN, DEMO, STUDY, FEW_PATIENTS])
def test_a_larger_effect_needs_no_larger_numbers(design):
    found = [needed(true_contrast(design), BETTER, effect, 0.05) for effect in np.geomspace(0.005, 0.2, 12)]
    assert np.all(np.diff([each.power for each in found]) > 0)
    for way, number in (("patients", "patients"), ("subsets", "subsets"), ("encoders", "encoders")):
        numbers = [getattr(each, way) for each in found]
        sizes = [MOST + 1 if each is None else getattr(each, number) for each in numbers]
        assert np.all(np.diff(sizes) <= 0) and sizes[-1] <= MOST + 1
    assert numbers_of(true_contrast(design)) in (found[-1].patients, found[-1].subsets)


def test_no_number_suffices_if_the_other_parts_are_too_large():
    few_patients = needed(true_contrast(FEW_PATIENTS), BETTER, 0.02, 0.05)
    assert few_patients.subsets is None and few_patients.encoders is None
    assert few_patients.patients is None  # nor do patients alone: the encoders are too few
    assert few_patients.together.patients > 1 and few_patients.together.encoders > 2
    assert power(resized(true_contrast(FEW_PATIENTS), few_patients.together), BETTER, 0.02, 0.05) >= ENOUGH
    none = needed(true_contrast(DEMO), BETTER, 1e-6, 0.05)
    assert none[2:] == (None, None, None, None)


def test_subsets_with_encoders_of_their_own_take_them_along():
    found = needed(true_contrast(OWN), BETTER, 0.035, 0.05)
    assert found.subsets.subsets == found.subsets.encoders > 2 and found.encoders is None


def test_the_cheaper_combination_is_chosen():
    contrast = true_contrast(ENCODERS_AND_SUBSETS)
    dear_encoders = needed(contrast, BETTER, 0.025, 0.05, work=(1.0, 50.0)).together
    dear_subsets = needed(contrast, BETTER, 0.025, 0.05, work=(50.0, 1.0)).together
    assert dear_encoders.encoders < dear_subsets.encoders
    assert dear_encoders.subsets > dear_subsets.subsets
    assert dear_encoders.patients == dear_subsets.patients == 1


def test_power_against_given_weights_is_that_of_simulated_runs():
    """Without trained initial weights, the encoders of one number share nothing, so the pooled variance serves here, too."""
    run = Scenario(3, 3, 9, 9, encoders=0.012, labelled=0.02, patients=0.01)
    # A half of the variance of patients and subsets is common to all AUROCs.
    within, between, noise = run.labelled**2 / 9, run.encoders**2 / 3, run.labelled**2 / 2 / 9
    true = Contrast(
        0.0,
        run.patients**2,
        subsets=within,
        subset_df=6,
        encoders=between,
        encoder_df=4,
        encoder_share=min((between + noise) / (within + between), 1.0),
        encoder_noise=noise,
        n_subsets=9,
        n_encoders=3,
    )
    weights = run.contrasts["trained less given"]
    contrasts = [evidence.contrast(weights) for evidence in run.runs(800, np.random.default_rng(5))]
    for effect in (0.025, 0.04):
        decided = np.mean([contrast.p_above(-effect) < 0.05 for contrast in contrasts])
        # Within 5 points, and two standard errors of the simulation.
        assert power(true, BETTER, effect, 0.05) == pytest.approx(decided, abs=0.05 + 2 * 0.017)
    assert np.mean([contrast.p_above(0.0) < 0.05 for contrast in contrasts]) < 0.055 + 2 * 0.008
