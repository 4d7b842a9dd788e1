"""Linear heads that do not depend on the scale of the features: what they do to it, and logistic regression beside scikit-learn's."""

import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from made_up_settings import LINEAR, changed
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.preprocessing import StandardScaler

from moco_transfer.files import write_array
from moco_transfer.finetune.data import FinetuningData
from moco_transfer.finetune.linear import FeatureCache, apply_head, finetune_linear
from moco_transfer.finetune.logistic import DEFAULT, VARIANCES, Scale, chosen_variance, logistic_head
from moco_transfer.finetune.logits import class_logits
from moco_transfer.seeds import stream
from moco_transfer.training.log import MetricsLog

NAMES = (1, "test")
N, TRAIN = 120, 80


def made_up(classes=3, task="multilabel", masked=0.2):
    """Return features float32 [120, 6], and the data of a job on 80 labelled images of 40 patients, whose labels depend on the features."""
    random = np.random.default_rng(3)
    features = random.normal(size=(N, 6)) * [1, 2, 0.5, 3, 0.1, 1] + [0, 5, -1, 0, 2, 0]
    outputs = (features - features.mean(axis=0)) / features.std(axis=0) @ random.normal(size=(6, classes))
    noisy = outputs + 2 * random.gumbel(size=outputs.shape)
    if task == "multiclass":
        labels = (noisy == noisy.max(axis=1, keepdims=True)).astype(np.float32)
    else:
        labels = (noisy > 1).astype(np.float32)
        labels[random.random(labels.shape) < masked] = np.nan
    patients = [f"p{number // 2}" for number in range(N)]
    ids = pa.table({"image_id": [f"i{number}" for number in range(N)], "patient_id": patients})
    train = random.permutation(TRAIN)
    validation, test = np.arange(TRAIN, 100), np.arange(100, N)
    names = [f"class{number}" for number in range(classes)]
    return features.astype(np.float32), FinetuningData(train, validation, test, labels, names, ids, task)


def finetuned(folder, features, data, recipe, views=None, **changes):
    """Return outputs, weights and the row of the last epoch's metrics of a head on ``features`` [n, 6], and ``views`` of them."""
    stacked = [features, *(views or [])]
    write_array(np.concatenate(stacked).astype(np.float32), folder / "features.npy")
    rows = [(row, view) for view in range(len(stacked)) for row in range(len(features))]
    write_array(np.array(rows), folder / "rows.npy")
    cache = FeatureCache(folder / "features.npy", folder / "rows.npy")
    log = SimpleNamespace(rows=[], epoch=lambda **metrics: log.rows.append(metrics))
    settings = changed(LINEAR, recipe=recipe, task=data.task, **changes)
    outputs, weights = finetune_linear(settings, data, cache, log)
    return outputs, weights, log.rows[-1]


# The scale of features


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
@pytest.mark.parametrize("recipe", ["paper", "standardised", "logistic"])
def test_only_the_papers_recipe_depends_on_the_scale_and_the_zero_of_the_features(tmp_path, recipe, task):
    features, data = made_up(task=task)
    settings = {"epochs": 20, "checkpoint": "best"}
    scale, shift = np.float32([0.25, 4, 0.01, 8, 100, 1]), np.float32([3, 0, 0, -5, 0, 1])
    first, _, _ = finetuned(tmp_path, features, data, recipe, **settings)
    other, _, _ = finetuned(tmp_path, features * scale + shift, data, recipe, **settings)
    change = np.abs(other - first).max()
    assert change > 0.5 if recipe == "paper" else change < 2e-3
    assert np.ptp(first) > 1


def test_a_folded_head_gives_for_raw_features_what_the_head_gives_for_standardised_ones():
    random = np.random.default_rng(0)
    features = (random.normal(size=(50, 7)) * np.geomspace(1e-3, 1e3, 7) + np.arange(7)).astype(np.float32)
    weights = random.normal(size=(8, 4))
    scale = Scale.of(features)
    np.testing.assert_allclose(
        scale.standardised(features),
        StandardScaler().fit_transform(features.astype(float)),
        rtol=1e-9,
        atol=1e-12,
    )
    expected = scale.standardised(features) @ weights[1:] + weights[0]
    found = apply_head(features, scale.folded(weights))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * np.abs(expected).max() * 7)


def test_a_feature_that_is_constant_up_to_rounding_is_not_blown_up():
    features = np.full((40, 2), 1 / 3, np.float32)
    features[::2, 0] = np.nextafter(np.float32(1 / 3), np.float32(1))
    features[:, 1] = 0
    assert Scale.of(features).sd.tolist() == [1, 1]
    assert Scale.of(np.float32([[0], [1e-20]])).sd.item() == pytest.approx(5e-21)


# Logistic regression


def test_a_multilabel_head_is_one_logistic_regression_per_class_on_the_known_labels(tmp_path):
    features, data = made_up()
    outputs, _, metrics = finetuned(tmp_path, features, data, "logistic")
    scaler = StandardScaler().fit(features[data.train].astype(float))
    for number, column in enumerate(data.labels[data.train].T):
        known = ~np.isnan(column)
        expected = LogisticRegression(C=metrics[f"variance{number + 1}"] / 6, tol=1e-8, max_iter=5000)
        expected.fit(scaler.transform(features[data.train][known].astype(float)), column[known])
        decisions = expected.decision_function(scaler.transform(features[data.scored].astype(float)))
        np.testing.assert_allclose(outputs[:, number], decisions, atol=1e-3)
    losses = [
        log_loss(y[k], 1 / (1 + np.exp(-z[k]))) * k.sum() for y, z, k in known_pairs(features, data, tmp_path)
    ]
    total = sum(k.sum() for _, _, k in known_pairs(features, data, tmp_path))
    assert metrics["loss"] == pytest.approx(sum(losses) / total, rel=1e-3)


def known_pairs(features, data, folder):
    _, weights, _ = finetuned(folder, features, data, "logistic")
    z = apply_head(features[data.train], weights)
    return [(y, z[:, number], ~np.isnan(y)) for number, y in enumerate(data.labels[data.train].T)]


@pytest.mark.parametrize("classes", [2, 4])
def test_a_multiclass_head_is_one_multinomial_regression(tmp_path, classes):
    features, data = made_up(classes, "multiclass")
    outputs, _, metrics = finetuned(tmp_path, features, data, "logistic")
    scaler = StandardScaler().fit(features[data.train].astype(float))
    expected = LogisticRegression(C=metrics["variance1"] / 6, tol=1e-8, max_iter=5000)
    expected.fit(scaler.transform(features[data.train].astype(float)), data.labels[data.train].argmax(axis=1))
    probabilities = expected.predict_proba(scaler.transform(features[data.scored].astype(float)))
    found = class_logits(outputs, "multiclass")
    np.testing.assert_allclose(1 / (1 + np.exp(-found)), probabilities, atol=1e-4)


def test_all_views_of_the_labelled_images_are_rows(tmp_path):
    features, data = made_up(classes=1, masked=0)
    moved = features + np.random.default_rng(5).normal(size=features.shape)
    outputs, _, metrics = finetuned(tmp_path, features, data, "logistic", views=[moved])
    rows = np.concatenate([features[data.train], moved[data.train].astype(np.float32)]).astype(float)
    scaler = StandardScaler().fit(rows)
    expected = LogisticRegression(C=metrics["variance1"] / 6, tol=1e-8, max_iter=5000)
    expected.fit(scaler.transform(rows), np.tile(data.labels[data.train, 0], 2))
    scored = scaler.transform(features[data.scored].astype(float))
    np.testing.assert_allclose(outputs[:, 0], expected.decision_function(scored), atol=1e-3)


@pytest.mark.parametrize("classes, wide", [(2, True), (3, False)])
def test_the_prior_has_the_smallest_loss_on_patients_that_were_left_out(classes, wide):
    features, data = made_up(classes, "multiclass")
    x, answers = Scale.of(features).standardised(features), data.labels.argmax(axis=1)
    patients = data.patients(np.arange(N))
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=int(stream(*NAMES, "folds").integers(2**32)))
    losses = {}
    for variance in VARIANCES:
        model = LogisticRegression(C=variance / 6, tol=1e-8, max_iter=5000)
        found = cross_val_predict(model, x, answers, groups=patients, cv=folds, method="predict_proba")
        losses[variance] = log_loss(answers, found)
    assert chosen_variance(x, answers, patients, NAMES) == min(losses, key=losses.get)
    assert (min(losses, key=losses.get) > VARIANCES[0]) == wide


def test_no_patient_is_on_both_sides_of_the_cross_validation():
    """Patients have two equal images and labels that are noise: who sees one image knows the other, and wants no penalty."""
    random = np.random.default_rng(0)
    features = np.repeat(random.normal(size=(40, 60)), 2, axis=0)
    answers = np.repeat(random.permutation(np.arange(40) % 2), 2)
    assert chosen_variance(features, answers, np.arange(80) // 2, NAMES) == VARIANCES[0]
    assert chosen_variance(features, answers, np.arange(80), NAMES) >= VARIANCES[-2]


def test_with_a_class_of_one_patient_the_prior_is_the_default_and_with_two_there_are_two_folds(monkeypatch):
    random = np.random.default_rng(0)
    features, patients = random.normal(size=(20, 3)), np.arange(20) // 2
    one, two = np.repeat([1, 0], [2, 18]), np.repeat([1, 0], [4, 16])
    assert chosen_variance(features, one, patients, NAMES) == DEFAULT
    assert chosen_variance(1 - features, 1 - one, patients, NAMES) == DEFAULT
    asked = []
    monkeypatch.setattr(
        "sklearn.model_selection.StratifiedGroupKFold",
        lambda folds, **how: asked.append(folds) or StratifiedGroupKFold(folds, **how),
    )
    assert chosen_variance(features, two, patients, NAMES) in VARIANCES
    rare = np.concatenate([[2, 2], two])
    assert (
        chosen_variance(np.concatenate([features[:2], features]), rare, np.append([99, 99], patients), NAMES)
        in VARIANCES
    )
    assert chosen_variance(features, np.arange(20) % 2, np.arange(20), NAMES) in VARIANCES
    assert asked == [2, 2, 5]


@pytest.mark.parametrize(
    "values, share",
    [([0.0] * 4, 1 / 6), ([1.0] * 4, 5 / 6), ([1, np.nan, np.nan, 1], 3 / 4), ([np.nan] * 4, 1 / 2)],
)
def test_a_class_with_one_value_gets_the_constant_logit_of_its_share(values, share):
    labels = np.float32([values, [0, 1, 0, 1]]).T
    weights, variances = logistic_head(
        np.float64([[0], [1], [0], [1]]), labels, np.arange(4), "multilabel", NAMES
    )
    assert 1 / (1 + np.exp(-weights[0, 0])) == pytest.approx(share)
    assert weights[1, 0] == 0 and variances[0] is None
    assert weights[1, 1] > 0 and variances[1] in VARIANCES


@pytest.mark.parametrize("present", [[1], [0, 1], [0, 2, 3]])
def test_a_class_of_many_that_does_not_occur_is_improbable_everywhere(present):
    random = np.random.default_rng(0)
    features, labels = random.normal(size=(30, 3)), np.eye(4)[np.array(present)[np.arange(30) % len(present)]]
    weights, _ = logistic_head(features, labels.astype(np.float32), np.arange(30), "multiclass", NAMES)
    z = 3 * random.normal(size=(200, 3)) @ weights[1:] + weights[0]
    probabilities = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    absent = np.delete(probabilities, present, axis=1)
    assert absent.min() > 0 and absent.max() <= 1 / 32 + 1e-6


def test_separable_classes_give_finite_weights_without_warnings(capsys):
    features = np.repeat([[-1.0, 0], [1, 0]], 20, axis=0)
    labels = np.repeat(np.float32([[0, 1], [1, 0]]), 20, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = logistic_head(features, labels, np.arange(40), "multilabel", NAMES)
    assert np.isfinite(found[0]).all() and found[0][1, 0] > 1
    assert capsys.readouterr() == ("", "")


def test_a_head_is_the_same_again_and_its_folds_are_another_stream_for_another_subset():
    features, data = made_up(classes=1, masked=0)
    labels, patients = data.labels, data.patients(np.arange(N))
    heads = [
        logistic_head(features.astype(float), labels, patients, "multilabel", (1, *name))
        for name in (["a"], ["a"])
    ]
    np.testing.assert_array_equal(heads[0][0], heads[1][0])
    x = Scale.of(features).standardised(features)
    noisy = (x.sum(axis=1) + np.random.default_rng(0).normal(0, 2, N) > 0).astype(int)
    found = {chosen_variance(x, noisy, patients, (seed, "a")) for seed in range(8)}
    assert len(found) > 1


def test_the_metrics_of_a_logistic_head_are_one_row(tmp_path):
    features, data = made_up()
    log = MetricsLog("linear", 1, TRAIN)
    write_array(features, tmp_path / "features.npy")
    write_array(np.stack([np.arange(N), np.zeros(N, int)], axis=1), tmp_path / "rows.npy")
    settings = changed(LINEAR, recipe="logistic", optimizer=None, average=None)
    finetune_linear(settings, data, FeatureCache(tmp_path / "features.npy", tmp_path / "rows.npy"), log)
    log.write(tmp_path / "metrics.csv")
    found = pd.read_csv(tmp_path / "metrics.csv")
    assert (
        found.columns.tolist() == ["epoch", "loss", "variance1", "variance2", "variance3"] and len(found) == 1
    )
    assert 0 < found["loss"].item() < np.log(2) and found.filter(like="variance").isin(VARIANCES).all(
        axis=None
    )
