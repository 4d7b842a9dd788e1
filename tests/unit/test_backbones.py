"""torchvision's networks as backbones: each family cut behind its features, and trained by a step of MoCo.

One network of each family; MOCO_TRANSFER_ALL_NETWORKS=1 takes all of them, a minute more.
"""

import os
import subprocess
import sys

import pytest
import torch
import torchvision
from moco_transfer.backbones.torchvision_models import AdaptiveAveragePool
from moco_transfer.config.networks import DENSENETS, torchvision_names
from torch import nn
from torch.nn import functional as F
from torchvision.models import regnet

from moco_transfer import moco
from moco_transfer.errors import UserError
from moco_transfer.networks import build_backbone, load_state, load_weights, save_weights
from moco_transfer.training.images import normalise
from moco_transfer.training.loop import SGD

FAMILIES = [
    *("alexnet", "convnext_tiny", "efficientnet_b0", "googlenet", "inception_v3", "maxvit_t", "mnasnet0_5"),
    *("mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf", "resnet18", "shufflenet_v2_x0_5"),
    *("squeezenet1_1", "swin_t", "swin_v2_t", "vgg11", "vit_b_32"),
]
ALL = [name for name in torchvision_names() if name not in DENSENETS]


def images(size, n=4):
    generator = torch.Generator().manual_seed(5)
    grey = torch.randint(0, 256, (n, 1, size, size), dtype=torch.uint8, generator=generator)
    return normalise(grey)


def torchvision_network(name):
    """A network of torchvision in evaluation mode, its running statistics moved away from 0 and 1."""
    torch.manual_seed(2)
    extra = {"init_weights": True, "transform_input": True} if name == "googlenet" else {}
    network = torchvision.models.get_model(name, weights=None, **extra)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network.eval()


@pytest.fixture
def nothing_is_allocated(monkeypatch):
    """Networks are made without memory; RegNet alone computes its widths with tensors, which need some."""
    counted = regnet.BlockParams.from_init_params.__func__

    def on_cpu(cls, *args, **keys):
        with torch.device("cpu"):
            return counted(cls, *args, **keys)

    monkeypatch.setattr(regnet.BlockParams, "from_init_params", classmethod(on_cpu))
    with torch.device("meta"):
        yield


@pytest.mark.parametrize("name", ALL if os.environ.get("MOCO_TRANSFER_ALL_NETWORKS") else FAMILIES)
def test_a_classifier_is_cut_behind_its_pooled_features(name, nothing_is_allocated):
    backbone = build_backbone(name, 1, 224)
    whole = torchvision.models.get_model(
        name, weights=None, **({"init_weights": False} if name in ("googlenet", "inception_v3") else {})
    )
    cut = [path for path, _ in whole.named_parameters() if path.startswith(backbone.left_out)]
    *_, last = (module for module in whole.modules() if isinstance(module, nn.Linear | nn.Conv2d))
    assert last.weight.shape[:2] == (1000, backbone.width)
    assert [p for p, _ in backbone.named_parameters()] == [
        p for p, _ in whole.named_parameters() if p not in cut
    ]
    channels_last = torch.empty(2, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    assert backbone.train()(channels_last).shape == (2, backbone.width)


@pytest.mark.parametrize(
    "name, size",
    [
        ("alexnet", 64),
        ("googlenet", 64),
        ("mnasnet0_5", 64),
        ("resnet18", 64),
        ("squeezenet1_1", 64),
    ],
)
def test_features_are_what_torchvisions_classifier_sees(name, size):
    whole = torchvision_network(name)
    backbone = build_backbone(name, 1, size)
    load_state(backbone, whole.state_dict(), "torchvision")
    seen = []
    *_, last = (module for module in whole.modules() if isinstance(module, nn.Linear | nn.Conv2d))
    last.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        whole(images(size))
        found = backbone.eval().to(memory_format=torch.channels_last)(images(size))
    expected = seen[0].relu().mean((2, 3)) if name.startswith("squeezenet") else seen[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (7, 7), (9, 12), (14, 14)])
def test_pooling_to_several_cells_is_pytorchs(size):
    maps = torch.randn(2, 5, *size, dtype=torch.float64)
    torch.testing.assert_close(
        AdaptiveAveragePool((6, 7))(maps), F.adaptive_avg_pool2d(maps, (6, 7)), rtol=1e-6, atol=1e-7
    )


def test_vgg_does_not_pool_by_the_operation_without_a_deterministic_gradient(nothing_is_allocated):
    pools = [m for m in build_backbone("vgg11", 1).modules() if isinstance(m, nn.AdaptiveAvgPool2d)]
    assert [type(pool) for pool in pools] == [AdaptiveAveragePool]


@pytest.mark.parametrize("name, groups", [("resnet18", 2), ("convnext_tiny", 1), ("mobilenet_v3_small", 2)])
def test_a_step_of_moco_moves_every_weight(name, groups):
    torch.manual_seed(1)
    network = moco.MoCo(build_backbone(name, 1, 64), 16, 8, 0.9, 0.2, groups)
    network.to(memory_format=torch.channels_last).train()
    before = {path: weights.clone() for path, weights in network.query_encoder.named_parameters()}
    views = images(64, 8)
    out = network(views[:4], views[4:], torch.arange(4), torch.arange(4))
    out["loss"].backward()
    SGD(network.query_encoder.parameters(), 0.9, 1e-4).step(0.1)
    network.update_key_encoder()
    assert torch.isfinite(out["loss"])
    still = [
        path
        for path, weights in network.query_encoder.named_parameters()
        if torch.equal(weights, before[path])
    ]
    assert still == []
    for path, weights in network.key_encoder.named_parameters():
        moved = before[path].lerp(network.query_encoder.get_parameter(path), 0.1)
        torch.testing.assert_close(weights, moved)


@pytest.mark.parametrize("name", ["efficientnet_b0", "mobilenet_v3_small"])
def test_training_draws_no_random_numbers_of_its_own(name):
    network = build_backbone(name, 1, 64).train()
    one, other = network(images(64)), network(images(64))
    assert torch.equal(one, other)


def test_random_weights_are_those_of_the_stream_and_leave_the_global_state_alone():
    state = torch.get_rng_state()
    a, b, c = (build_backbone("resnet18", key, 64).conv1.weight for key in (7, 7, 8))
    assert torch.equal(a, b) and not torch.equal(a, c)
    assert torch.equal(torch.get_rng_state(), state)


def test_weights_survive_a_round_trip(tmp_path):
    one, other = build_backbone("mnasnet0_5", 1), build_backbone("mnasnet0_5", 2)
    save_weights(one, tmp_path / "w.safetensors")
    load_weights(other, tmp_path / "w.safetensors")
    assert all(
        torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    )


def test_names_that_look_like_a_published_densenets_are_left_alone():
    """MobileNet calls its layers conv.1 and conv.2, as DenseNet's file of 2017 called others."""
    whole = torchvision_network("mobilenet_v2")
    assert any(".conv.1." in path for path in whole.state_dict())
    load_state(build_backbone("mobilenet_v2", 1), whole.state_dict(), "torchvision")


def test_weights_of_another_network_are_refused_by_name(nothing_is_allocated):
    small, large = build_backbone("resnet18", 1), build_backbone("resnet34", 1)
    with pytest.raises(
        UserError, match=r"a file: these are not weights of the configured model \(Unexpected"
    ):
        load_state(small, large.state_dict(), "a file")
    other_size = build_backbone("vit_b_32", 1, 96).state_dict()
    with pytest.raises(UserError, match=r"pos_embedding.*are for one input_size"):
        load_state(build_backbone("vit_b_32", 1, 64), other_size, "a file")


@pytest.mark.parametrize(
    "name, size, message",
    [
        ("resnet51", 64, "model.name is 'resnet51'.*did you mean .*resnet50"),
        ("fcn_resnet50", 64, "model.name is 'fcn_resnet50'"),
        ("xyz", 64, "there are densenet_small, .*vit_b_16"),
        ("vit_b_32", 50, "input_size is 50, which vit_b_32 cannot take.*indivisible by patch size"),
        ("maxvit_t", 64, "input_size is 64, which maxvit_t cannot take.*not divisible by partition size"),
        ("alexnet", 32, "input_size is 32, which alexnet cannot take"),
        ("inception_v3", 48, "input_size is 48, which inception_v3 cannot take"),
    ],
)
def test_a_wrong_name_or_size_is_one_line(name, size, message, nothing_is_allocated):
    with pytest.raises(UserError, match=message) as caught:
        build_backbone(name, 1, size)
    assert "\n" not in str(caught.value)


def test_names_are_known_without_importing_torchvision():
    assert list(torchvision_names()) == torchvision.models.list_models(module=torchvision.models)
    script = (
        "import sys; from moco_transfer.config.networks import torchvision_names; "
        "print('resnet50' in torchvision_names(), {'torch', 'torchvision'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert found == "True set()\n"
