"""The variance between encoders, by least squares, by hand and by simulation; contrasts whose sources have several encoders."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from moco_transfer.statistics.components import FAIR, encoder_variance, fairness, scatter_within
from moco_transfer.statistics.evidence import EstimateKey, Evidence, difference


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)


def key(source: str, percent: str = "10") -> EstimateKey:
    return EstimateKey("spine", source, "linear", percent)


def evidence(
    values: dict[str, np.ndarray], encoders: dict[str, list[int]], averaged: int | None = None
) -> Evidence:
    """Return AUROCs by subset of each source at each percentage, [percentages, subsets] or [subsets], without patients' variance."""
    rows = {
        key(source, percent): row
        for source, table in values.items()
        for percent, row in zip(("10", "40"), np.atleast_2d(table), strict=False)
    }
    averaged = averaged or len(next(iter(rows.values())))
    return Evidence(
        {each: float(np.mean(row[:averaged])) for each, row in rows.items()},
        {},
        {each: dict(enumerate(row, 1)) for each, row in rows.items()},
        n_averaged=dict.fromkeys(rows, averaged),
        encoders={source: dict(enumerate(met, 1)) for source, met in encoders.items()},
    )


def residual_sum(values: np.ndarray, *factors: np.ndarray) -> float:
    """Return the sum of squares that least squares leaves of ``values`` [n], given the levels of each of ``factors`` [n]."""
    design = np.hstack([pd.get_dummies(each, dtype=float).to_numpy() for each in factors])
    return float(((values - design @ np.linalg.lstsq(design, values, rcond=None)[0]) ** 2).sum())


@pytest.mark.parametrize("sources", [2, 3, 5])
@pytest.mark.parametrize(("encoders", "each"), [(2, 3), (3, 2), (3, 7)])
def test_with_equal_groups_it_is_the_analysis_of_variance_by_least_squares(random, sources, encoders, each):
    """Expected mean squares: between encoders, each * variance + noise of one subset; within them, that noise."""
    met = np.tile(np.arange(encoders), each)
    values = random.normal(size=(sources, 1)) + random.normal(size=(sources, len(met)))
    values += random.normal(size=(sources, encoders))[:, met]
    flat, cells = values.ravel(), [np.repeat(np.arange(sources), len(met)), np.tile(met, sources)]
    subset = np.tile(np.arange(len(met)), sources)
    within = residual_sum(flat, subset, cells[0] * encoders + cells[1])
    between = residual_sum(flat, cells[0], subset) - within
    df, df_within = (sources - 1) * (encoders - 1), (sources - 1) * (len(met) - encoders)
    found = encoder_variance(values, met, True)
    expected = (between / df - within / df_within) / each
    assert found.variance == pytest.approx(max(expected, 0), abs=1e-12)
    assert found.noise == pytest.approx(within / df_within / each)
    assert (found.df, found.sources) == (df, sources)


def test_of_one_source_it_is_the_one_way_analysis():
    groups = [[0.9, 0.8, 0.7], [0.2, 0.3, 0.4]]
    found = encoder_variance(np.ravel(groups, "F")[None], np.tile([1, 2], 3), True)
    f = stats.f_oneway(*groups).statistic
    assert (found.variance + found.noise) / found.noise == pytest.approx(f)
    assert found.noise == pytest.approx(0.01 / 3) and found.df == 1 and np.isnan(found.fair)


@pytest.mark.parametrize("met", [[1, 2] * 3, [1, 2, 1, 2, 1], [1, 2, 3, 1, 2, 3, 1], [1, 2, 3, 1]])
def test_with_unequal_groups_it_is_right_on_average_whatever_the_subsets_share(random, met):
    """Variances 4 between encoders and 1 within; what sources share in a subset or in an encoder's group drops out."""
    met = np.array(met)
    found = []
    for _ in range(4000):
        values = 2 * random.normal(size=(4, 3))[:, met - 1] + random.normal(size=(4, len(met)))
        values += 5 * random.normal(size=len(met)) + 5 * random.normal(size=3)[met - 1]
        found.append(encoder_variance(values, met, True))
    # Cutting off at zero is left out: it hardly ever happens here.
    assert np.mean([each.variance for each in found]) == pytest.approx(4, rel=0.06)
    sizes = np.unique(met, return_counts=True)[1]
    assert np.mean([each.noise for each in found]) == pytest.approx(np.mean(1 / sizes), rel=0.06)


def test_what_sources_share_counts_unless_only_differences_matter(random):
    met, shared = np.tile([1, 2, 3], 3), np.array([-1.0, 0.0, 1.0])
    values = shared[met - 1] + 0.01 * random.normal(size=(4, 9))
    assert encoder_variance(values, met, True).variance < 1e-3
    assert encoder_variance(values, met, False).variance == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("encoders", [2, 3])
def test_the_test_of_fair_pooling_has_its_level_and_finds_one_source_that_scatters_more(random, encoders):
    p = []
    for more in (1, 30):
        for _ in range(2000):
            means = random.normal(size=(5, encoders)) + 10 * random.normal(size=encoders)
            means[2] += (more - 1) * random.normal(size=encoders)
            p.append(fairness(means))
    fair, unfair = np.reshape(p, (2, 2000))
    assert 0.03 < np.mean(fair < 0.05) < 0.065
    assert np.mean(unfair < 0.05) > (0.8 if encoders == 2 else 0.95)


def test_with_three_sources_fairness_is_the_f_test_of_a_difference_from_the_mean_of_two():
    means = np.array([[0.1, 0.9, 0.3], [0.5, 0.4, 0.2], [0.7, 0.6, 0.5]])
    p = []
    for k, (a, b) in enumerate([(1, 2), (0, 2), (0, 1)]):
        own = np.var(means[k] - (means[a] + means[b]) / 2, ddof=1) / 1.5
        others = np.var(means[a] - means[b], ddof=1) / 2
        p.append(stats.f.sf(own / others, 2, 2))
    assert fairness(means) == pytest.approx(min(3 * min(p), 1))


def paired(
    random: np.random.Generator, sources: int = 4, met: list[int] | None = None
) -> tuple[dict[str, np.ndarray], list[int]]:
    met = met or [1, 2, 3] * 3
    values = {
        f"source{k}": 0.7
        + 0.02 * random.normal(size=3)[np.array(met) - 1]
        + 0.01 * random.normal(size=len(met))
        for k in range(sources)
    }
    return values, met


def between(values: np.ndarray, met: np.ndarray) -> float:
    """Return the variance between the encoders that ``values`` meet, in groups of equal size, by a one-way analysis of variance."""
    groups = np.array([values[met == each] for each in np.unique(met)])
    return float(groups.mean(axis=1).var(ddof=1) - groups.var(axis=1, ddof=1).mean() / groups.shape[1])


def test_what_the_own_encoders_show_counts_if_it_is_more(random):
    values, met = paired(random)
    values["source0"] = values["source0"] + 0.05 * np.array([-1, 0, 1] * 3)
    contrast = evidence(values, dict.fromkeys(values, met)).contrast(
        difference("spine", "linear", "10", "source0", "source1")
    )
    pooled = encoder_variance(np.array(list(values.values())), np.array(met), True)
    assert pooled.fair > FAIR  # the test of equal scatter does not see it
    own = between(values["source0"] - values["source1"], np.array(met))
    assert contrast.encoders == pytest.approx(own / 3) and own > 2 * pooled.variance
    assert contrast.encoder_df == 6
    # Two other sources are pooled as before.
    others = evidence(values, dict.fromkeys(values, met)).contrast(
        difference("spine", "linear", "10", "source2", "source3")
    )
    assert others.encoders == pytest.approx(2 * pooled.variance / 3)


def test_two_sources_have_twice_the_pooled_variance_by_the_share_of_each_encoder(random):
    values, met = paired(random)
    whole = evidence(values, dict.fromkeys(values, met))
    contrast = whole.contrast(difference("spine", "linear", "10", "source0", "source1"))
    pooled = encoder_variance(np.array(list(values.values())), np.array(met), True)
    assert contrast.encoders == pytest.approx(2 * pooled.variance / 3) and contrast.encoder_df == 6
    scatter, df = scatter_within(values["source0"] - values["source1"], np.array(met))
    assert (contrast.subsets, contrast.subset_df) == (pytest.approx(scatter / 9), df) and df == 6
    # Of 21 subsets only 4 are averaged, which meet three encoders two, one and one times.
    values, met = paired(random, met=[1, 2, 3] * 7)
    few = evidence(values, dict.fromkeys(values, met), averaged=4)
    contrast = few.contrast(difference("spine", "linear", "10", "source0", "source1"))
    pooled = encoder_variance(np.array(list(values.values())), np.array(met), True)
    # The own encoders of these two differ more than the pool says.
    own = between(values["source0"] - values["source1"], np.array(met))
    assert own > 2 * pooled.variance and contrast.encoders == pytest.approx(own * (0.25 + 2 * 0.0625))
    scatter, _ = scatter_within(values["source0"] - values["source1"], np.array(met))
    assert (contrast.subsets, contrast.subset_df) == (pytest.approx(scatter / 4), 18)


def test_given_encoders_do_not_vary_and_the_larger_estimate_counts(random):
    values, met = paired(random)
    values["given"] = 0.7 + 0.01 * random.normal(size=9)
    trained = {source: met for source in values if source != "given"}
    contrast = evidence(values, trained).contrast(difference("spine", "linear", "10", "source0", "given"))
    pooled = encoder_variance(np.array([values[source] for source in trained]), np.array(met), False)
    assert contrast.encoders == pytest.approx(pooled.variance / 3) and contrast.one_encoder == ()
    # What the encoders of one number share is no chance of theirs if all start from the same given weights.
    apart = replace(evidence(values, trained), shared_start=False).contrast(
        difference("spine", "linear", "10", "source0", "given")
    )
    pooled = encoder_variance(np.array([values[source] for source in trained]), np.array(met), True)
    assert apart.encoders == pytest.approx(pooled.variance / 3)
    one = evidence(values, trained | {"source0": [1] * 9}).contrast(
        difference("spine", "linear", "10", "source0", "given")
    )
    assert one.one_encoder == ("source0",) and one.encoders == 0 and one.subset_df == 8


def test_an_encoder_for_every_subset_is_part_of_the_scatter_between_subsets(random):
    values, met = paired(random, 3, [1, 2, 3])
    weights = difference("spine", "linear", "10", "source0", "source1")
    own = evidence(values, dict.fromkeys(values, met)).contrast(weights)
    # As before there were several encoders.
    assert own == replace(evidence(values, {}).contrast(weights), n_encoders=3)
    assert own.subset_df == 2 and own.one_encoder == ()
    # MoCo on just the labelled images: what its encoders add is in the scatter within those of the other source.
    values, met = paired(random)
    encoders = dict.fromkeys(values, met) | {"source0": list(range(1, 10))}
    limited = evidence(values, encoders).contrast(weights)
    pooled = encoder_variance(np.array(list(values.values())[1:]), np.array(met), False)
    assert limited.encoders == pytest.approx(pooled.variance / 3) and limited.encoder_df == 4


def test_one_source_between_percentages_is_pooled_over_the_same_difference_of_others(random):
    values, met = paired(random)
    table = {source: np.stack([row, random.permutation(row)]) for source, row in values.items()}
    contrast = evidence(table, dict.fromkeys(table, met)).contrast(
        {key("source0", "10"): 1.0, key("source0", "40"): -1.0}
    )
    changes = np.array([ten - forty for ten, forty in table.values()])
    pooled = encoder_variance(changes, np.array(met), False)
    assert contrast.encoders == pytest.approx(pooled.variance / 3)


def test_initial_weights_are_pooled_only_where_they_are_compared(random):
    """They add no chance to that which all sources share, so they would make the others seem to scatter less."""
    values, met = paired(random)
    values["none"] = 0.7 + 1e-3 * random.normal(size=9)
    whole = evidence(values, dict.fromkeys(values, met))
    for other, pool in (("source1", [f"source{k}" for k in range(4)]), ("none", list(values))):
        contrast = whole.contrast(difference("spine", "linear", "10", "source0", other))
        pooled = encoder_variance(np.array([values[source] for source in pool]), np.array(met), True)
        assert contrast.encoders == pytest.approx(2 * pooled.variance / 3)
        assert contrast.encoder_df == 2 * (len(pool) - 1)


@pytest.mark.parametrize("sources", ["one", "unfair"])
def test_without_a_fair_pool_the_contrasts_own_groups_count(random, sources):
    """Only one trained source, or sources whose encoders differ by very unequal amounts."""
    met = np.tile([1, 2, 3], 3)
    values = {f"source{k}": 0.7 + 1e-4 * random.normal(size=9) for k in range(5)}
    values["source0"] = values["source0"] + np.array([-0.1, 0.0, 0.1])[met - 1]
    trained = ["source0"] if sources == "one" else list(values)
    weights = difference("spine", "linear", "10", "source0", "source1")
    contrast = evidence(values, {source: list(met) for source in trained}).contrast(weights)
    own = values["source0"] - values["source1"]
    means = [own[met == k].mean() for k in (1, 2, 3)]
    assert contrast.encoders + contrast.subsets == pytest.approx(np.var(means, ddof=1) / 3)
    # All of the variance rests on three means: Student's test of their mean.
    assert (contrast.encoder_df, contrast.encoder_share) == (2, pytest.approx(1))
    assert contrast.p_above(0.0) == pytest.approx(stats.ttest_1samp(means, 0.0, alternative="greater").pvalue)


def test_one_source_whose_encoders_are_alike_keeps_the_subsets_scatter():
    met = np.tile([1, 2], 4)
    own = np.repeat([0.01, -0.01, 0.02, -0.02], 2)
    values = {"source0": 0.7 + own, "given": np.full(8, 0.7)}
    contrast = evidence(values, {"source0": list(met)}).contrast(
        difference("spine", "linear", "10", "source0", "given")
    )
    assert contrast.encoders == 0
    assert contrast.subsets == pytest.approx((own**2).sum() / 6 / 8) and contrast.subset_df == 6
    assert 0 < contrast.encoder_share <= 1


def test_without_an_auroc_nothing_is_tested(random):
    values, met = paired(random)
    values = {source: np.full(9, np.nan) for source in values}
    contrast = evidence(values, dict.fromkeys(values, met)).contrast(
        difference("spine", "linear", "10", "source0", "source1")
    )
    assert np.isnan([contrast.p_above(0.0), contrast.p_below(0.0), *contrast.interval(0.05)]).all()


def test_pairing_subsets_with_encoders_has_a_smaller_variance_than_crossing_them(random):
    """The formula of ``experiment.replicate_of``: six trainings with two encoders, E, L and T the variances 1, 2 and 0.5."""
    trials, r, s = 40_000, 2, 6
    encoder = random.normal(size=(trials, r))
    subset = np.sqrt(2) * random.normal(size=(trials, s))
    training = np.sqrt(0.5) * random.normal(size=(trials, s))
    paired_mean = (encoder[:, np.arange(s) % r] + subset + training).mean(axis=1)
    crossed = np.array(list(product(range(r), range(s // r))))
    crossed_mean = (encoder[:, crossed[:, 0]] + subset[:, crossed[:, 1]] + training).mean(axis=1)
    assert paired_mean.var() == pytest.approx(1 / r + (2 + 0.5) / s, rel=0.03)
    assert crossed_mean.var() == pytest.approx(1 / r + 2 * r / s + 0.5 / s, rel=0.03)


def test_scatter_between_encoders_is_added_to_sources_with_one(random):
    values, met = paired(random)
    weights = difference("spine", "linear", "10", "source0", "source1")
    single = evidence(values, {source: [1] * 9 for source in values})
    assert single.contrast(weights).one_encoder == ("source0", "source1")
    added = single.with_encoder_scatter(0.02).contrast(weights).variance - single.contrast(weights).variance
    assert added == pytest.approx(2 * 0.02**2)
    several = evidence(values, dict.fromkeys(values, met))
    assert several.with_encoder_scatter(0.02).contrast(weights) == several.contrast(weights)
