"""Backbones by name, with random weights or with those of a file."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from moco_transfer.atomic import replacing
from moco_transfer.backbones.densenet import DenseNet
from moco_transfer.config.networks import DENSENETS
from moco_transfer.errors import UserError


def build_backbone(name: str, key: int, input_size: int | None = None) -> nn.Module:
    """Return the backbone ``name`` (see ``backbones``) with the random weights of the stream ``key``.

    Parameters
    ----------
    name : a DenseNet, whose weights are drawn as in He et al. 2015, or any classification model of torchvision, which
        draws its own
    input_size : side of the images in pixels, for the networks that fix it when they are made; None is the size their
        published weights are for

    Raises UserError for a name that is neither, and for a size that the network cannot take.
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


class seeded:
    """Draw PyTorch's CPU random numbers from the stream ``key`` inside the block, and put the state back after it."""

    def __init__(self, key: int) -> None:
        self.key = key

    def __enter__(self) -> None:
        self.state = torch.get_rng_state()
        torch.manual_seed(self.key % 2**63)

    def __exit__(self, *_: object) -> None:
        torch.set_rng_state(self.state)


def save_weights(network: nn.Module, path: str | Path) -> None:
    """Write the weights of ``network`` to ``path`` as safetensors, whole or not at all."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    with replacing(path) as temporary:
        # Not by save_file, which lets nobody but the owner read what a group shares.
        temporary.write_bytes(save(tensors))


def load_weights(network: nn.Module, path: str | Path) -> None:
    """Load the safetensors file ``path`` into ``network``; raises UserError where names or shapes differ."""
    load_state(network, load_file(path), path)


def load_state(network: nn.Module, state: Mapping[str, Tensor], origin: str | Path) -> None:
    """Load ``state`` into the backbone ``network``, leaving a classifier out.

    Raises UserError where names or shapes differ.
    """
    # The published DenseNets of 2017 call a dense layer's parts norm.1, conv.1, ...; torchvision renames them so too.
    renamed = {
        re.sub(r"(denselayer\d+)\.(norm|conv)\.([12])\.", r"\1.\2\3.", name): value
        for name, value in state.items()
    }
    kept = OrderedDict((key, value) for key, value in renamed.items() if not key.startswith(network.left_out))
    kept._metadata = {"": {"version": network._version}}  # MNASNet refuses weights that do not say theirs
    try:
        network.load_state_dict(kept)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()[:200]
        hint = "; a vision transformer's weights are for one input_size" if "pos_embedding" in first else ""
        raise UserError(
            f"{origin}: these are not weights of the configured model ({first}){hint}; "
            "correct model.name, or the file"
        ) from None
