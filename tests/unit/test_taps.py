"""Taps: which layers the similarity looks at, and what it records of them."""

import numpy as np
import pandas as pd
import pytest
import torch
from made_up_settings import NETWORK
from made_up_stores import write_store
from moco_transfer.backbones.taps import channel_means, choose_taps
from safetensors.numpy import save
from torch import nn

from moco_transfer import cli
from moco_transfer.config import stages
from moco_transfer.config.training import Model
from moco_transfer.errors import UserError
from moco_transfer.networks import build_backbone, save_weights
from moco_transfer.similarity.activations import layer_activations, read_layers, write_layers
from moco_transfer.training.images import ImagePool, normalise

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def resnet():
    return build_backbone("resnet18", 3, 64)


@pytest.fixture
def pool(tmp_path):
    images = np.random.default_rng(3).integers(0, 256, (7, 64, 64), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    return ImagePool([(tmp_path / "images.npy", np.arange(7))])


def record(network, taps, pool, **sizes):
    return layer_activations(network, taps, pool, 64, CPU, **sizes)


def test_a_densenet_has_the_layers_of_figure_3():
    taps = choose_taps(build_backbone("densenet_small", 1), None, 32)
    assert list(taps) == ["CV1", "DB1", "DB2", "DB3", "DB4"]
    assert taps["CV1"] == "features.conv0" and taps["DB4"] == "features.denseblock4"


@pytest.mark.parametrize(
    "name, expected",
    [
        ("resnet18", ["conv1", "layer1", "layer2", "layer3", "layer4"]),
        ("convnext_tiny", ["features.0.0", *(f"features.{stage}" for stage in (1, 3, 5, 7))]),
        ("swin_t", ["features.0.0", *(f"features.{stage}" for stage in (1, 3, 5, 7))]),
        ("efficientnet_b0", ["features.0.0", *(f"features.{stage}" for stage in (1, 2, 3, 5, 8))]),
        # The last of the convolutions of each size with its ReLU, which the pooling follows.
        ("vgg16", [f"features.{layer}" for layer in (0, 3, 8, 15, 22, 29)]),
    ],
)
def test_other_networks_have_the_first_convolution_and_the_last_block_at_each_resolution(name, expected):
    with torch.device("meta"):
        network = build_backbone(name, 1, 64)
        training = [module.training for module in network.modules()]
        assert list(choose_taps(network, None, 64).values()) == expected
    assert [module.training for module in network.modules()] == training


def test_a_vision_transformer_has_the_blocks_at_each_quarter():
    with torch.device("meta"):
        taps = choose_taps(build_backbone("vit_b_32", 1, 64), None, 64)
    assert list(taps) == ["conv_proj", "block3", "block6", "block9", "block12"]
    assert taps["block12"] == "encoder.layers.encoder_layer_11"


def test_configured_taps_keep_their_order(resnet):
    taps = {"late": "layer4.1.conv2", "early": "conv1"}
    assert list(choose_taps(resnet, taps, 64).items()) == list(taps.items())


@pytest.mark.parametrize(
    "path, near", [("layer4.3.conv2", "layer4.1.conv2"), ("??", "there are conv1, bn1"), ("", "")]
)
def test_a_wrong_path_is_named_with_its_key_and_those_near_it(resnet, path, near):
    with pytest.raises(UserError, match=f"model.taps.DB4 is .*does not have; .*{near}") as caught:
        choose_taps(resnet, {"DB4": path}, 64)
    assert "\n" not in str(caught.value)


def test_positions_are_averaged_whatever_their_layout():
    maps = torch.randn(3, 5, 4, 4)  # [n, c, h, w]
    expected = maps.mean((2, 3))
    torch.testing.assert_close(channel_means(maps), expected)
    torch.testing.assert_close(channel_means(maps.permute(0, 2, 3, 1)), expected)
    torch.testing.assert_close(channel_means(maps.flatten(2).transpose(1, 2)), expected)  # tokens
    assert channel_means(expected) is expected


def test_as_many_channels_as_pixels_a_side_are_channels_first_except_in_swin():
    maps = torch.randn(3, 4, 4, 4)
    torch.testing.assert_close(channel_means(maps), maps.mean((2, 3)))
    torch.testing.assert_close(channel_means(maps, channels_last=True), maps.mean((1, 2)))


def test_activations_are_the_means_of_each_tap_in_order(resnet, pool):
    taps = {"stem": "conv1", "inner": "layer1.0.conv1", "last": "fc"}
    found = record(resnet, taps, pool, batch=3)
    assert list(found) == list(taps)
    with torch.no_grad():
        x = normalise(pool.batch(np.arange(7)))
        stem = resnet.eval().conv1(x)
        inner = resnet.layer1[0].conv1(resnet.maxpool(resnet.bn1(stem).relu()))
        expected = {"stem": stem.mean((2, 3)), "inner": inner.mean((2, 3)), "last": resnet(x)}
    for tap, rows in expected.items():
        np.testing.assert_allclose(found[tap], rows.numpy(), rtol=1e-4, atol=1e-5)


def test_of_a_layer_that_runs_twice_the_last_output_counts(resnet, pool):
    """A residual block of ResNet uses one ReLU for its inner layer and for its output."""
    found = record(resnet, {"relu": "layer4.1.relu", "block": "layer4.1"}, pool)
    np.testing.assert_array_equal(found["relu"], found["block"])


def test_the_last_dense_layer_can_stand_for_its_block(pool):
    network = build_backbone("densenet_small", 1)
    found = record(
        network, {"block": "features.denseblock4", "layer": "features.denseblock4.denselayer3"}, pool
    )
    # A dense block's output ends in what its last layer adds: `growth` channels.
    np.testing.assert_allclose(found["layer"], found["block"][:, -8:], rtol=1e-5, atol=1e-6)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.MultiheadAttention(3, 1, batch_first=True)

    def forward(self, x):
        tokens = x.flatten(2)[:, :, :4].transpose(1, 2)
        return self.inner(tokens, tokens, tokens)[0]


@pytest.mark.parametrize(
    "path, message", [("inner", "gives more than one array"), ("inner.out_proj", "that images do not pass")]
)
def test_a_layer_without_one_output_is_refused_by_its_key(pool, path, message):
    with pytest.raises(UserError, match=f"model.taps.here .*{message}"):
        record(Attention(), {"here": path}, pool)


def test_a_file_of_layers_keeps_their_order(tmp_path):
    layers = {
        name: np.full((2, 3), i, dtype=np.float32)
        for i, name in enumerate(["conv1", "f.2", "f.10", "block3"])
    }
    write_layers(tmp_path / "a.safetensors", layers)
    found = read_layers(tmp_path / "a.safetensors")
    assert list(found) == list(layers)
    assert all(np.array_equal(found[name], layers[name]) for name in layers)


@pytest.mark.parametrize("content", ["no_order", "a_layer_missing", "not_safetensors"])
def test_another_file_than_one_of_layers_is_refused(tmp_path, content):
    path = tmp_path / "a.safetensors"
    order = {"about": '{"layers": ["x", "y"]}'} if content == "a_layer_missing" else None
    path.write_bytes(save({"x": np.zeros((2, 3), dtype=np.float32)}, metadata=order))
    if content == "not_safetensors":
        path.write_bytes(b"layers")
    with pytest.raises(UserError, match=r"a\.safetensors: expected .* lists its layers; remove it") as caught:
        read_layers(path)
    assert "\n" not in str(caught.value)


def test_the_table_of_similarities_has_the_layers_in_the_order_of_the_configuration(tmp_path):
    names, taps = ["a", "b"], {"late": "features.denseblock4", "early": "features.conv0"}
    images = [write_store(tmp_path / name, (12, 32, 32), seed=ord(name)) / "images.npy" for name in names]
    save_weights(build_backbone("densenet_small", 1), tmp_path / "e.safetensors")
    layers = [tmp_path / f"{name}.safetensors" for name in names]
    files = ["--encoder", tmp_path / "e.safetensors", "--images", *images, "--activations", *layers]
    settings = stages.RecordActivations(network=NETWORK, taps=taps, datasets=names, images=12, seed=1)
    assert run_stage("activations", settings, *files, "--device", "cpu") == 0
    similarity = {"datasets": names, "images": 12, "network": "none", "variance": 0.99, "directions": 2}
    similarity |= {"null_draws": 2, "split_halves": 2}
    settings = stages.CompareDatasets(similarity=similarity, seed=1)
    files = ["--activations", *layers, "--similarity", tmp_path / "s.parquet"]
    assert run_stage("compare-datasets", settings, *files) == 0
    assert list(pd.read_parquet(tmp_path / "s.parquet")["layer"].unique()) == ["late", "early"]


def run_stage(name, settings, *options):
    return cli.main([name, "--settings", settings.model_dump_json(), *map(str, options)])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"taps": {}}, "taps"),
        ({"taps": {"$x$": "conv1"}}, "taps"),
        ({"name": "resnet51"}, "did you mean .*resnet50"),
    ],
)
def test_the_configuration_refuses_what_can_be_no_tap_or_network(change, message):
    weights = {"kind": "file", "path": "w.pth"} | dict.fromkeys(
        ["url", "sha256", "dataset", "epochs", "batch", "lr"]
    )
    valid = {"name": "resnet50", "input_size": 224, "taps": None, "initial_weights": weights}
    assert Model.model_validate(valid | {"taps": {"CV1": "conv1"}}).taps == {"CV1": "conv1"}
    with pytest.raises(ValueError, match=message):
        Model.model_validate(valid | change)
