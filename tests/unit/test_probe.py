"""The linear probe beside scikit-learn's ridge regression and AUROC, and that it leaves the network alone."""

import numpy as np
import pytest
import torch
from torch import nn

from moco_transfer.networks import build_backbone
from moco_transfer.training.images import ImagePool, predict
from moco_transfer.training.probe import LinearProbe, ridge_scores

CPU = torch.device("cpu")
ROWS = 90


@pytest.fixture
def store(tmp_path):
    """Noise images, three labels that their brightness tells more or less, with a few unknown."""
    random = np.random.default_rng(0)
    images = random.integers(0, 200, (ROWS, 36, 36), dtype=np.uint8)
    labels = (random.random((ROWS, 3)) < 0.4).astype(np.float32)
    images[labels[:, 0] == 1] += 20
    images[labels[:, 1] == 1, ::2] += 20
    labels[random.random(labels.shape) < 0.1] = np.nan
    labels[[5, 60]] = np.nan
    np.save(tmp_path / "images.npy", images)
    return tmp_path / "images.npy", labels


def probe_of(store, images_each=1000, train=range(50), validation=range(50, ROWS), **changed):
    images, labels = store
    settings = {"images_each": images_each, "size": 32, "seed": 1, "stream_name": ("moco", "spine")}
    return LinearProbe(images, labels, np.array(train), np.array(validation), **settings | changed)


def by_scikit_learn(backbone, store, train, validation):
    from sklearn.linear_model import Ridge
    from sklearn.metrics import roc_auc_score
    from sklearn.preprocessing import StandardScaler

    images, labels = store
    train, validation = (rows[~np.isnan(labels[rows]).all(axis=1)] for rows in (train, validation))
    x, others = (
        predict(backbone, ImagePool([(images, rows)]), 32, CPU).astype(np.float64)
        for rows in (train, validation)
    )
    scaler = StandardScaler().fit(x)
    aurocs, positives = [], []
    for answers, truth in zip(labels[train].T, labels[validation].T, strict=True):
        known, judged = ~np.isnan(answers), ~np.isnan(truth)
        ridge = Ridge(alpha=known.sum()).fit(scaler.transform(x[known]), answers[known])
        aurocs.append(roc_auc_score(truth[judged], ridge.predict(scaler.transform(others[judged]))))
        positives.append((truth == 1).sum())
    return np.average(aurocs, weights=positives)


def test_the_probe_is_scikit_learns_ridge_and_weighted_auroc(store):
    backbone = build_backbone("densenet_small", 1)
    found = probe_of(store).auroc(backbone, CPU)
    assert found == pytest.approx(by_scikit_learn(backbone, store, np.arange(50), np.arange(50, ROWS)))
    assert 0.6 < found < 1


def test_scores_are_ridge_predictions_but_for_the_intercept():
    from sklearn.linear_model import Ridge

    random = np.random.default_rng(0)
    features = random.normal(size=(40, 60)) * random.uniform(0.1, 9, 60) + 5
    features[:, 7] = 0.1  # a feature that never varies
    others = random.normal(size=(20, 60)) + 5
    labels = (random.random((40, 4)) < 0.5).astype(np.float32)
    labels[:9, 1] = np.nan
    labels[:, 2] = 1
    labels[1:, 3] = np.nan
    scores = ridge_scores(features.astype(np.float32), labels, others.astype(np.float32))
    features, others = features.astype(np.float32).astype(float), others.astype(np.float32).astype(float)
    deviation = np.where(np.arange(60) == 7, 1, features.std(axis=0))
    for k in (0, 1):
        known = ~np.isnan(labels[:, k])
        ridge = Ridge(alpha=known.sum(), solver="svd").fit(features[known] / deviation, labels[known, k])
        difference = scores[:, k] - ridge.predict(others / deviation)
        np.testing.assert_allclose(difference, difference[0], atol=1e-9)
    assert np.isnan(scores[:, 2:]).all()


def test_the_network_comes_back_as_it_was(store):
    backbone = build_backbone("densenet_small", 1).train()
    backbone.features.norm0.eval()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    modes = [module.training for module in backbone.modules()]
    state = torch.get_rng_state()
    probe_of(store).auroc(backbone, CPU)
    assert [module.training for module in backbone.modules()] == modes and modes.count(False) == 1
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    assert all(weight.grad is None for weight in backbone.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_the_network_comes_back_as_it_was_when_it_fails(store):
    class Broken(nn.Module):
        def forward(self, images):
            raise RuntimeError("broken")

    network = Broken().train()
    with pytest.raises(RuntimeError, match="broken"):
        probe_of(store).auroc(network, CPU)
    assert network.training


def test_images_are_chosen_once_by_name_among_those_with_a_label(store):
    probe = probe_of(store, 20)
    assert {role: len(rows) for role, rows in probe.rows.items()} == {"train": 20, "validation": 20}
    assert set(probe.rows["train"]) <= set(range(50)) and set(probe.rows["validation"]) <= set(
        range(50, ROWS)
    )
    again, other = probe_of(store, 20), probe_of(store, 20, stream_name=("moco", "chest"))
    np.testing.assert_array_equal(probe.rows["train"], again.rows["train"])
    assert not np.array_equal(probe.rows["train"], other.rows["train"])
    assert probe_of(store).rows["train"].tolist() == [row for row in range(50) if row != 5]
    same = probe_of(store, 20, validation=range(50))
    assert not np.array_equal(same.rows["train"], same.rows["validation"])
    backbone = build_backbone("densenet_small", 1)
    assert probe.auroc(backbone, CPU) == probe.auroc(backbone, CPU) == again.auroc(backbone, CPU)


def test_classes_that_cannot_be_learnt_or_scored_are_left_out(store):
    backbone = build_backbone("densenet_small", 1)
    images, labels = store
    alone = probe_of((images, labels[:, :1])).auroc(backbone, CPU)
    constant = labels[:, :1].copy(), labels[:, :1].copy()
    constant[0][:50], constant[1][50:] = 1, 0
    assert probe_of((images, np.hstack([labels[:, :1], *constant]))).auroc(backbone, CPU) == alone
    assert np.isnan(probe_of((images, np.hstack(constant))).auroc(backbone, CPU))


def test_nothing_labelled_and_features_that_are_not_finite_score_nan(store):
    images, labels = store
    backbone = build_backbone("densenet_small", 1)
    assert np.isnan(probe_of((images, np.full_like(labels, np.nan))).auroc(backbone, CPU))
    with torch.no_grad():
        backbone.features.conv0.weight.fill_(float("nan"))
    assert np.isnan(probe_of(store).auroc(backbone, CPU))
