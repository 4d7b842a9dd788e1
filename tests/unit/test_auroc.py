"""AUROC against counting every pair, and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_predictions import published_predictions
from sklearn.metrics import roc_auc_score

from moco_transfer.statistics.auroc import auroc, auroc_by_class, average, positives_by_class

SAMPLES = st.lists(st.tuples(st.sampled_from([0.0, 1.0, np.nan]), st.integers(-3, 3)), max_size=40)


def pair_counting(labels: np.ndarray, scores: np.ndarray) -> float:
    wins = [
        1.0 if p > n else 0.5 if p == n else 0.0 for p in scores[labels == 1] for n in scores[labels == 0]
    ]
    return float(np.mean(wins)) if wins else float("nan")


@given(SAMPLES)
def test_equals_the_count_of_pairs_with_ties_and_masked_labels(sample):
    labels, scores = np.array(sample, dtype=float).reshape(-1, 2).T
    np.testing.assert_allclose(auroc(labels, scores), pair_counting(labels, scores), rtol=1e-14)


def test_equals_scikit_learn_on_float32_scores():
    generator = np.random.default_rng(0)
    labels = (generator.random((500, 3)) < [0.05, 0.4, 0.9]).astype(np.float32)
    scores = np.round(generator.normal(size=(500, 3)) + labels, 1).astype(np.float32)
    np.testing.assert_allclose(
        auroc_by_class(labels, scores), roc_auc_score(labels, scores, average=None), rtol=1e-12
    )
    for how in ("weighted", "macro"):
        ours = average(auroc_by_class(labels, scores), positives_by_class(labels), how)
        assert ours == pytest.approx(roc_auc_score(labels, scores, average=how), rel=1e-12)


def test_equals_scikit_learn_on_a_thousand_random_cases():
    """Few and many ties, constant scores, and classes with one positive or one negative among hundreds."""
    generator = np.random.default_rng(1)
    for case in range(1000):
        n = int(generator.integers(2, 300))
        positives = [1, n - 1, int(generator.integers(1, n))][case % 3]
        labels = generator.permutation(np.arange(n) < positives).astype(np.float32)
        scores = generator.normal(size=n) + labels
        distinct = [1, 2, 5, 50, None][case % 5]
        if distinct is not None:
            scores = np.floor(scores * distinct / 5) if distinct > 1 else np.zeros(n)
        assert auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_averages_equal_scikit_learn_on_random_cases():
    """Two to six classes, from one positive to all but one, with ties."""
    generator = np.random.default_rng(2)
    for case in range(200):
        n, classes = int(generator.integers(2, 120)), int(generator.integers(2, 7))
        prevalent = np.where(
            generator.random(classes) < 0.3, [1, n - 1][case % 2], generator.integers(1, n, classes)
        )
        labels = np.stack([generator.permutation(np.arange(n) < each) for each in prevalent], axis=1)
        scores = np.round(generator.normal(size=(n, classes)) + labels, case % 3)
        by_class, positives = auroc_by_class(labels, scores), positives_by_class(labels)
        np.testing.assert_allclose(by_class, roc_auc_score(labels, scores, average=None), rtol=0, atol=1e-12)
        for how in ("weighted", "macro"):
            expected = roc_auc_score(labels, scores, average=how)
            assert float(average(by_class, positives, how)) == pytest.approx(expected, rel=0, abs=1e-12)


@pytest.mark.parametrize("kind", [bool, np.int64, np.float32])
def test_equals_scikit_learn_at_the_size_of_published_predictions(kind):
    """22,433 radiographs, 14 labels from rare to common, float32 scores of three decimals: thousands of ties."""
    labels, scores = published_predictions(22_433)
    by_class = auroc_by_class(labels.astype(kind), scores)
    np.testing.assert_allclose(by_class, roc_auc_score(labels, scores, average=None), rtol=0, atol=1e-12)
    positives = positives_by_class(labels.astype(kind))
    assert positives.tolist() == labels.sum(axis=0).tolist()
    for how in ("weighted", "macro"):
        expected = roc_auc_score(labels, scores, average=how)
        assert float(average(by_class, positives, how)) == pytest.approx(expected, rel=0, abs=1e-12)


def test_a_class_with_one_value_has_none_and_is_left_out_of_the_average():
    labels = np.array([[1, 1, 0], [1, 0, 1], [1, 1, 0], [1, 0, 0]], dtype=float)
    scores = np.array([[1, 4, 1], [2, 3, 2], [3, 2, 3], [4, 1, 4]], dtype=float)
    by_class = auroc_by_class(labels, scores)
    assert np.isnan(by_class[0])
    np.testing.assert_allclose(by_class[1:], [3 / 4, 1 / 3])
    positives = positives_by_class(labels)
    assert positives.tolist() == [4, 2, 1]
    assert average(by_class, positives, "weighted") == pytest.approx((2 * 3 / 4 + 1 * 1 / 3) / 3)
    assert average(by_class, positives, "macro") == pytest.approx((3 / 4 + 1 / 3) / 2)
    assert np.isnan(average(np.array([np.nan]), np.array([4]), "weighted"))


def test_a_masked_label_does_not_count_as_negative_or_positive():
    labels = np.array([1.0, 0.0, np.nan, np.nan])
    assert auroc(labels, np.array([2.0, 1.0, 0.0, 3.0])) == 1.0
    assert positives_by_class(labels[:, None]).tolist() == [1]


def test_a_score_that_is_nan_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        auroc(np.array([0.0, 1.0]), np.array([0.0, np.nan]))
