"""Encoders: timm's networks against torchvision's, without randomness, as files, and their input."""

from __future__ import annotations

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch
from made_up_settings import NETWORK, PRETRAIN, changed
from safetensors.torch import save
from torch import nn
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as transforms

from moco_transfer import moco
from moco_transfer.config.encoders import Encoder, Network
from moco_transfer.errors import UserError
from moco_transfer.networks import build_network, load_encoder, resolve, save_encoder
from moco_transfer.pretrain import train_moco
from moco_transfer.training.images import ImagePool, View
from moco_transfer.training.log import MetricsLog

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")


def network_of(name: str, size: int = 64, **changes: object) -> Network:
    return NETWORK.model_copy(update={"name": name, "size": size, **changes})


def noise(network: Network, n: int = 2) -> torch.Tensor:
    shape = n, network.channels, network.size, network.size
    return torch.randn(shape, generator=torch.Generator().manual_seed(5))


def test_densenet121_gives_torchvisions_features_of_images_with_torchvisions_weights():
    from torchvision.models import densenet121

    torch.manual_seed(0)
    theirs = densenet121()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    ours = build_network(network_of("densenet121.tv_in1k"), 1)
    weights = theirs.state_dict()
    del weights["classifier.weight"], weights["classifier.bias"]
    ours.load_state_dict(weights)
    images = torch.randint(0, 256, (3, 1, 80, 80), dtype=torch.uint8)
    grey = transforms.center_crop(images, [64, 64]).repeat(1, 3, 1, 1).double() / 255
    with torch.no_grad():
        inputs = transforms.normalize(grey, NETWORK.mean, NETWORK.std)
        expected = torch.relu(theirs.eval().double().features(inputs)).mean((2, 3))
        found = ours.eval().double()(View(64, ours.network).of(images).double())
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert found.shape == (3, ours.width) == (3, 1024)


# One small network of each family; Swin and TinyViT draw random numbers in training by default.
FAMILIES = {
    "densenet_small": 32,
    "convnext_atto": 32,
    "efficientnet_b0": 32,
    "mobilenetv3_small_050": 32,
    "mixer_s32_224": 224,
    "regnetx_002": 32,
    "repghostnet_050": 32,
    "resnet18": 32,
    "swin_tiny_patch4_window7_224": 64,
    "tiny_vit_5m_224": 64,
    "vit_tiny_patch16_224": 32,
}


@pytest.mark.parametrize("name, size", FAMILIES.items())
def test_training_draws_no_random_number_and_gradients_repeat(name, size):
    network = build_network(network_of(name, size), 1)
    assert network.training
    found = []
    for repeat in range(2):
        torch.manual_seed(repeat)
        network.zero_grad()
        features = network(noise(network.network))
        features.pow(2).mean().backward()
        gradients = {path: weight.grad for path, weight in network.named_parameters()}
        found.append((features.detach(), gradients))
    (one, first), (other, second) = found
    assert one.shape == (2, network.width)
    assert torch.equal(one, other)
    assert [path for path in first if first[path] is None or not torch.equal(first[path], second[path])] == []


@pytest.mark.parametrize("name", ["densenet_small", "resnet18", "convnext_atto"])
def test_random_weights_are_those_of_the_stream_and_leave_the_global_state_alone(name):
    state = torch.get_rng_state()
    a, b, c = (next(build_network(network_of(name), key).parameters()) for key in (7, 7, 8))
    assert torch.equal(a, b) and not torch.equal(a, c)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "name, size, message",
    [
        ("inception_v3", 48, "inception_v3 cannot be built for images of 48 pixels .*input.size"),
        ("halonet26t", 40, "cannot be built for images of 40 pixels"),
        ("volo_d1_224", 224, "volo_d1_224 has a part"),
        ("mobilenetv5_300m_enc", 64, "gives no features"),
        ("densenet121.tv_in2k", 64, "cannot be built"),
    ],
)
def test_what_cannot_be_built_or_used_is_one_line(name, size, message):
    with torch.device("meta"), pytest.raises(UserError, match=message) as caught:
        build_network(network_of(name, size), 1)
    assert "\n" not in str(caught.value)


# Grouped batch normalisation


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "densenet121", "resnet18"])
def test_groups_of_a_batch_are_normalised_as_batches_of_their_own(name):
    """The layers of the first two also are the activation that follows (timm's BatchNormAct2d)."""
    one = build_network(network_of(name), 1)
    others = [copy.deepcopy(one) for _ in range(2)]
    names = list(one.state_dict())
    layers = moco.group_batch_norms(one, 2)
    assert layers == sum("running_mean" in each for each in names)
    assert list(one.state_dict()) == names
    one = copy.deepcopy(one)
    images = noise(one.network, 7)
    statistics = one.state_dict(keep_vars=True)
    means = [path for path in names if path.endswith(("running_mean", "running_var"))]
    found, apart = one(images), [each(part) for each, part in zip(others, images.split([4, 3]), strict=True)]
    torch.testing.assert_close(found, torch.cat(apart), rtol=1e-4, atol=1e-5)
    for path in means:
        expected = sum(other.state_dict()[path] for other in others) / 2
        torch.testing.assert_close(statistics[path], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(one.eval()(images[:2]), one(images)[:2], rtol=1e-4, atol=1e-5)


def test_the_activation_of_a_fused_layer_is_applied_in_groups():
    from timm.layers import BatchNormAct2d

    layer = BatchNormAct2d(3, act_layer=nn.SiLU)
    plain = nn.BatchNorm2d(3)
    assert moco.group_batch_norms(layer, 2) == 1
    x = torch.randn(4, 3, 5, 5)
    torch.testing.assert_close(layer(x), torch.cat([F.silu(plain(part)) for part in x.split(2)]))
    assert layer.num_batches_tracked == 1


def test_a_pretraining_says_that_its_network_has_no_batch_normalisation(tmp_path, capsys):
    np.save(tmp_path / "images.npy", np.random.default_rng(0).integers(0, 256, (8, 36, 36), dtype=np.uint8))
    pool = ImagePool([(tmp_path / "images.npy", np.arange(8))])
    settings = changed(PRETRAIN, schedule={"epochs": 1, "batch": 8, "lr": 0.01, "bn_groups": 2})

    def train(name: str) -> str:
        backbone = build_network(network_of(name, 32), 1)
        before = {path: weight.clone() for path, weight in backbone.named_parameters()}
        train_moco(settings, backbone, pool, {}, CPU, NoCheckpoint(), MetricsLog("MoCo", 1, 8))
        assert [
            path for path, weight in backbone.named_parameters() if torch.equal(weight, before[path])
        ] == []
        return capsys.readouterr().out

    assert "no batch normalisation" in train("vit_tiny_patch16_224")
    assert "no batch normalisation" not in train("densenet_small")


class NoCheckpoint:
    """In place of a checkpoint: saves nothing."""

    def read(self) -> None:
        """Return no state."""

    def after_step(self, state: object) -> None:
        """Go on."""


# Files


ENCODERS = [
    NETWORK,
    network_of("densenet_small", 40, channels=1, mean=[0.5], std=[0.25]),
    network_of("mobilenetv3_small_050", 64, channels=1, mean=[0.5], std=[0.5]),
    network_of("vit_tiny_patch16_224", 48),
]


@pytest.mark.parametrize("network", ENCODERS, ids=lambda network: f"{network.name}-{network.channels}")
def test_an_encoder_survives_a_round_trip(tmp_path, network):
    encoder = build_network(network, 1)
    images = noise(network)
    encoder(images)  # running statistics of its own
    save_encoder(encoder, tmp_path / "encoder.safetensors")
    read = load_encoder(tmp_path / "encoder.safetensors")
    assert read.network == network and read.width == encoder.width and read.training
    assert torch.equal(read.eval()(images), encoder.eval()(images))


def test_an_encoder_can_be_read_by_whom_other_files_can(tmp_path):
    save_encoder(build_network(NETWORK, 0), tmp_path / "encoder.safetensors")
    (tmp_path / "other").touch()
    assert (tmp_path / "encoder.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize(
    "content, message",
    [
        (b"no encoder", "damaged"),
        (save({"a": torch.ones(2)}), "not an encoder"),
        (save({"a": torch.ones(2)}, {"about": '{"network": {"name": "resnet18"}}'}), "not an encoder"),
        (save({"a": torch.ones(2)}, {"about": f'{{"network": {NETWORK.model_dump_json()}}}'}), "do not fit"),
    ],
    ids=["damaged", "foreign", "incomplete", "other weights"],
)
def test_a_file_of_something_else_is_one_line(tmp_path, content, message):
    path = tmp_path / "encoder.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"encoder\.safetensors: .*{message}") as caught:
        load_encoder(path)
    assert "\n" not in str(caught.value)


# Input


def images_of(channels: int, side: int = 60) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (2, channels, side, side), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("size", [48, 32, 80])
@pytest.mark.parametrize("stored", [1, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_input_is_the_crop_in_the_networks_size_channels_and_scale(stored, channels, size):
    mean, std = [0.1, 0.2, 0.3][:channels], [0.5, 0.25, 2.0][:channels]
    view = View(48, network_of("any", size, channels=channels, mean=mean, std=std))
    found = view.of(images_of(stored))
    expected = transforms.center_crop(images_of(stored), [48, 48]).float()
    expected = transforms.resize(expected, [size, size], antialias=True) / 255
    expected = transforms.rgb_to_grayscale(expected) if channels < stored else expected
    expected = transforms.normalize(expected.expand(-1, channels, -1, -1), mean, std)
    assert found.shape == (2, channels, size, size)
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)  # torchvision rounds its weights of grey


@pytest.mark.parametrize(
    "given, expected",
    [
        # What is left open is timm's for the name, and the crop; a network that takes one size only has that size.
        ({"encoder": "densenet121"}, (224, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])),
        ({"encoder": "densenet_small", "channels": 1}, (224, [0.449], [0.226])),
        ({"encoder": "vit_base_patch16_224.augreg_in21k"}, (224, [0.5] * 3, [0.5] * 3)),
        (
            {"encoder": "vit_base_patch14_dinov2.lvd142m"},
            (518, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ),
        (
            {"encoder": "densenet121", "channels": 1, "input": {"size": 320, "mean": 0, "std": [0.5]}},
            (320, [0.0], [0.5]),
        ),
        ({"encoder": "resnet18", "input": {"mean": [0, 0.5, 1], "std": 1}}, (224, [0, 0.5, 1], [1.0] * 3)),
    ],
)
def test_what_the_configuration_leaves_open_is_timms(given, expected):
    found = resolve(Encoder(weights="random", **given), 224)
    size, mean, std = expected
    assert found.size == size and found.channels == given.get("channels", 3)
    assert found.mean == pytest.approx(mean) and found.std == pytest.approx(std)


def test_a_tag_that_timm_does_not_have_is_one_line_with_those_that_it_has():
    with pytest.raises(UserError, match=r"densenet121\.tv_in2k'.* densenet121\.tv_in1k") as caught:
        resolve(Encoder(encoder="densenet121.tv_in2k", weights="random"), 224)
    assert "\n" not in str(caught.value)


def test_the_demos_network_needs_no_timm():
    """Importing timm takes longer than most of the demo's jobs."""
    script = (
        "import sys; from moco_transfer import encoders, pretrain; from moco_transfer.finetune import end_to_end; "
        "wanted = encoders.stages.Encoder(encoder='densenet_small', weights='random'); "
        "encoders.build_network(encoders.resolve(wanted, 32), 1); "
        "sys.exit(bool({'timm', 'torchvision'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
