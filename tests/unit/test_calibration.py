"""Calibration, thresholds, sensitivity and specificity, against scikit-learn, SciPy and direct counting."""

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, roc_curve

from moco_transfer.statistics.calibration import (
    BINS,
    brier_reference,
    brier_score,
    excess_probability,
    proportion,
    reliability,
    sensitivity_specificity,
    youden_threshold,
)

NINETY = [5, 95]


def sample(n=300, seed=0, masked=0.1, decimals=8):
    """Return labels [n] with some masked, and logits [n] that know something; few ``decimals`` make ties."""
    random = np.random.default_rng(seed)
    labels = (random.random(n) < 0.3).astype(np.float32)
    logits = np.round(random.normal(size=n) + 1.5 * labels - 1, decimals).astype(np.float32)
    labels[random.random(n) < masked] = np.nan
    return labels, logits


def seen(labels, *others):
    return [each[~np.isnan(labels)] for each in (labels, *others)]


def test_the_brier_score_is_scikit_learns_and_its_reference_that_of_a_constant():
    labels, logits = sample()
    true, scores = seen(labels, logits)
    assert brier_score(labels, logits) == pytest.approx(brier_score_loss(true, expit(scores.astype(float))))
    constant = np.full(len(true), true.mean())
    assert brier_reference(labels) == pytest.approx(brier_score_loss(true, constant))
    assert excess_probability(labels, logits) == pytest.approx(
        np.mean([1 / (1 + np.exp(-float(z))) for z in scores]) - np.mean(true)
    )


def test_without_a_label_there_is_no_score():
    masked = np.full(3, np.nan)
    assert np.isnan([brier_score(masked, masked), brier_reference(masked)]).all()
    assert np.isnan([excess_probability(masked, masked), proportion(np.zeros(0, bool), [], NINETY)[0]]).all()
    assert reliability(masked, np.zeros(3), np.arange(3), NINETY) == []


def test_the_reliability_curve_is_scikit_learns():
    labels, logits = sample()
    bins = reliability(labels, logits, np.arange(len(labels)), NINETY)
    true, scores = seen(labels, logits)
    observed, predicted = calibration_curve(true, expit(scores.astype(float)), n_bins=BINS)
    assert [each.probability for each in bins] == pytest.approx(predicted)
    assert [each.observed.value for each in bins] == pytest.approx(observed)
    assert sum(each.observed.images for each in bins) == len(true)


@pytest.mark.parametrize("seed, decimals", [(0, 8), (1, 0), (2, 1), (3, 0)])
def test_the_threshold_has_the_largest_j_of_scikit_learns_roc_curve(seed, decimals):
    labels, logits = sample(80, seed, decimals=decimals)
    threshold = youden_threshold(labels, logits)
    true, scores = seen(labels, logits)
    false_alarms, hits, thresholds = roc_curve(true, scores, drop_intermediate=False)
    best = np.argmax(np.round(hits - false_alarms, 12))  # the highest of equal ones
    assert threshold < thresholds[best] and not ((scores >= threshold) != (scores >= thresholds[best])).any()
    sensitivity, specificity = sensitivity_specificity(
        labels, logits, threshold, np.arange(len(labels)), NINETY
    )
    assert sensitivity.value == pytest.approx(hits[best])
    assert specificity.value == pytest.approx(1 - false_alarms[best])
    assert sensitivity.images == (true == 1).sum() and specificity.images == (true == 0).sum()


@pytest.mark.parametrize(
    "labels, logits",
    [([1, 1, np.nan], [0, 1, 2]), ([0, 0], [0, 1]), ([0, 1], [1, 1]), ([1, 0], [0, 1]), ([], [])],
)
def test_no_threshold_where_none_is_better_than_chance(labels, logits):
    assert youden_threshold(np.array(labels, float), np.array(logits, float)) is None


@pytest.mark.parametrize("hits, n", [(0, 20), (7, 20), (20, 20), (350, 400)])
def test_with_images_as_units_the_interval_is_wilsons(hits, n):
    found = proportion(np.arange(n) < hits, np.arange(n), NINETY)
    expected = binomtest(hits, n).proportion_ci(0.9, method="wilson")
    assert found.value == hits / n and found.images == n
    assert (found.lower, found.upper) == pytest.approx((expected.low, expected.high))


def test_copies_of_an_image_of_a_patient_add_nothing():
    random = np.random.default_rng(0)
    once = random.random(60) < 0.7
    single = proportion(once, np.arange(60), NINETY)
    for share in (once, np.ones(60, bool)):
        single = proportion(share, np.arange(60), NINETY)
        tripled = proportion(np.repeat(share, 3), np.repeat(np.arange(60), 3), NINETY)
        # Up to the term of order 1/n by which the variance of a mean is estimated.
        assert tripled[:3] == pytest.approx(single[:3], abs=0.002)


def test_clustered_intervals_cover_where_those_of_independent_images_do_not():
    """Patients have five images each, and differ much: a 90% interval must contain the truth in about 90% of samples."""
    random = np.random.default_rng(1)
    units, truth, covered, naive = np.repeat(np.arange(60), 5), 0.7, 0, 0
    for _ in range(300):
        own = random.beta(1.4, 0.6, 60)  # a mean of 0.7
        hits = random.random(300) < np.repeat(own, 5)
        for each, chosen in (("clustered", units), ("naive", np.arange(300))):
            found = proportion(hits, chosen, NINETY)
            inside = found.lower <= truth <= found.upper
            covered, naive = covered + (inside and each == "clustered"), naive + (inside and each == "naive")
    assert covered / 300 == pytest.approx(0.9, abs=0.05)
    assert naive / 300 < 0.82


def test_probabilities_of_a_calibrated_model_lie_on_the_diagonal():
    random = np.random.default_rng(2)
    probabilities = random.random(20_000)
    labels = (random.random(20_000) < probabilities).astype(float)
    logits = logit(probabilities)
    for each in reliability(labels, logits, np.arange(20_000), [0.01, 99.99]):
        assert each.observed.lower <= each.probability <= each.observed.upper
    assert abs(excess_probability(labels, logits)) < 0.02
    assert brier_score(labels, logits) < brier_reference(labels)
