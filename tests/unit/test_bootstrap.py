"""The bootstrap against the naive one: repeat the drawn images, and score them with scikit-learn."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from moco_transfer.statistics.auroc import auroc_by_class, average, positives_by_class
from moco_transfer.statistics.bootstrap import bootstrap_auroc, bootstrap_by_class, resample_counts


def multilabel_sample(n: int, seeds: int, decimals: int = 1, masked: float = 0.0):
    generator = np.random.default_rng(n)
    labels = (generator.random((n, 3)) < [0.1, 0.4, 0.8]).astype(np.float32)
    scores = np.round(generator.normal(size=(seeds, n, 3)) + labels, decimals).astype(np.float32)
    labels[generator.random(labels.shape) < masked] = np.nan
    return labels, scores


@pytest.mark.parametrize("how", ["weighted", "macro"])
def test_equals_repeating_the_drawn_images(how):
    labels, scores = multilabel_sample(80, seeds=2, masked=0.1)
    counts = resample_counts(np.arange(80), 40, 7, "test")
    naive = []
    for drawn in counts.T:
        rows = np.repeat(np.arange(80), drawn)
        y = labels[rows]
        naive.append(
            np.mean([average(auroc_by_class(y, s[rows]), positives_by_class(y), how) for s in scores])
        )
    np.testing.assert_allclose(bootstrap_auroc(labels, scores, counts, how), naive, rtol=1e-13)


def test_equals_scikit_learn_with_counts_as_weights():
    labels, scores = multilabel_sample(120, seeds=1)
    counts = resample_counts(np.arange(120), 10, 3, "test")
    expected = [
        roc_auc_score(labels[:, 1], scores[0, :, 1], sample_weight=drawn.astype(float)) for drawn in counts.T
    ]
    ours = bootstrap_auroc(labels[:, 1:2], scores[:, :, 1:2], counts, "weighted")
    np.testing.assert_allclose(ours, expected, rtol=1e-12)


def test_a_class_lost_in_a_resample_is_left_out_and_weights_are_those_of_the_resample():
    labels = np.array([[1, 1], [0, 1], [0, 0], [0, 0]], dtype=float)
    scores = np.array([[[2, 2], [1, 1], [3, 1], [0, 0]]], dtype=float)
    counts = np.array([[0, 2, 0], [1, 1, 0], [1, 1, 2], [2, 0, 2]], dtype=np.uint16)
    # First: class 0 has lost its positive; class 1's positive scores 1, against 1 (tied), 0 and 0.
    # Second: class 0 wins 1 of 2 pairs; class 1 has 3 positives, winning 2 x 1 and tying 1 of 3. Third: nothing is left.
    expected = [(0.5 + 2) / 3, (2 * 0.5 + 3 * (2.5 / 3)) / 5, np.nan]
    np.testing.assert_allclose(bootstrap_auroc(labels, scores, counts, "weighted"), expected)


def test_counts_draw_as_many_units_as_there_are_and_patients_as_a_whole():
    images = resample_counts(np.array([f"i{k}" for k in range(50)]), 200, 1, "bootstrap", "spine")
    assert images.dtype == np.uint16 and images.shape == (50, 200)
    assert (images.sum(axis=0) == 50).all()
    assert images.mean() == 1 and images.var() == pytest.approx(1 - 1 / 50, rel=0.1)
    patients = np.repeat(["a", "b", "c"], [1, 2, 3])
    counts = resample_counts(patients, 20, 1, "bootstrap", "spine")
    assert (counts[1] == counts[2]).all() and (counts[3] == counts[5]).all()
    assert (counts[[0, 1, 3]].sum(axis=0) == 3).all()


def test_counts_follow_the_ids_whatever_the_order_of_rows_and_the_stream_by_name():
    ids = np.array([f"i{k}" for k in range(30)])
    shuffled = np.random.default_rng(0).permutation(30)
    first = resample_counts(ids, 5, 2023, "bootstrap", "spine")
    np.testing.assert_array_equal(
        resample_counts(ids[shuffled], 5, 2023, "bootstrap", "spine"), first[shuffled]
    )
    assert not np.array_equal(resample_counts(ids, 5, 2023, "bootstrap", "chest"), first)
    assert not np.array_equal(resample_counts(ids, 5, 2024, "bootstrap", "spine"), first)


def test_the_number_of_threads_changes_no_bit(monkeypatch):
    labels, scores = multilabel_sample(300, seeds=2, masked=0.1)
    counts = resample_counts(np.arange(300), 30, 5, "test")
    results = []
    for threads in (1, 3):
        monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", threads)
        results.append(bootstrap_auroc(labels, scores, counts, "weighted"))
    assert results[0].tobytes() == results[1].tobytes()


def test_values_by_class_are_nan_where_a_resample_has_lost_the_class():
    labels = np.array([[1, 1], [0, 0], [0, np.nan]], dtype=float)
    scores = np.array([[3, 1], [2, 2], [4, 3]], dtype=float)
    counts = np.array([[2, 0, 1], [1, 3, 1], [0, 0, 1]], dtype=np.uint16)
    values, positives = bootstrap_by_class(labels, scores, counts)
    np.testing.assert_array_equal(values, [[1, 0], [np.nan, np.nan], [0.5, 0]])
    np.testing.assert_array_equal(positives, [[2, 2], [0, 0], [1, 1]])


def test_counts_are_the_same_draws_however_many_replicates_follow():
    many = resample_counts(np.arange(40), 70, 1, "test")
    np.testing.assert_array_equal(resample_counts(np.arange(40), 33, 1, "test"), many[:, :33])
