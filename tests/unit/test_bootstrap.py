"""The bootstrap against repeating the drawn images; the logit interval against its formula."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from scipy.stats import t as student

from moco_transfer.statistics.auroc import (
    auroc_by_class,
    average_auroc,
    influence_by_class,
    standard_errors,
)
from moco_transfer.statistics.bootstrap import (
    bootstrap_auroc,
    bootstrap_by_class,
    logit_interval,
    rarer_units,
    resample_counts,
)


def multilabel_sample(n: int, subsets: int, decimals: int = 1, masked: float = 0.0):
    generator = np.random.default_rng(n)
    labels = (generator.random((n, 3)) < [0.1, 0.4, 0.8]).astype(np.float32)
    scores = np.round(generator.normal(size=(subsets, n, 3)) + labels, decimals).astype(np.float32)
    labels[generator.random(labels.shape) < masked] = np.nan
    return labels, scores


@pytest.mark.parametrize("how", ["weighted", "macro"])
def test_equals_repeating_the_drawn_images(how):
    labels, scores = multilabel_sample(80, subsets=2, masked=0.1)
    counts = resample_counts(np.arange(80), 40, 7, "test")
    naive = []
    for drawn in counts.T:
        rows = np.repeat(np.arange(80), drawn)
        naive.append(np.mean([average_auroc(labels[rows], each[rows], how) for each in scores]))
    np.testing.assert_allclose(bootstrap_auroc(labels, scores, counts, how), naive, rtol=1e-13)


def test_a_class_lost_in_a_resample_is_left_out_and_the_resample_sets_the_weights():
    labels = np.array([[1, 1], [0, 1], [0, 0], [0, 0]], dtype=float)
    scores = np.array([[[2, 2], [1, 1], [3, 1], [0, 0]]], dtype=float)
    counts = np.array([[0, 2, 0], [1, 1, 0], [1, 1, 2], [2, 0, 2]], dtype=np.uint16)
    # First: class 0 has lost its positive; class 1's positive scores 1, against 1 (tied), 0 and 0. Second:
    # class 0 wins 1 of 2 pairs; class 1 has 3 positives, winning 2 x 1 and tying 1 of 3. Third: nothing is
    # left.
    expected = [(0.5 + 2) / 3, (2 * 0.5 + 3 * (2.5 / 3)) / 5, np.nan]
    np.testing.assert_allclose(bootstrap_auroc(labels, scores, counts, "weighted"), expected)


def test_as_many_units_are_drawn_as_there_are_and_patients_as_a_whole():
    images = resample_counts(np.array([f"i{k}" for k in range(50)]), 200, 1, "bootstrap", "spine")
    assert images.dtype == np.uint16 and images.shape == (50, 200)
    assert (images.sum(axis=0) == 50).all()
    assert images.mean() == 1 and images.var() == pytest.approx(1 - 1 / 50, rel=0.1)
    patients = np.repeat(["a", "b", "c"], [1, 2, 3])
    counts = resample_counts(patients, 20, 1, "bootstrap", "spine")
    assert (counts[1] == counts[2]).all() and (counts[3] == counts[5]).all()
    assert (counts[[0, 1, 3]].sum(axis=0) == 3).all()


def test_counts_depend_on_the_ids_and_the_stream_but_not_on_the_order_of_rows():
    ids = np.array([f"i{k}" for k in range(30)])
    shuffled = np.random.default_rng(0).permutation(30)
    first = resample_counts(ids, 5, 2023, "bootstrap", "spine")
    np.testing.assert_array_equal(
        resample_counts(ids[shuffled], 5, 2023, "bootstrap", "spine"), first[shuffled]
    )
    assert not np.array_equal(resample_counts(ids, 5, 2023, "bootstrap", "chest"), first)
    assert not np.array_equal(resample_counts(ids, 5, 2024, "bootstrap", "spine"), first)


def test_the_first_replicates_do_not_depend_on_the_number_of_replicates():
    many = resample_counts(np.arange(40), 70, 1, "test")
    np.testing.assert_array_equal(resample_counts(np.arange(40), 33, 1, "test"), many[:, :33])


def test_the_number_of_threads_changes_no_bit(monkeypatch):
    labels, scores = multilabel_sample(300, subsets=2, masked=0.1)
    counts = resample_counts(np.arange(300), 30, 5, "test")
    results = []
    for threads in (1, 3):
        monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", threads)
        results.append(bootstrap_auroc(labels, scores, counts, "weighted"))
    assert results[0].tobytes() == results[1].tobytes()


def test_the_logit_interval_equals_the_formula_by_hand():
    lower, upper = logit_interval(0.9, 0.03, 20, [2.5, 97.5])
    reach = student.ppf(0.975, 19) * 0.03 * np.sqrt(20 / 19) / 0.09
    odds = 9 * np.exp([-reach, reach])
    assert [lower, upper] == pytest.approx((odds / (1 + odds)).tolist(), rel=1e-12)


def test_swapping_the_labels_mirrors_the_logit_interval_which_stays_within_0_and_1():
    aurocs = np.array([0.5, 0.7, 0.95, 0.99])
    lower, upper = logit_interval(aurocs, 0.03, 15, [5, 95])
    mirrored = logit_interval(1 - aurocs, 0.03, 15, [5, 95])
    np.testing.assert_allclose(mirrored, [1 - upper, 1 - lower], atol=1e-12)
    assert (lower > 0).all() and (lower < aurocs).all() and (aurocs < upper).all() and (upper < 1).all()
    assert (aurocs - lower > upper - aurocs)[1:].all()


def test_fewer_positives_widen_the_logit_interval_at_the_same_standard_error():
    lower, upper = logit_interval(np.full(3, 0.8), 0.05, np.array([200, 20, 5]), [5, 95])
    assert (np.diff(lower) < 0).all() and (np.diff(upper) > 0).all()


@pytest.mark.parametrize(
    ("auroc", "se", "rarer"), [(1.0, 0.0, 9), (0.0, 0.0, 9), (0.8, np.nan, 9), (0.8, 0.1, 1)]
)
def test_the_logit_interval_is_nan_if_it_cannot_be_computed(auroc, se, rarer):
    assert np.isnan(logit_interval(auroc, se, rarer, [5, 95])).all()


def test_the_rarer_label_is_counted_in_units_without_masked_images():
    labels = np.array([[1, 1], [1, 0], [0, np.nan], [0, 0], [np.nan, 0]])
    assert rarer_units(labels, np.array(["a", "a", "b", "c", "d"])).tolist() == [1, 1]
    assert rarer_units(labels, np.arange(5)).tolist() == [2, 1]
    assert rarer_units(np.ones((5, 1)), np.arange(5)).tolist() == [0]


def test_the_logit_interval_agrees_with_the_percentiles_of_10_000_replicates_of_many_positives():
    """With patients of four images, the ends differ by at most a tenth of the reach."""
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
