"""Encoders of other architectures, input sizes and channels in every stage that reads one, beside the demo's DenseNet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from made_up_settings import EMBED, END_TO_END, NETWORK, changed
from made_up_stores import made_up_labels, write_store, write_subset

from moco_transfer.config import stages
from moco_transfer.config.composition import composed
from moco_transfer.config.experiment import check
from moco_transfer.experiment import compared_networks
from moco_transfer.finetune.embed import embed
from moco_transfer.finetune.end_to_end import end_to_end
from moco_transfer.networks import build_network, load_encoder, save_encoder
from moco_transfer.similarity.activations import activations, read_layers
from moco_transfer.similarity.encoders import compare_networks
from moco_transfer.training.images import View

pytestmark = pytest.mark.usefixtures("one_thread")
CONFIG = Path(__file__).parents[2] / "config" / "config.yaml"

VIT = {"name": "vit_tiny_patch16_224", "size": 48, "mean": [0.5] * 3, "std": [0.5] * 3}
GREY = {"name": "mobilenetv3_small_050", "size": 64, "channels": 1, "mean": [0.4], "std": [0.2]}
NETWORKS = {
    "dense": NETWORK,
    "vit": NETWORK.model_copy(update=VIT),
    "grey": NETWORK.model_copy(update=GREY),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The encoders, and a store of 24 images from which all see the middle 32 pixels."""
    folder = tmp_path_factory.mktemp("mixed")
    for name, network in NETWORKS.items():
        save_encoder(build_network(network, 1), folder / f"{name}.safetensors")
    write_store(folder / "store", (24, 36, 36), made_up_labels(24, 2), (12, 6, 6))
    write_subset(folder / "subset.parquet", range(8))
    return folder


@pytest.mark.parametrize("name", NETWORKS)
def test_features_are_those_of_the_encoders_own_input(folder, tmp_path, name):
    embed(
        changed(EMBED, views=2),
        encoder=folder / f"{name}.safetensors",
        images=folder / "store" / "images.npy",
        splits=folder / "store" / "splits.parquet",
        subsets=[folder / "subset.parquet"],
        features=tmp_path / "features.npy",
        rows=tmp_path / "rows.npy",
        device="cpu",
    )
    features, rows = np.load(tmp_path / "features.npy"), np.load(tmp_path / "rows.npy")
    encoder = load_encoder(folder / f"{name}.safetensors").eval()
    assert features.shape == (8 + 12 + 8, encoder.width)
    images = torch.from_numpy(np.load(folder / "store" / "images.npy"))[rows[:20, 0], None]
    with torch.no_grad():
        expected = encoder(View(32, NETWORKS[name]).of(images))
    np.testing.assert_allclose(features[:20], expected, rtol=1e-4, atol=1e-5)
    assert np.ptp(features[20:], axis=0).max() > 0


@pytest.mark.parametrize("name", NETWORKS)
def test_a_whole_network_is_finetuned_and_repeats(folder, tmp_path, name):
    def train(out: Path) -> bytes:
        end_to_end(
            changed(END_TO_END, budgets=[1], optimizer__batch=4, augment="chexclusion"),
            encoder=folder / f"{name}.safetensors",
            store=folder / "store",
            splits=folder / "store" / "splits.parquet",
            subset=folder / "subset.parquet",
            predictions=out / "predictions.parquet",
            metrics=out / "metrics.csv",
            device="cpu",
        )
        return (out / "predictions.parquet").read_bytes()

    assert train(tmp_path / "one") == train(tmp_path / "two")
    logits = pd.read_parquet(tmp_path / "one" / "predictions.parquet").filter(like="logit_")
    assert logits.shape == (12, 2) and np.isfinite(logits).all(axis=None)


@pytest.mark.parametrize(
    "name, layers",
    [
        ("dense", ["CV1", "DB1", "DB2", "DB3", "DB4"]),
        ("vit", ["patch_embed.proj", "blocks.2", "blocks.5", "blocks.8", "blocks.11"]),
        ("grey", ["conv_stem", "blocks.0", "blocks.1", "blocks.3", "blocks.5"]),
    ],
)
def test_activations_are_recorded_at_the_encoders_own_layers(folder, tmp_path, name, layers):
    activations(
        stages.RecordActivations(crop=32, datasets=["a"], images=10, seed=1),
        encoder=folder / f"{name}.safetensors",
        images=[folder / "store" / "images.npy"],
        activations=[tmp_path / "a.safetensors"],
        device="cpu",
    )
    found = read_layers(tmp_path / "a.safetensors")
    assert list(found) == layers and {len(rows) for rows in found.values()} == {10}


def test_encoders_of_one_architecture_are_compared_whatever_their_input(folder, tmp_path):
    other = NETWORKS["vit"].model_copy(update={"size": 32, "channels": 1, "mean": [0.5], "std": [0.5]})
    save_encoder(build_network(other, 2), tmp_path / "other.safetensors")
    compare_networks(
        stages.CompareNetworks(
            crop=32, sources=["none", "other"], targets=["a"], images=12, variance=0.99, seed=1
        ),
        encoders=[folder / "vit.safetensors", tmp_path / "other.safetensors"],
        images=[folder / "store" / "images.npy"],
        networks=tmp_path / "networks.parquet",
        device="cpu",
    )
    found = pd.read_parquet(tmp_path / "networks.parquet")
    assert len(found) == 5 * 2 and found["value"].between(-1, 1).all()


def test_only_networks_with_the_same_layers_are_compared():
    random = {"weights": "random"}
    sources = {
        "same": random | {"encoder": "densenet121"},
        "taps": random | {"encoder": "densenet121", "taps": {"CV1": "features.conv0"}},
        "other": random | {"encoder": "vit_tiny_patch16_224"},
    }
    config = check(composed({"sources": sources}))
    assert compared_networks(config) == ["none", "same", "spine", "chest", "spine+chest"]
