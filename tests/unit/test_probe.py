"""The linear probe: what it scores, which images and classes it uses, and that it leaves the network alone."""

import numpy as np
import pytest
import torch
from made_up_settings import NETWORK
from torch import nn

from moco_transfer.networks import build_network
from moco_transfer.training.images import View
from moco_transfer.training.probe import LinearProbe

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
    settings = {
        "images_each": images_each,
        "view": View(32, NETWORK),
        "seed": 1,
        "stream_name": ("moco", "spine"),
    }
    return LinearProbe(images, labels, np.array(train), np.array(validation), **settings | changed)


def test_what_features_tell_is_scored_high_and_chance_is_not(store):
    images, labels = store
    encoder = build_network(NETWORK, 1)
    assert 0.7 < probe_of(store).auroc(encoder, CPU) < 1
    chance = probe_of((images, np.roll(labels, 7, axis=0))).auroc(encoder, CPU)
    assert 0.25 < chance < 0.7


def test_the_score_is_the_mean_over_classes_by_their_positives(store):
    images, labels = store
    encoder = build_network(NETWORK, 1)
    # An image without any label is passed over, so the classes alone would see fewer images if labels were masked.
    labels = np.nan_to_num(labels)
    alone = [probe_of((images, labels[:, [k]])).auroc(encoder, CPU) for k in range(3)]
    positives = (labels[50:] == 1).sum(axis=0)
    assert probe_of((images, labels)).auroc(encoder, CPU) == pytest.approx(
        np.average(alone, weights=positives)
    )


def test_masked_labels_change_nothing_for_the_other_classes(store):
    images, labels = store
    encoder = build_network(NETWORK, 1)
    labels = np.nan_to_num(labels[:, :1])
    masked = np.full_like(labels, np.nan)
    masked[:4] = [[0], [1], [0], [1]]  # known of four training images, and of no validation image
    both = probe_of((images, np.hstack([labels, masked]))).auroc(encoder, CPU)
    assert both == probe_of((images, labels)).auroc(encoder, CPU)


def test_the_network_comes_back_as_it_was(store):
    encoder = build_network(NETWORK, 1).train()
    encoder.features.norm0.eval()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    modes = [module.training for module in encoder.modules()]
    state = torch.get_rng_state()
    probe_of(store).auroc(encoder, CPU)
    assert [module.training for module in encoder.modules()] == modes and modes.count(False) == 1
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert all(weight.grad is None for weight in encoder.parameters())
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
    encoder = build_network(NETWORK, 1)
    assert probe.auroc(encoder, CPU) == probe.auroc(encoder, CPU) == again.auroc(encoder, CPU)


def test_classes_that_cannot_be_learnt_or_scored_are_left_out(store):
    encoder = build_network(NETWORK, 1)
    images, labels = store
    alone = probe_of((images, labels[:, :1])).auroc(encoder, CPU)
    constant = [labels[:, :1].copy() for _ in range(3)]
    constant[0][:50], constant[1][50:] = 1, 0
    constant[2][:50], constant[2][3] = 0, 1  # cross-validation needs two images that have the class
    assert probe_of((images, np.hstack([labels[:, :1], *constant]))).auroc(encoder, CPU) == alone
    assert np.isnan(probe_of((images, np.hstack(constant))).auroc(encoder, CPU))


def test_nothing_labelled_and_features_that_are_not_finite_score_nan(store):
    images, labels = store
    encoder = build_network(NETWORK, 1)
    assert np.isnan(probe_of((images, np.full_like(labels, np.nan))).auroc(encoder, CPU))
    with torch.no_grad():
        encoder.features.conv0.weight.fill_(float("nan"))
    assert np.isnan(probe_of(store).auroc(encoder, CPU))
