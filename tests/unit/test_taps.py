"""Taps: which layers the similarity looks at, and what it records of them."""

import numpy as np
import pandas as pd
import pytest
import torch
from made_up_settings import NETWORK
from made_up_stores import write_store
from safetensors.numpy import save
from torch import nn

from moco_transfer import cli
from moco_transfer.config import stages
from moco_transfer.config.encoders import Encoder
from moco_transfer.errors import UserError
from moco_transfer.networks import build_network, save_encoder
from moco_transfer.similarity.activations import layer_activations, read_layers, write_layers
from moco_transfer.similarity.taps import channel_means, choose_taps
from moco_transfer.training.images import ImagePool, View

CPU = torch.device("cpu")


def network_of(name, **changes):
    return NETWORK.model_copy(update={"name": name, "size": 64, **changes})


VIEW = View(64, network_of("resnet18"))


@pytest.fixture(scope="module")
def resnet():
    return build_network(VIEW.network, 3)


@pytest.fixture
def pool(tmp_path):
    images = np.random.default_rng(3).integers(0, 256, (7, 64, 64), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    return ImagePool([(tmp_path / "images.npy", np.arange(7))])


def record(network, taps, pool, **sizes):
    return layer_activations(network, taps, pool, VIEW, CPU, **sizes)


@pytest.mark.parametrize("name", ["densenet_small", "densenet121"])
def test_a_densenet_has_the_layers_of_figure_3(name):
    taps = choose_taps(build_network(network_of(name), 1), None)
    assert list(taps) == ["CV1", "DB1", "DB2", "DB3", "DB4"]
    assert taps["CV1"] == "features.conv0" and taps["DB4"] == "features.denseblock4"


@pytest.mark.parametrize(
    "name, expected",
    [
        ("resnet18", ["conv1", "layer1", "layer2", "layer3", "layer4"]),
        ("regnetx_002", ["stem", "s1", "s2", "s3", "s4"]),
        ("convnext_atto", ["stem.0", *(f"stages.{stage}" for stage in range(4))]),
        ("swin_tiny_patch4_window7_224", ["patch_embed.proj", *(f"layers.{stage}" for stage in range(4))]),
        ("efficientnet_b0", ["conv_stem", *(f"blocks.{stage}" for stage in (0, 1, 2, 4, 6))]),
        ("mobilenetv3_small_050", ["conv_stem", *(f"blocks.{stage}" for stage in (0, 1, 3, 5))]),
        # The last ReLU at each resolution, and the last pooling.
        ("vgg16", [f"features.{layer}" for layer in (0, 3, 8, 15, 22, 29, 30)]),
        # All blocks have the same resolution: the one at each quarter.
        ("vit_tiny_patch16_224", ["patch_embed.proj", *(f"blocks.{block}" for block in (2, 5, 8, 11))]),
        # No convolution.
        ("naflexvit_base_patch16_gap", [f"blocks.{block}" for block in (2, 5, 8, 11)]),
        ("mixer_s32_224", ["stem.proj", *(f"blocks.{block}" for block in (1, 3, 5, 7))]),
    ],
)
def test_other_networks_have_the_first_convolution_and_the_last_block_at_each_resolution(name, expected):
    with torch.device("meta"):
        network = build_network(network_of(name, size=224 if name.startswith("mixer") else 64), 1)
    assert list(choose_taps(network, None).values()) == expected


def test_every_channel_of_a_tap_is_averaged_over_all_positions(pool):
    """Swin's maps have their channels last."""
    swin = network_of("swin_tiny_patch4_window7_224")
    network = build_network(swin, 1)
    taps = choose_taps(network, None)
    found = layer_activations(network, taps, pool, View(64, swin), CPU)
    assert [rows.shape for rows in found.values()] == [(7, width) for width in (96, 96, 192, 384, 768)]
    outputs = {}
    network.layers[0].register_forward_hook(lambda _module, _inputs, output: outputs.update(swin=output))
    with torch.no_grad():
        network.eval()(View(64, swin).of(pool.batch(np.arange(7))))
    assert outputs["swin"].shape == (7, 16, 16, 96)
    np.testing.assert_allclose(found["layers.0"], outputs["swin"].mean((1, 2)), rtol=1e-4, atol=1e-5)


def test_configured_taps_keep_their_order(resnet):
    taps = {"late": "layer4.1.conv2", "early": "conv1"}
    assert list(choose_taps(resnet, taps).items()) == list(taps.items())


@pytest.mark.parametrize(
    "path, near", [("layer4.3.conv2", "layer4.1.conv2"), ("??", "there are conv1, bn1"), ("", "")]
)
def test_a_wrong_path_is_named_with_its_key_and_those_near_it(resnet, path, near):
    with pytest.raises(UserError, match=f"taps.DB4 is .*resnet18 does not have; .*{near}") as caught:
        choose_taps(resnet, {"DB4": path})
    assert "\n" not in str(caught.value)


def test_positions_are_averaged_whatever_their_layout():
    maps = torch.randn(3, 5, 4, 4)  # [n, c, h, w]
    expected = maps.mean((2, 3))
    torch.testing.assert_close(channel_means(maps), expected)
    torch.testing.assert_close(channel_means(maps.permute(0, 2, 3, 1)), expected)
    torch.testing.assert_close(channel_means(maps.flatten(2).transpose(1, 2)), expected)  # tokens
    assert channel_means(expected) is expected


def test_activations_are_the_means_of_each_tap_in_order(resnet, pool):
    taps = {"stem": "conv1", "inner": "layer1.0.conv1", "last": "global_pool"}
    found = record(resnet, taps, pool, batch=3)
    assert list(found) == list(taps)
    with torch.no_grad():
        x = VIEW.of(pool.batch(np.arange(7)))
        stem = resnet.eval().conv1(x)
        inner = resnet.layer1[0].conv1(resnet.maxpool(resnet.bn1(stem).relu()))
        expected = {"stem": stem.mean((2, 3)), "inner": inner.mean((2, 3)), "last": resnet(x)}
    for tap, rows in expected.items():
        np.testing.assert_allclose(found[tap], rows.numpy(), rtol=1e-4, atol=1e-5)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.inner(self.inner(x)).mean((2, 3))


def test_of_a_layer_that_runs_twice_the_last_output_counts(pool):
    network = Twice()
    found = record(network, {"inner": "inner"}, pool)
    with torch.no_grad():
        expected = network(VIEW.of(pool.batch(np.arange(7))))
    np.testing.assert_allclose(found["inner"], expected, rtol=1e-4, atol=1e-5)


def test_the_last_dense_layer_can_stand_for_its_block(pool):
    network = build_network(NETWORK, 1)
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
    with pytest.raises(UserError, match=f"taps.here .*{message}"):
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
    save_encoder(build_network(NETWORK, 1), tmp_path / "e.safetensors")
    layers = [tmp_path / f"{name}.safetensors" for name in names]
    files = ["--encoder", tmp_path / "e.safetensors", "--images", *images, "--activations", *layers]
    settings = stages.RecordActivations(crop=32, taps=taps, datasets=names, images=12, seed=1)
    assert run_stage("activations", settings, *files, "--device", "cpu") == 0
    similarity = {"datasets": names, "images": 12, "network": "none", "variance": 0.99, "directions": 2}
    similarity |= {"null_draws": 2, "split_halves": 2}
    settings = stages.CompareDatasets(similarity=similarity, seed=1)
    files = ["--activations", *layers, "--similarity", tmp_path / "s.parquet"]
    assert run_stage("compare-datasets", settings, *files) == 0
    assert list(pd.read_parquet(tmp_path / "s.parquet")["layer"].unique()) == ["late", "early"]


def run_stage(name, settings, *options):
    return cli.main([name, "--settings", settings.model_dump_json(), *map(str, options)])


@pytest.mark.parametrize("taps", [{}, {"$x$": "conv1"}, {"CV1": 1}])
def test_the_configuration_refuses_what_can_be_no_tap(taps):
    assert Encoder(encoder="resnet18", weights="random", taps={"CV1": "conv1"}).taps == {"CV1": "conv1"}
    with pytest.raises(ValueError, match="taps"):
        Encoder(encoder="resnet18", weights="random", taps=taps)
