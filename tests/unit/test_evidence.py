"""Contrasts against sums written out and classical tests; corrections for many comparisons; error rates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from moco_transfer.statistics.contrast import Contrast
from moco_transfer.statistics.evidence import (
    EstimateKey,
    Evidence,
    at_least,
    holm,
    read_extra,
    read_reference,
    required,
    verdict,
)

A, B = (EstimateKey("spine", source, "linear", "1") for source in ("spine", "none"))
P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def two_estimates(
    a: list[float], b: list[float], test_variance: float = 1e-4, correlation: float = 0.5
) -> Evidence:
    covariance = {(A, A): test_variance, (B, B): test_variance}
    covariance |= {(A, B): correlation * test_variance, (B, A): correlation * test_variance}
    by_subset = {A: dict(enumerate(a, 1)), B: dict(enumerate(b, 1))}
    return Evidence({A: np.mean(a), B: np.mean(b)}, covariance, by_subset)


def test_the_variance_is_that_of_the_test_set_plus_that_of_the_subsets_both_paired():
    a, b = [0.70, 0.74, 0.81], [0.66, 0.71, 0.75]
    contrast = two_estimates(a, b).contrast({A: 1.0, B: -1.0})
    test = 1e-4 + 1e-4 - 2 * 0.5e-4
    subsets = np.var(np.subtract(a, b), ddof=1) / 3
    assert contrast.effect == pytest.approx(np.mean(a) - np.mean(b))
    assert contrast.se == pytest.approx(np.sqrt(test + subsets))
    assert (contrast.patients, contrast.subsets) == pytest.approx((test, subsets)) and contrast.subset_df == 2


def test_scatter_between_encoders_adds_its_variance_to_each_source_with_one_trained_encoder():
    evidence = two_estimates([0.70, 0.74, 0.81], [0.66, 0.71, 0.75])
    one, two = {1: 1, 2: 1, 3: 1}, {1: 1, 2: 2, 3: 1}
    for encoders, variances in (
        ({}, 0),
        ({"spine": one}, 1),
        ({"spine": one, "none": one}, 2),
        ({"spine": two}, 0),
    ):
        before = replace(evidence, encoders=encoders)
        after = before.with_encoder_scatter(0.02)
        patients = [each.contrast({A: 1.0, B: -1.0}).patients for each in (before, after)]
        assert patients[1] - patients[0] == pytest.approx(variances * 0.02**2)


def test_without_a_test_sets_variance_it_is_the_paired_t_test():
    a, b = [0.70, 0.74, 0.81, 0.78], [0.66, 0.71, 0.75, 0.77]
    contrast = two_estimates(a, b, test_variance=0.0).contrast({A: 1.0, B: -1.0})
    expected = stats.ttest_rel(a, b, alternative="greater")
    assert contrast.p_above(0.0) == pytest.approx(expected.pvalue)
    assert contrast.interval(0.05) == pytest.approx(stats.ttest_rel(a, b).confidence_interval(0.90))
    assert contrast.p_below(0.02) == pytest.approx(
        stats.ttest_1samp(np.subtract(a, b), 0.02, alternative="less").pvalue
    )


def test_without_scatter_between_subsets_it_is_the_normal_test():
    contrast = two_estimates([0.7, 0.7], [0.68, 0.68]).contrast({A: 1.0, B: -1.0})
    assert contrast.p_above(0.0) == pytest.approx(stats.norm.sf(0.02 / 0.01))
    assert contrast.interval(0.05)[0] == pytest.approx(0.02 - stats.norm.ppf(0.95) * 0.01)


def test_one_subset_leaves_the_error_unknown_and_zero_variance_is_not_certainty():
    contrast = two_estimates([0.7], [0.6]).contrast({A: 1.0, B: -1.0})
    assert np.isnan(contrast.p_above(0.0)) and np.isnan(contrast.interval(0.05)).all()
    assert Contrast(0.1, 0.0).p_above(0.0) == 1.0


def test_quantiles_are_weighted_means_of_both_parts_and_p_values_invert_them():
    contrast = Contrast(0.03, 0.6e-4, subsets=0.4e-4, subset_df=2)
    for p in (0.3, 0.05, 0.004, 1e-6):
        quantile = 0.6 * stats.norm.isf(p) + 0.4 * stats.t.isf(p, 2)
        assert contrast.interval(p) == pytest.approx((0.03 - 0.01 * quantile, 0.03 + 0.01 * quantile))
        assert contrast.p_above(0.03 - 0.01 * quantile) == pytest.approx(p)
        assert contrast.p_below(0.03 - 0.01 * quantile) == pytest.approx(1 - p)
    assert contrast.p_above(0.03) == 0.5


@pytest.mark.parametrize("ratio", [0.25, 1, 4])
def test_with_three_subsets_error_rates_stay_at_the_level(ratio):
    """20,000 null contrasts, subset variance of the mean ``ratio`` times the test set's; 0.4% is 5% / 12."""
    generator = np.random.default_rng(0)
    chance = 0.01 * generator.normal(size=(20_000, 1))  # of the test set, shared by the subsets
    by_subset = chance + generator.normal(scale=0.01 * np.sqrt(3 * ratio), size=(20_000, 3))
    effect, subsets = by_subset.mean(axis=1), by_subset.var(axis=1, ddof=1) / 3
    share, t = subsets / (1e-4 + subsets), effect / np.sqrt(1e-4 + subsets)
    for level, most in ((0.05, 0.053), (0.004, 0.005)):
        reach = [-Contrast(0.0, 1 - each, subsets=each, subset_df=2).interval(level)[0] for each in share]
        assert level / 4 < np.mean(t > reach) < most


def test_a_run_is_read_from_the_frames_of_its_evaluation():
    names = ["target", "source", "mode", "percent", "epochs"]
    cells = [("spine", "none", "end_to_end", "1", 25), ("spine", "none", "end_to_end", "1", 50)]
    cells += [("spine", "spine", "end_to_end", "1", 25)]
    estimates = pd.DataFrame(cells, columns=names).assign(
        auroc=[0.6, 0.7, 0.8], selected=[False, True, True], n_subsets=2
    )
    subsets = pd.concat(
        [
            pd.DataFrame(cells, columns=names).assign(
                subset=seed, replicate=1, auroc=[0.6, 0.7, 0.8 + seed / 100]
            )
            for seed in (1, 2)
        ]
    )
    matrix = np.array([[4.0, 1.0, 2.0], [1.0, 5.0, 3.0], [2.0, 3.0, 6.0]])
    covariance = pd.DataFrame(
        [(*a[1:], *b[1:], matrix[i, j]) for i, a in enumerate(cells) for j, b in enumerate(cells)],
        columns=[f"{name}_a" for name in names[1:]] + [f"{name}_b" for name in names[1:]] + ["covariance"],
    )
    every_subset = subsets
    evidence = Evidence.from_run(estimates, {"spine": covariance}, subsets)
    moco, imagenet = (EstimateKey("spine", source, "end_to_end", "1") for source in ("spine", "none"))
    subsets = np.var([0.01, 0.02], ddof=1) / 2
    selected = evidence.contrast({moco: 1.0, imagenet: -1.0})
    assert (selected.effect, selected.se) == pytest.approx((0.1, np.sqrt(6 + 5 - 2 * 3 + subsets)))
    early = evidence.contrast({moco._replace(epochs=25): 1.0, imagenet._replace(epochs=25): -1.0})
    assert (early.effect, early.se) == pytest.approx((0.2, np.sqrt(6 + 4 - 2 * 2 + subsets)))
    assert evidence.budgets("spine", "1", ["none"]) == [25, 50]
    # Encoders share the chance of initial weights that are trained in the run, and none of given ones.
    for trained, shares in ((["spine"], False), (["none", "spine"], True)):
        frames = (estimates, {"spine": covariance}, every_subset)
        assert Evidence.from_run(*frames, trained=trained).shared_start == shares
    assert not evidence.has(moco._replace(epochs=50))


def test_an_auroc_on_a_further_subset_is_the_mean_of_its_folds(tmp_path):
    names = {"target": "spine", "source": "none", "mode": "linear", "percent": "1", "epochs": 100}
    for fold, aurocs in ((1, [0.6, 0.8]), (2, [0.7, 0.7])):
        frame = pd.DataFrame({"subset": [4, 5], "replicate": [1, 2], "auroc": aurocs, "fold": fold})
        frame.assign(**names).to_parquet(tmp_path / f"fold{fold}.parquet")
    extra = read_extra(sorted(tmp_path.iterdir()))
    assert extra[["subset", "replicate"]].to_numpy().tolist() == [[4, 1], [5, 2]]
    assert extra["auroc"].tolist() == pytest.approx([0.65, 0.75])
    alone = read_extra([tmp_path / "fold2.parquet"])
    assert alone["auroc"].tolist() == [0.7, 0.7] and alone["epochs"].tolist() == [100, 100]


def test_published_tables_give_independent_errors_from_their_quantiles(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(
        "target,percent,n_labeled,mode,source,auroc_median,q05,q95\n"
        "spine,0.10,58,linear,spine,0.698,0.683,0.714\nspine,0.10,58,linear,chest,0.678,0.665,0.694\n"
    )
    evidence = Evidence.from_tables(read_reference(path))
    assert evidence.percents("spine") == ["0.10"]
    spine, chest = (EstimateKey("spine", source, "linear", "0.10") for source in ("spine", "chest"))
    contrast = evidence.contrast({spine: 1.0, chest: -1.0})
    se = np.hypot(0.714 - 0.683, 0.694 - 0.665) / (2 * 1.6448536)
    assert (contrast.effect, contrast.se, contrast.subsets) == pytest.approx((0.02, se, 0))
    assert contrast.effect / contrast.se == pytest.approx(1.55, abs=0.01)


def test_holm_on_a_worked_example():
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    with_gap = holm([0.01, np.nan, 0.04])
    assert np.isnan(with_gap[1])
    assert with_gap[[0, 2]].tolist() == pytest.approx([0.02, 0.04])


@given(P_VALUES, st.floats(0.001, 0.2))
def test_holm_rejects_what_its_step_down_procedure_rejects(p, level):
    rejected = set()
    for step, i in enumerate(np.argsort(p, kind="stable")):
        if p[i] * (len(p) - step) >= level:
            break
        rejected.add(int(i))
    assert set(np.flatnonzero(holm(p) < level).tolist()) == rejected


@given(P_VALUES)
def test_all_is_the_intersection_union_test_and_some_is_bonferroni(p):
    m = len(p)
    assert at_least(p, required("all", m)) == max(p)
    assert at_least(p, required("some", m)) == pytest.approx(min(1.0, m * min(p)))
    assert m / 2 < required("most", m) <= m / 2 + 1


def test_a_claim_with_one_true_hypothesis_too_few_is_rarely_supported():
    """In 2,000 families with one true hypothesis too few for the claim, errors stay near the level."""
    generator = np.random.default_rng(0)
    for u, true in ((3, 2), (2, 1), (1, 0)):
        p = generator.random((2000, 3))
        p[:, :true] = 0.0
        assert np.mean([at_least(each, u) < 0.05 for each in p]) < 0.065


def test_verdicts():
    assert verdict(0.01, 0.99, 0.05) == "supported"
    assert verdict(0.99, 0.01, 0.05) == "not supported"
    assert verdict(0.3, 0.7, 0.05) == "undecided"
    assert verdict(float("nan"), float("nan"), 0.05) == "cannot be tested"
