"""The features of a frozen network, for linear finetuning: each image passes through it once for each view (#11)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from moco_transfer.augment import augment
from moco_transfer.config.augmentation import Operation, operations_of
from moco_transfer.errors import UserError
from moco_transfer.networks import build_backbone, load_weights
from moco_transfer.seeds import stream
from moco_transfer.training.images import ImagePool, normalise, predict

BATCH = 256

Augmentation = str | list[dict[str, Any]]


def embed_images(
    encoder: Path,
    images: Path,
    labeled: np.ndarray,
    scored: np.ndarray,
    *,
    model: str,
    views: int,
    augmentation: Augmentation | None,
    input_size: int,
    seed: int,
    stream_name: tuple[str | int, ...],
    device: torch.device,
) -> tuple[np.ndarray, np.ndarray]:
    """Return features, float32 [m, width], and whose they are, int64 [m, 2], as ``feature_cache`` describes them.

    Parameters
    ----------
    encoder : the weights of a network of the kind ``model``; it is in evaluation mode here
    images : the store's images.npy
    labeled, scored : rows of the store that some labelled subset holds, and that are validated or tested on; in any
        order, with repetitions. No other image passes through the network.
    views : 1 for the images as they are; each further one is an augmented view of the labelled images
    augmentation : a preset's name or a list of operations; None where ``views`` is 1
    stream_name : names the augmentation

    Raises UserError where a feature is not finite.
    """
    network = build_backbone(model, 0, input_size)
    load_weights(network, encoder)
    labeled = np.unique(labeled)
    everyone = np.union1d(labeled, scored)
    parts = [predict(network.to(device), ImagePool([(images, everyone)]), input_size, device, BATCH)]
    if views > 1:
        pool, operations = ImagePool([(images, labeled)]), operations_of(augmentation)
    for view in range(1, views):
        draw = (seed, *stream_name, "view", view)
        parts.append(_augmented_features(network, pool, operations, input_size, draw, device))
    features = np.concatenate(parts)
    broken = int((~np.isfinite(features).all(axis=1)).sum())
    if broken:
        raise UserError(
            f"{encoder}: {broken} of {len(features)} features by these weights are not finite; "
            "lower the learning rate of the training they come from"
        )
    rows = np.concatenate([everyone, np.tile(labeled, views - 1)])
    numbers = np.concatenate([np.zeros_like(everyone), np.repeat(np.arange(1, views), len(labeled))])
    return features, np.stack([rows, numbers], axis=1)


@torch.no_grad()
def _augmented_features(
    network: nn.Module,
    pool: ImagePool,
    operations: list[Operation],
    input_size: int,
    draw: tuple[str | int, ...],
    device: torch.device,
) -> np.ndarray:
    """Return the features of one augmented view of each image of ``pool``, float32 [n, width]."""
    outputs = []
    for start in range(0, len(pool), BATCH):
        images = pool.batch(np.arange(start, min(start + BATCH, len(pool)))).to(device)
        views = augment(images, operations, input_size, stream(*draw, start))
        outputs.append(network(normalise(views)).float().cpu().numpy())
    return np.concatenate(outputs)
