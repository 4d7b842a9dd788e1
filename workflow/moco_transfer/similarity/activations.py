"""The activations of a network for the images of one dataset: recorded at taps, averaged over each map, kept
in a file.

A tap is a layer whose output is compared (see ``similarity.taps``). The file holds one array [images,
channels] per layer and remembers their order, which is that of the figures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor, nn

from moco_transfer.checksums import PLACE, check
from moco_transfer.config import stages
from moco_transfer.errors import UserError
from moco_transfer.files import map_array, replacing
from moco_transfer.networks import load_encoder
from moco_transfer.seeds import stream
from moco_transfer.similarity.taps import channel_means, choose_taps
from moco_transfer.training.device import open_device
from moco_transfer.training.images import ImagePool, View


def activations(
    settings: stages.RecordActivations,
    *,
    encoder: Path,
    images: list[Path],
    activations: list[Path],
    device: str,
) -> None:
    """Record a network's activations for random images of each dataset."""
    network = load_encoder(encoder)
    taps, view = choose_taps(network, settings.taps), View(settings.crop, network.network)
    where = open_device(device)
    network.to(where)
    for dataset, store, path in zip(settings.datasets, images, activations, strict=True):
        pool = draw_pool(store, dataset, settings.images, settings.seed)
        write_layers(path, layer_activations(network, taps, pool, view, where))


def draw_pool(store: Path, dataset: str, images: int, seed: int) -> ImagePool:
    """Return ``images`` random images of a dataset, the same ones for every network.

    They come in random order, so that a dataset can be cut to the first n images if another one has only n.
    """
    stored = len(map_array(store))
    return ImagePool([(store, stream(seed, "similarity", "images", dataset).permutation(stored)[:images])])


@torch.no_grad()
def layer_activations(
    network: nn.Module,
    taps: Mapping[str, str],
    pool: ImagePool,
    view: View,
    device: torch.device,
    batch: int = 128,
) -> dict[str, np.ndarray]:
    """Return the mean output of each tap over all positions, float32 [n, channels], for the images of
    ``pool``.

    ``taps`` maps name to path. The images pass once, in evaluation mode. Maps are averaged because each row
    of SVCCA is one image (#18). If a layer runs several times for one image, its last output counts.

    Raises UserError for a tap that does not run, or whose output is not one array of numbers.
    """
    network.eval()
    latest: dict[str, Tensor] = {}
    collected: dict[str, list[np.ndarray]] = {tap: [] for tap in taps}

    def record(tap: str, output: object) -> None:
        if not isinstance(output, Tensor):
            raise UserError(f"taps.{tap} gives more than one array; choose a layer inside or after it")
        # Average at once: the next layer may work in place.
        latest[tap] = channel_means(output)

    hooks = [
        network.get_submodule(path).register_forward_hook(
            lambda _module, _inputs, output, tap=tap: record(tap, output)
        )
        for tap, path in taps.items()
    ]
    for start in range(0, len(pool), batch):
        images = pool.batch(np.arange(start, min(start + batch, len(pool)))).to(device)
        network(view.of(images))
        for tap, parts in collected.items():
            if tap not in latest:
                raise UserError(f"taps.{tap} is a layer that images do not pass through; choose another")
            parts.append(latest.pop(tap).cpu().numpy())
    for hook in hooks:
        hook.remove()
    return {tap: np.concatenate(parts) for tap, parts in collected.items()}


def write_layers(path: str | Path, layers: Mapping[str, NDArray[np.float32]]) -> None:
    """Write the arrays [images, channels] by layer to ``path``, whole or not at all."""
    # Safetensors sorts arrays by name, which would put features.10 before features.2 in every figure.
    # In one entry, because Safetensors writes several in random order.
    about = json.dumps({"layers": list(layers), "checksum": PLACE})
    with replacing(path, sealed=True) as temporary:
        # save_file is not used, because it makes files that only their owner can read.
        temporary.write_bytes(save(dict(layers), {"about": about}))


def read_layers(path: Path) -> dict[str, NDArray[np.float32]]:
    """Return what ``write_layers`` wrote, in its order; raises UserError for any other file."""
    check(path)
    try:
        with safe_open(path, framework="numpy") as file:
            order = json.loads((file.metadata() or {})["about"])["layers"]
            return {name: file.get_tensor(name) for name in order}
    except (SafetensorError, KeyError, TypeError, ValueError):
        raise UserError(
            f"{path}: expected a safetensors file that lists its layers; remove it and run again"
        ) from None
