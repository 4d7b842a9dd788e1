"""Backbones: networks without their classifier, built by name with random weights or with the weights of a
file.

DenseNet (Huang et al. 2017), the paper's network, is defined here, because importing torchvision takes longer
than most jobs. It has torchvision's layers under torchvision's parameter names, so that published weights
load and a test can compare the two. ``backbones`` builds every other classification model of torchvision.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional as F

from moco_transfer.checksums import PLACE, check, damaged
from moco_transfer.config.networks import DENSENETS
from moco_transfer.errors import UserError
from moco_transfer.files import replacing


def build_backbone(name: str, key: int, input_size: int | None = None) -> nn.Module:
    """Return the backbone ``name`` with random weights from the stream ``key``.

    ``name`` is a DenseNet, whose weights are drawn as in He et al. 2015, or any classification model of
    torchvision, which draws its own. ``input_size`` is the side of the images in pixels, for networks that
    fix it when they are built; if it is None, they take the size that their published weights are for.

    Raises UserError for an unknown name, and for a size that the network cannot take.
    """
    with seeded(key):
        if name not in DENSENETS:
            from moco_transfer.backbones.torchvision_models import build_torchvision

            return build_torchvision(name, input_size)
        network = DenseNet(*DENSENETS[name])
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
    return network


@contextmanager
def seeded(key: int) -> Iterator[None]:
    """Draw PyTorch's CPU random numbers from the stream ``key`` in this block; restore the state after it."""
    state = torch.get_rng_state()
    torch.manual_seed(key % 2**63)
    try:
        yield
    finally:
        torch.set_rng_state(state)


def save_weights(network: nn.Module, path: str | Path) -> None:
    """Write the weights of ``network`` to ``path`` as safetensors with a checksum, whole or not at all."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    with replacing(path, sealed=True) as temporary:
        # save_file is not used, because it makes files that only their owner can read.
        temporary.write_bytes(save(tensors, {"checksum": PLACE}))


def load_weights(network: nn.Module, path: Path) -> None:
    """Load the safetensors file ``path`` into ``network``; raises UserError if it is damaged, or names or shapes differ."""
    load_state(network, read_weights(path), path)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of the safetensors file ``path`` by name; raises UserError if it is damaged.

    Weights that others published have no checksum.
    """
    check(path)
    try:
        return load_file(path)
    except SafetensorError:
        raise damaged(path) from None


def load_state(network: nn.Module, state: Mapping[str, Tensor], origin: str | Path) -> None:
    """Load ``state``, without its classifier, into the backbone ``network``.

    Raises UserError, which names ``origin``, if names or shapes differ.
    """
    # The published DenseNets of 2017 call a dense layer's parts norm.1, conv.1, ...; torchvision renames them
    # too.
    renamed = {
        re.sub(r"(denselayer\d+)\.(norm|conv)\.([12])\.", r"\1.\2\3.", name): value
        for name, value in state.items()
    }
    kept = OrderedDict((key, value) for key, value in renamed.items() if not key.startswith(network.left_out))
    kept._metadata = {"": {"version": network._version}}  # MNASNet refuses weights without a version
    try:
        network.load_state_dict(kept)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()[:200]
        hint = "; a vision transformer's weights are for one input_size" if "pos_embedding" in first else ""
        raise UserError(
            f"{origin}: these are not weights of the configured model ({first}){hint}; "
            "correct model.name, or the file"
        ) from None


# The layers of figure 3: the first convolution and the output of each dense block.
TAPS = {"CV1": "features.conv0"} | {f"DB{i}": f"features.denseblock{i}" for i in range(1, 5)}


class DenseLayer(nn.Module):
    """BN, ReLU, 1x1 convolution to 4 x growth channels; BN, ReLU, 3x3 convolution to ``growth`` channels."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(F.relu(self.norm1(x), inplace=True))
        return self.conv2(F.relu(self.norm2(x), inplace=True))


class DenseBlock(nn.Module):
    """Layers, each of which sees the block's input and the outputs of all earlier layers, concatenated."""

    def __init__(self, channels: int, layers: int, growth: int) -> None:
        super().__init__()
        for i in range(layers):
            self.add_module(f"denselayer{i + 1}", DenseLayer(channels + i * growth, growth))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = torch.cat([x, layer(x)], dim=1)
        return x


class Transition(nn.Module):
    """BN, ReLU, 1x1 convolution that halves the channels, 2x2 average pooling."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, channels // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.conv(F.relu(self.norm(x), inplace=True)), 2)


class DenseNet(nn.Module):
    """DenseNet without its classifier: from images [n, 3, h, w] to pooled features [n, ``width``]."""

    left_out = ("classifier.",)

    def __init__(self, growth: int, blocks: tuple[int, ...], channels: int) -> None:
        super().__init__()
        layers = OrderedDict(
            conv0=nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False),
            norm0=nn.BatchNorm2d(channels),
            relu0=nn.ReLU(),
            pool0=nn.MaxPool2d(3, stride=2, padding=1),
        )
        for i, depth in enumerate(blocks, start=1):
            layers[f"denseblock{i}"] = DenseBlock(channels, depth, growth)
            channels += depth * growth
            if i < len(blocks):
                layers[f"transition{i}"] = Transition(channels)
                channels //= 2
        layers[f"norm{len(blocks) + 1}"] = nn.BatchNorm2d(channels)
        self.features = nn.Sequential(layers)
        self.width = channels

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.features(x), inplace=True).mean(dim=(2, 3))
