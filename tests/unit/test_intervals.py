"""The logit interval against its formula, its symmetries, and a bootstrap of many replicates."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student

from moco_transfer.statistics.auroc import auroc_by_class, influence_by_class, standard_errors
from moco_transfer.statistics.bootstrap import (
    bootstrap_by_class,
    logit_interval,
    rarer_units,
    resample_counts,
)


def test_equals_the_formula_by_hand():
    lower, upper = logit_interval(0.9, 0.03, 20, [2.5, 97.5])
    reach = student.ppf(0.975, 19) * 0.03 * np.sqrt(20 / 19) / 0.09
    odds = 9 * np.exp([-reach, reach])
    assert [lower, upper] == pytest.approx((odds / (1 + odds)).tolist(), rel=1e-12)


def test_exchanging_the_labels_mirrors_it_and_it_stays_within_0_and_1():
    aurocs = np.array([0.5, 0.7, 0.95, 0.99])
    lower, upper = logit_interval(aurocs, 0.03, 15, [5, 95])
    mirrored = logit_interval(1 - aurocs, 0.03, 15, [5, 95])
    np.testing.assert_allclose(mirrored, [1 - upper, 1 - lower], atol=1e-12)
    assert (lower > 0).all() and (lower < aurocs).all() and (aurocs < upper).all() and (upper < 1).all()
    assert (aurocs - lower > upper - aurocs)[1:].all()


def test_fewer_positives_widen_it_at_the_same_standard_error():
    lower, upper = logit_interval(np.full(3, 0.8), 0.05, np.array([200, 20, 5]), [5, 95])
    assert (np.diff(lower) < 0).all() and (np.diff(upper) > 0).all()


@pytest.mark.parametrize(
    ("auroc", "se", "rarer"), [(1.0, 0.0, 9), (0.0, 0.0, 9), (0.8, np.nan, 9), (0.8, 0.1, 1)]
)
def test_is_unknown_where_nothing_can_be_said(auroc, se, rarer):
    assert np.isnan(logit_interval(auroc, se, rarer, [5, 95])).all()


def test_the_rarer_label_is_counted_in_units_without_masked_images():
    labels = np.array([[1, 1], [1, 0], [0, np.nan], [0, 0], [np.nan, 0]])
    assert rarer_units(labels, np.array(["a", "a", "b", "c", "d"])).tolist() == [1, 1]
    assert rarer_units(labels, np.arange(5)).tolist() == [2, 1]
    assert rarer_units(np.ones((5, 1)), np.arange(5)).tolist() == [0]


def test_agrees_with_the_percentiles_of_10_000_replicates_where_positives_are_many():
    """Patients of four images; on the logit scale, where both should be near normal, ends differ by a tenth of the reach."""
    generator = np.random.default_rng(3)
    patients = np.arange(1200) // 4
    labels = (generator.random(300) < [[0.3], [0.5]])[:, patients].T.astype(float)
    scores = labels + generator.normal(size=(300, 2))[patients] + generator.normal(size=labels.shape)
    aurocs = auroc_by_class(labels, scores)
    se = standard_errors(influence_by_class(labels, scores).T, patients)
    logit = np.array(logit_interval(aurocs, se, rarer_units(labels, patients), [5, 95]))
    counts = resample_counts(patients, 10_000, 1, "test")
    replicates, _ = bootstrap_by_class(labels, scores, counts)
    percentile = np.percentile(replicates, [5, 95], axis=0)
    np.testing.assert_allclose(logit, percentile, atol=0.1 * np.ptp(percentile, axis=0).min() / 2)
