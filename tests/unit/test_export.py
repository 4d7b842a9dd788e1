"""An exported encoder, loaded by the Python lines that the export prints, gives the same features in other programs."""

from __future__ import annotations

import builtins
import json
from pathlib import Path

import pytest
import torch
from made_up_models import network, write_random_model
from torch import nn

import moco_transfer
from moco_transfer import cli
from moco_transfer.config.datasets import Store
from moco_transfer.networks import build_network, save_encoder

pytestmark = pytest.mark.usefixtures("one_thread")


def run(*options: object) -> int:
    return cli.main(["export", *map(str, options)])


def write_encoder(path: Path, name: str, channels: int = 3, size: int = 32) -> nn.Module:
    """Write an encoder whose batch normalisations are not those of a new network, and return it, for evaluation."""
    encoder = build_network(network(name, channels, size), 1)
    with torch.no_grad():
        for layer in encoder.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.uniform_(-0.1, 0.1)
                layer.running_var.uniform_(0.5, 1.5)
                layer.weight.uniform_(0.5, 1.5)
    save_encoder(encoder, path)
    return encoder.eval()


def printed(capsys) -> dict:
    """Run the Python lines that an export printed and return their names."""
    names: dict = {}
    exec(capsys.readouterr().out.partition("\n\n")[2], names)
    return names


@pytest.mark.parametrize(
    ("to", "name", "channels", "suffix"),
    [
        ("torchvision", "densenet_small", 3, ".pth"),
        ("torchvision", "densenet_small", 1, ".pt"),
        ("torchvision", "densenet121", 3, ".safetensors"),
        ("torchvision", "resnet18.tv_in1k", 1, ".pth"),
        ("timm", "densenet_small", 1, ".safetensors"),
        ("timm", "resnet18", 1, ".pth"),
        ("timm", "test_vit", 3, ".safetensors"),
    ],
)
def test_the_printed_lines_load_the_same_features(tmp_path, capsys, to, name, channels, suffix):
    size = 160 if name == "test_vit" else 32
    encoder = write_encoder(tmp_path / "encoder.safetensors", name, channels, size)
    out = tmp_path / f"the 'exported'{suffix}"
    assert run("--encoder", tmp_path / "encoder.safetensors", "--to", to, "--out", out) == 0
    loaded = printed(capsys)
    images = torch.rand(2, channels, size, size, generator=torch.Generator().manual_seed(7))
    expected = network(name, channels, size)
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (expected.mean, expected.std))
    theirs = images.expand(-1, 3, -1, -1) if to == "torchvision" else images
    other_mean, other_std = (torch.tensor(loaded[key]).view(-1, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        features = encoder((images - mean) / std)
        torch.testing.assert_close(
            loaded["network"]((theirs - other_mean) / other_std), features, rtol=1e-4, atol=1e-5
        )
    assert features.std() > 1e-3


@pytest.mark.parametrize(("name", "size", "head"), [("densenet_small", 32, True), ("test_vit", 160, False)])
def test_onnx_gives_the_same_outputs_for_any_number_of_images(tmp_path, capsys, name, size, head):
    pytest.importorskip("onnxruntime")
    path, out = tmp_path / "in.safetensors", tmp_path / "model.onnx"
    if head:
        expected = write_random_model(path, Store(size=40, fit="pad"), network(name, 1, size))
    else:
        expected = write_encoder(path, name, size=size)
    assert run("--encoder", path, "--to", "onnx", "--out", out) == 0
    session = printed(capsys)["session"]
    output = "logits" if head else "features"
    for n in (1, 3):
        images = torch.randn(n, 1 if head else 3, size, size)
        with torch.no_grad():
            outputs = session.run([output], {"images": images.numpy()})[0]
            torch.testing.assert_close(torch.from_numpy(outputs), expected(images), rtol=1e-4, atol=1e-4)
    assert (
        str(Path(moco_transfer.__file__).parent).encode() not in out.read_bytes()
    )  # nor any other folder of this machine
    known = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    assert known["name"] == name and known["size"] == size
    assert known["mean"] == network(name, 1 if head else 3).mean
    assert not head or (known["classes"] == ["one", "two"] and known["store"]["fit"] == "pad")


def test_the_encoder_of_a_finetuned_model_is_exported(tmp_path, capsys):
    path = tmp_path / "model.safetensors"
    model = write_random_model(path, Store(size=40, fit="pad"), network())
    assert run("--encoder", path, "--to", "torchvision", "--out", tmp_path / "e.pth") == 0
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(printed(capsys)["network"](images), model.encoder(images))


@pytest.mark.parametrize(
    ("to", "name", "out", "message"),
    [
        ("torchvision", "test_vit", "e.pth", "torchvision has no network named test_vit"),
        ("torchvision", "efficientnet_b0", "e.pth", "another network"),
        ("torchvision", "densenet_small", "e.onnx", ".pth"),
        ("onnx", "densenet_small", "e.pth", ".onnx"),
        ("timm", "densenet_small", "encoder.safetensors", "already"),
    ],
)
def test_what_cannot_be_exported_is_one_line(tmp_path, capsys, to, name, out, message):
    write_encoder(tmp_path / "encoder.safetensors", name, size=160 if name == "test_vit" else 32)
    before = sorted(tmp_path.iterdir())
    assert run("--encoder", tmp_path / "encoder.safetensors", "--to", to, "--out", tmp_path / out) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error
    assert sorted(tmp_path.iterdir()) == before


def test_without_onnx_one_line_says_how_to_install_it(tmp_path, capsys, monkeypatch):
    write_encoder(tmp_path / "e.safetensors", "densenet_small")
    found = builtins.__import__

    def without_onnx(name, *rest):
        if name.split(".")[0] in ("onnx", "onnxscript"):
            raise ImportError(name=name)
        return found(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_onnx)
    assert run("--encoder", tmp_path / "e.safetensors", "--to", "onnx", "--out", tmp_path / "e.onnx") == 1
    assert "pip install onnx" in capsys.readouterr().err


def test_weights_that_compute_something_else_there_are_not_written(tmp_path, capsys, monkeypatch):
    write_encoder(tmp_path / "e.safetensors", "densenet_small")
    import torchvision

    right = torchvision.models.DenseNet.forward
    monkeypatch.setattr(torchvision.models.DenseNet, "forward", lambda self, x: right(self, x) + 0.1)
    assert (
        run("--encoder", tmp_path / "e.safetensors", "--to", "torchvision", "--out", tmp_path / "e.pth") == 1
    )
    assert "other features" in capsys.readouterr().err
    assert not (tmp_path / "e.pth").exists()
