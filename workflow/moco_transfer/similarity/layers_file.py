"""The activations of one dataset's images as a file: an array for each layer, which keep the order they are given in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from moco_transfer.atomic import replacing
from moco_transfer.errors import UserError


def write_layers(path: str | Path, layers: Mapping[str, NDArray[np.float32]]) -> None:
    """Write the arrays [images, channels] by layer to ``path``, whole or not at all."""
    # Safetensors sorts arrays by name: features.10 would stand before features.2 in every figure.
    with replacing(path) as temporary:
        # Not by save_file, which lets nobody but the owner read what a group shares.
        temporary.write_bytes(save(dict(layers), metadata={"layers": json.dumps(list(layers))}))


def read_layers(path: str | Path) -> dict[str, NDArray[np.float32]]:
    """Return what ``write_layers`` wrote, layers in the order given there; raises UserError for any other file."""
    try:
        with safe_open(path, framework="numpy") as file:
            order = json.loads((file.metadata() or {})["layers"])
            return {name: file.get_tensor(name) for name in order}
    except (SafetensorError, KeyError, ValueError):
        raise UserError(
            f"{path}: expected a safetensors file that lists its layers; remove it and run again"
        ) from None
