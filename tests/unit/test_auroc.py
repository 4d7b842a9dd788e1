"""AUROCs against scikit-learn; influence functions against DeLong, derivatives and the bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_predictions import published_predictions
from scipy.special import ndtri
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from moco_transfer.statistics.auroc import (
    auroc,
    auroc_by_class,
    auroc_influence,
    average,
    average_auroc,
    influence_by_class,
    influence_covariance,
    positives_by_class,
    standard_errors,
)
from moco_transfer.statistics.bootstrap import bootstrap_auroc, resample_counts

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


def test_equals_scikit_learn_on_random_cases():
    """Two to six classes, from one positive to all but one, with few or many ties or constant scores."""
    generator = np.random.default_rng(2)
    for case in range(200):
        n, classes = int(generator.integers(2, 120)), int(generator.integers(2, 7))
        prevalent = np.where(
            generator.random(classes) < 0.3, [1, n - 1][case % 2], generator.integers(1, n, classes)
        )
        labels = np.stack([generator.permutation(np.arange(n) < each) for each in prevalent], axis=1)
        scores = np.round(generator.normal(size=(n, classes)) + labels, case % 3)
        scores[:, 0] *= case % 5 > 0
        expect_scikit_learns(labels.astype(np.float32), scores)


@pytest.mark.parametrize("kind", [bool, np.int64, np.float32])
def test_equals_scikit_learn_at_the_size_of_published_predictions(kind):
    """22,433 radiographs, 14 labels from rare to common, scores of three decimals with thousands of ties."""
    labels, scores = published_predictions(22_433)
    expect_scikit_learns(labels.astype(kind), scores)
    assert positives_by_class(labels.astype(kind)).tolist() == labels.sum(axis=0).tolist()


def expect_scikit_learns(labels: np.ndarray, scores: np.ndarray) -> None:
    expected = roc_auc_score(labels, scores, average=None)
    np.testing.assert_allclose(auroc_by_class(labels, scores), expected, rtol=0, atol=1e-12)
    for how in ("weighted", "macro"):
        expected = roc_auc_score(labels, scores, average=how)
        assert average_auroc(labels, scores, how) == pytest.approx(expected, rel=0, abs=1e-12)


def test_a_class_with_one_value_has_no_auroc_and_is_left_out_of_the_average():
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


def sample(n: int, seed: int, classes: int = 3, models: int = 2, masked: float = 0.0):
    generator = np.random.default_rng(seed)
    labels = (generator.random((n, classes)) < np.linspace(0.15, 0.6, classes)).astype(float)
    shared = generator.normal(size=(n, classes)) + labels
    scores = np.round(shared + 0.7 * generator.normal(size=(models, n, classes)), 1)
    labels[generator.random(labels.shape) < masked] = np.nan
    return labels, scores


def delong_covariance(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """DeLong, DeLong and Clarke-Pearson 1988, equations 5 to 7, over all pairs. ``scores`` [models, n]."""
    wins = [
        (s[labels == 1][:, None] > s[labels == 0]) + 0.5 * (s[labels == 1][:, None] == s[labels == 0])
        for s in scores
    ]
    by_positive = np.cov([w.mean(axis=1) for w in wins])
    by_negative = np.cov([w.mean(axis=0) for w in wins])
    return by_positive / (labels == 1).sum() + by_negative / (labels == 0).sum()


def test_the_influence_on_one_class_equals_delong_up_to_its_small_sample_factors():
    labels, scores = sample(3000, 1, classes=1)
    influences = np.stack([auroc_influence(labels, s, "weighted") for s in scores])
    ours = influence_covariance(influences, np.arange(len(labels)))
    # DeLong divides by P - 1 and N - 1, we by P and N with n / (n - 1): apart by 1 / P at most.
    np.testing.assert_allclose(
        ours, delong_covariance(labels[:, 0], scores[:, :, 0]), rtol=2 / (labels == 1).sum()
    )


def test_standard_errors_equal_delongs_by_ranks_at_the_size_of_published_predictions():
    """Placements from midranks (Sun and Xu 2014), for 22,433 radiographs, 14 labels and many ties."""
    labels, scores = published_predictions(22_433)
    n = len(labels)
    se = standard_errors(influence_by_class(labels, scores).T, np.arange(n))
    for k in range(14):
        one, zero = scores[labels[:, k], k], scores[~labels[:, k], k]
        ranks = rankdata(np.concatenate([one, zero]))
        by_positive = (ranks[: len(one)] - rankdata(one)) / len(zero)
        by_negative = 1 - (ranks[len(one) :] - rankdata(zero)) / len(one)
        delong = np.var(by_positive, ddof=1) / len(one) + np.var(by_negative, ddof=1) / len(zero)
        assert se[k] == pytest.approx(np.sqrt(delong), rel=1 / len(one))
        same = np.var(by_positive) / len(one) + np.var(by_negative) / len(zero)
        assert se[k] == pytest.approx(np.sqrt(same * n / (n - 1)), rel=1e-12)


@pytest.mark.parametrize("how", ["weighted", "macro"])
def test_the_influence_is_the_derivative_of_the_estimate_in_the_weight_of_an_image(how):
    labels, scores = sample(60, 2, masked=0.1)

    def estimate(weights: np.ndarray) -> float:
        values, positives = [], []
        for k in range(labels.shape[1]):
            one, zero = labels[:, k] == 1, labels[:, k] == 0
            s = scores[0, :, k]
            wins = (s[one][:, None] > s[zero]) + 0.5 * (s[one][:, None] == s[zero])
            pairs = np.outer(weights[one], weights[zero])
            values.append((wins * pairs).sum() / pairs.sum())
            positives.append(weights[one].sum())
        return float(np.average(values, weights=positives if how == "weighted" else None))

    influence = auroc_influence(labels, scores[0], how)
    step = 1e-5
    for i in range(60):
        nudge = np.zeros(60)
        nudge[i] = step
        slope = (estimate(1 + nudge) - estimate(1 - nudge)) / (2 * step)
        assert influence[i] / 60 == pytest.approx(slope, abs=1e-8)
    assert influence.sum() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("unit", ["image", "patient"])
def test_the_standard_error_of_a_paired_difference_equals_that_of_the_bootstrap(unit):
    labels, scores = sample(400, 3)
    patients = np.arange(400) // 4
    generator = np.random.default_rng(0)
    scores = scores + generator.normal(size=(2, 100, 3))[:, patients]  # a patient's images err together
    units = patients if unit == "patient" else np.arange(400)
    influences = np.stack([auroc_influence(labels, s, "weighted") for s in scores])
    covariance = influence_covariance(influences, units)
    counts = resample_counts(units, 10_000, 1, "test")
    replicates = np.stack([bootstrap_auroc(labels, s[None], counts, "weighted") for s in scores])
    bootstrap = np.cov(replicates)
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), np.sqrt(np.diag(bootstrap)), rtol=0.05)
    difference = np.sqrt([[1, -1] @ c @ [1, -1] for c in (covariance, bootstrap)])
    assert difference[0] == pytest.approx(difference[1], rel=0.05)


def test_images_that_are_counted_twice_add_no_information():
    labels, scores = sample(200, 4)
    once = influence_covariance(auroc_influence(labels, scores[0], "weighted")[None], np.arange(200))
    twice = influence_covariance(
        auroc_influence(np.tile(labels, (2, 1)), np.tile(scores[0], (2, 1)), "weighted")[None],
        np.tile(np.arange(200), 2),
    )
    np.testing.assert_allclose(twice, once, rtol=1e-12)
    assert np.isnan(standard_errors(np.ones((2, 5)), np.zeros(5))).all()  # one patient alone


def test_a_class_without_an_auroc_does_not_move_the_average():
    labels, scores = sample(100, 5)
    with_empty = np.column_stack([labels, np.zeros(100)])
    influence = auroc_influence(with_empty, np.column_stack([scores[0], scores[0][:, 0]]), "weighted")
    np.testing.assert_allclose(influence, auroc_influence(labels, scores[0], "weighted"), rtol=1e-12)
    assert np.isnan(auroc_influence(np.ones((5, 1)), np.arange(5.0)[:, None], "weighted")).all()


def test_the_influence_by_class_equals_that_of_each_class_alone():
    labels, scores = sample(80, 8, masked=0.1)
    with_empty = np.column_stack([labels, np.ones(80)])
    by_class = influence_by_class(with_empty, np.column_stack([scores[0], scores[0][:, 0]]))
    for k in range(3):
        alone = auroc_influence(labels[:, k : k + 1], scores[0][:, k : k + 1], "macro")
        np.testing.assert_array_equal(by_class[:, k], alone)
    assert (by_class[:, :3][np.isnan(labels)] == 0).all() and np.isnan(by_class[:, 3]).all()


def test_equally_good_models_differ_significantly_as_rarely_as_the_level_says():
    """200 test sets of 100 patients with 3 images, two equally good models, at a two-sided 10%."""
    generator = np.random.default_rng(6)
    rejected = 0
    for _ in range(200):
        labels = np.repeat(generator.random((100, 1)) < 0.4, 3, axis=0).astype(float)
        own = np.repeat(generator.normal(size=(2, 100, 1)), 3, axis=1) + generator.normal(size=(2, 300, 1))
        scores = labels + own
        influences = np.stack([auroc_influence(labels, s, "weighted") for s in scores])
        covariance = influence_covariance(influences, np.repeat(np.arange(100), 3))
        difference = auroc(labels[:, 0], scores[0, :, 0]) - auroc(labels[:, 0], scores[1, :, 0])
        rejected += abs(difference) / np.sqrt([1, -1] @ covariance @ [1, -1]) > ndtri(0.95)
    assert 8 <= rejected <= 34  # a binomial of 200 and 0.1 lies outside with probability below 0.001
