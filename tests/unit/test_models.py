"""The DenseNet against torchvision's, layer by layer, and files of weights."""

import pytest
import torch

from moco_transfer.errors import UserError
from moco_transfer.networks import TAPS, build_backbone, load_state, load_weights, save_weights


@pytest.fixture(scope="module")
def torchvision_densenet():
    from torchvision.models import densenet121

    torch.manual_seed(0)
    return densenet121().eval()


def test_densenet121_gives_torchvisions_features_with_torchvisions_weights(torchvision_densenet):
    backbone = build_backbone("densenet121", 1).eval()
    load_state(backbone, torchvision_densenet.state_dict(), "torchvision")
    images = torch.randn(2, 3, 64, 64)
    expected = torch.relu(torchvision_densenet.features(images)).mean((2, 3))
    torch.testing.assert_close(backbone(images), expected)
    assert backbone.width == 1024
    assert {path.removeprefix("features.") for path in TAPS.values()} <= set(
        dict(torchvision_densenet.features.named_children())
    )


def test_the_names_of_the_published_file_are_understood(torchvision_densenet):
    published = {
        name.replace("norm1.", "norm.1.")
        .replace("norm2.", "norm.2.")
        .replace("conv1.", "conv.1.")
        .replace("conv2.", "conv.2.")
        if "denselayer" in name
        else name: value
        for name, value in torchvision_densenet.state_dict().items()
    }
    assert any(".norm.1." in name for name in published)
    load_state(build_backbone("densenet121", 1), published, "published")


def test_weights_can_be_read_by_whom_other_files_can(tmp_path):
    save_weights(build_backbone("densenet_small", 0), tmp_path / "encoder.safetensors")
    (tmp_path / "other").touch()
    assert (tmp_path / "encoder.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_weights_survive_a_round_trip(tmp_path):
    one, other = build_backbone("densenet_small", 1), build_backbone("densenet_small", 2)
    save_weights(one, tmp_path / "w.safetensors")
    load_weights(other, tmp_path / "w.safetensors")
    assert all(
        torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    )


def test_random_weights_are_those_of_the_stream():
    a, b, c = (build_backbone("densenet_small", key).features.conv0.weight for key in (7, 7, 8))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_weights_of_another_network_are_refused_by_name(tmp_path):
    save_weights(build_backbone("densenet_small", 1), tmp_path / "small.safetensors")
    with pytest.raises(UserError, match=r"small.safetensors.*not weights of the configured model"):
        load_weights(build_backbone("densenet121", 1), tmp_path / "small.safetensors")
