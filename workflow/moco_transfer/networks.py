"""Encoders: networks that turn images [n, channels, size, size] into features [n, width], and their files.

timm builds the networks. Only the demo's small DenseNet (Huang et al. 2017) is defined here, with torchvision's parameter names,
because importing timm takes longer than most of the demo's jobs.

Every encoder is an ``nn.Module`` with two attributes: ``network`` says how it is built and fed (``config.encoders.Network``), and
``width`` is the number of its features. Its file holds both, so that whoever reads it needs no configuration.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from moco_transfer.checksums import check, damaged
from moco_transfer.config.encoders import IMAGENET_MEAN, IMAGENET_STD, SMALL, Encoder, Network
from moco_transfer.errors import UserError
from moco_transfer.tensors import write_tensors

# Layers that draw random numbers in training. They are off, because all random numbers of a training come from named
# streams, and because in MoCo two views must differ only by their augmentation.
RANDOM_LAYERS = (
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "DropPath",
    "DropBlock2d",
    "PatchDropout",
    "StochasticDepth",
)


def build_network(network: Network, key: int) -> nn.Module:
    """Return the encoder ``network`` with random weights from the stream ``key``.

    Raises UserError if timm does not have the name, or if the network cannot take images of that size.
    """
    with seeded(key):
        if network.name == SMALL:
            module = DenseNet(8, (2, 3, 4, 3), 16, network.channels)
            for layer in module.modules():
                if isinstance(layer, nn.Conv2d):
                    nn.init.kaiming_normal_(layer.weight)
        else:
            module = _build_timm(network)
    module.network = network
    return module


def _build_timm(network: Network) -> nn.Module:
    import timm

    try:
        module = timm.create_model(network.name, **timm_arguments(network), drop_rate=0.0)
        for layer in module.modules():
            if type(layer).__name__ in RANDOM_LAYERS:
                for probability in ("p", "drop_prob", "prob"):
                    if hasattr(layer, probability):
                        setattr(layer, probability, 0.0)
        # A size that is too small is found now, not during a training.
        with torch.no_grad():
            features = module.eval()(torch.zeros(1, network.channels, network.size, network.size))
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise UserError(
            f"{network.name} cannot be built for images of {network.size} pixels ({reason}); give input.size another value"
        ) from None
    if features.ndim != 2:
        raise UserError(f"{network.name} gives no features [n, width]; choose another network")
    if hasattr(module, "network"):  # VOLO calls its blocks so
        raise UserError(
            f"{network.name} has a part with the name that its settings have here; choose another network"
        )
    module.width = features.shape[1]
    return module.train()


def timm_arguments(network: Network) -> dict[str, int]:
    """Return what ``timm.create_model`` needs besides the name to build ``network``."""
    sized = {"img_size": network.size} if _takes_one_size(network.name) else {}
    return {"num_classes": 0, "in_chans": network.channels, **sized}


def _takes_one_size(name: str) -> bool:
    import timm

    found = timm.get_pretrained_cfg(name.split(".")[0], allow_unregistered=False)
    return bool(found and found.fixed_input_size)


def resolve(encoder: Encoder, crop: int) -> Network:
    """Return the network of ``encoder``: what the configuration leaves open is timm's choice, or the ``crop``.

    Raises UserError if timm does not know the name or its tag.
    """
    size, mean, std = crop, IMAGENET_MEAN, IMAGENET_STD
    if encoder.encoder != SMALL:
        import timm

        try:
            usual = timm.get_pretrained_cfg(encoder.encoder)
        except RuntimeError:
            known = timm.list_models(f"{encoder.encoder.split('.')[0]}.*", pretrained=True)
            raise UserError(
                f"config: timm has no weights named '{encoder.encoder}'; of this network it has "
                f"{', '.join(known) or 'none'}"
            ) from None
        mean, std = list(usual.mean), list(usual.std)
        if usual.fixed_input_size:
            size = usual.input_size[-1]
    given, channels = encoder.input, encoder.channels
    return Network(
        name=encoder.encoder,
        channels=channels,
        size=given.size or size,
        mean=_per_channel(given.mean or mean, channels),
        std=_per_channel(given.std or std, channels),
    )


def _per_channel(values: list[float], channels: int) -> list[float]:
    """Return one value per channel; three values for one channel are averaged."""
    if len(values) == channels:
        return values
    return [sum(values) / len(values)] * channels


@contextmanager
def seeded(key: int) -> Iterator[None]:
    """Draw PyTorch's CPU random numbers from the stream ``key`` in this block; restore the state after it."""
    state = torch.get_rng_state()
    torch.manual_seed(key % 2**63)
    try:
        yield
    finally:
        torch.set_rng_state(state)


def save_encoder(encoder: nn.Module, path: str | Path, **about: str) -> None:
    """Write ``encoder`` to ``path``: weights and network in one safetensors file with a checksum, whole or not at all.

    ``about`` is what else the file is to say of it.
    """
    network = {"network": encoder.network.model_dump(), "width": encoder.width}
    write_weights(path, encoder.state_dict(), network | about)


def load_encoder(path: Path) -> nn.Module:
    """Return the encoder in the file ``path``, on the CPU in training mode.

    Raises UserError if the file is damaged, or was not written by ``save_encoder``.
    """
    weights, about = read_weights(path)
    encoder = build_network(read_network(about, path), 0)
    load_state(encoder, weights, path)
    return encoder


def read_network(about: Mapping[str, Any], path: Path) -> Network:
    """Return the network that the file ``path`` names in ``about``; raises UserError if it names none."""
    try:
        return Network.model_validate(about["network"])
    except (KeyError, TypeError, ValidationError):
        raise UserError(
            f"{path}: not an encoder of this version of the package; import it as a source first (docs/encoders.md)"
        ) from None


def write_weights(path: str | Path, weights: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write named tensors to ``path`` as safetensors with a checksum, whole or not at all; ``about`` goes into its metadata."""
    write_tensors(path, {name: value.detach().cpu().numpy() for name, value in weights.items()}, about)


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of the safetensors file ``path`` by name, and what ``write_weights`` wrote about them.

    Raises UserError if the file is damaged. Weights that others published have no checksum, and nothing is known about them.
    """
    check(path)
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("about", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, about  # noqa: SIM118 (not a mapping)
    except (SafetensorError, ValueError):
        raise damaged(path) from None


def load_state(module: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Load ``weights``, the tensors of ``path``, into ``module``; raises UserError if names or shapes differ."""
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()[:200]
        raise UserError(
            f"{path}: its weights do not fit the network that it names ({first}); remove it and run again"
        ) from None


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
    """DenseNet without its classifier: from images [n, inputs, h, w] to pooled features [n, ``width``]."""

    def __init__(self, growth: int, blocks: tuple[int, ...], channels: int, inputs: int) -> None:
        super().__init__()
        layers = OrderedDict(
            conv0=nn.Conv2d(inputs, channels, 7, stride=2, padding=3, bias=False),
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
