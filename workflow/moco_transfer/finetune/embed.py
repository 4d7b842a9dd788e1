"""The features of a frozen network for linear finetuning: each view of an image passes through the network once (#11)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from moco_transfer.augment import augment
from moco_transfer.config import stages
from moco_transfer.config.augmentation import operations_of
from moco_transfer.data.labels import split_rows, subset_rows
from moco_transfer.errors import UserError
from moco_transfer.files import write_array
from moco_transfer.networks import load_encoder
from moco_transfer.seeds import stream
from moco_transfer.training.device import open_device
from moco_transfer.training.images import ImagePool, View, predict

BATCH = 256


def embed(
    settings: stages.Embed,
    *,
    encoder: Path,
    images: Path,
    splits: Path,
    subsets: list[Path],
    features: Path,
    rows: Path,
    device: str,
) -> None:
    """Write the features of all images that a subset, validation or test needs, as ``finetune.linear.FeatureCache`` reads them.

    Raises UserError if a feature is not finite.
    """
    network = load_encoder(encoder)
    view = View(settings.crop, network.network)
    labelled = np.unique(np.concatenate([subset_rows(path) for path in subsets]))
    everyone = np.union1d(labelled, split_rows(splits, ["validation", "test"]))
    where = open_device(device)
    network.to(where)
    parts = [predict(network, ImagePool([(images, everyone)]), view, where, BATCH)]
    if settings.views > 1:
        pool = ImagePool([(images, labelled)])
        parts += [
            _augmented(settings, network, view, pool, number, where) for number in range(1, settings.views)
        ]
    found = np.concatenate(parts)
    broken = int((~np.isfinite(found).all(axis=1)).sum())
    if broken:
        raise UserError(
            f"{encoder}: with these weights, {broken} of {len(found)} features are not finite; "
            "lower the learning rate of the training that wrote them"
        )
    views = np.concatenate([np.zeros_like(everyone), np.repeat(np.arange(1, settings.views), len(labelled))])
    whose = np.concatenate([everyone, np.tile(labelled, settings.views - 1)])
    write_array(found, features)
    write_array(np.stack([whose, views], axis=1), rows)


@torch.no_grad()
def _augmented(
    settings: stages.Embed,
    network: torch.nn.Module,
    view: View,
    pool: ImagePool,
    number: int,
    device: torch.device,
) -> np.ndarray:
    """Return the features of one augmented view of each image of ``pool``, float32 [n, width]."""
    operations = operations_of(settings.augment)
    outputs = []
    for start in range(0, len(pool), BATCH):
        images = pool.batch(np.arange(start, min(start + BATCH, len(pool)))).to(device)
        random = stream(settings.seed, *settings.stream, "view", number, start)
        views = augment(images, operations, view.crop, random)
        outputs.append(network(view.prepare(views)).float().cpu().numpy())
    return np.concatenate(outputs)
