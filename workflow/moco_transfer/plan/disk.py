"""The disk that a run fills: images, features, encoders, predictions. Releases, logs, figures and tables are not counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from moco_transfer.config import Config
from moco_transfer.config.datasets import Dataset
from moco_transfer.config.networks import DENSENETS
from moco_transfer.data.releases import RELEASES
from moco_transfer.plan.images import Images
from moco_transfer.plan.jobs import Job

ENCODER_RULES = ("fetch_weights", "train_weights", "pretrain", "pretrain_size", "pretrain_limited")
# Of a row of predictions as it was found in finished runs: a logit with its label, and the image's and patient's names.
LOGIT_BYTES, NAME_BYTES = 5, 16


def disk_bytes(config: Config, images: Mapping[str, Images], jobs: Sequence[Job]) -> dict[str, int | None]:
    """Return the bytes of each kind of file; None where the size of the network is known to torchvision alone.

    ``shards`` are there only until they are joined, and never where a dataset has but one.
    """
    stored = {name: _pixels(config.datasets[name]) * found.stored for name, found in images.items()}
    network = densenet_size(config.model.name)
    features = encoders = None
    if network is not None:
        width, numbers = network
        features = 4 * width * sum(job.rows for job in jobs if job.rule in ("embed", "embed_limited"))
        encoders = 4 * numbers * sum(job.rule in ENCODER_RULES for job in jobs)
    return {
        "images": sum(stored.values()),
        "shards": sum(size for name, size in stored.items() if config.datasets[name].store.shards > 1),
        "features": features,
        "encoders": encoders,
        "predictions": _predictions(config, jobs),
    }


def densenet_size(name: str) -> tuple[int, int] | None:
    """Return (width of the features, numbers in the weights file) of a DenseNet, or None for another network.

    Huang et al. 2017: a layer adds ``growth`` channels by a 1x1 convolution to 4 x growth and a 3x3 convolution; a
    transition halves the channels. Batch normalisation has four numbers a channel.
    """
    if name not in DENSENETS:
        return None
    growth, blocks, channels = DENSENETS[name]
    numbers = 3 * channels * 7 * 7 + 4 * channels
    for block, layers in enumerate(blocks, start=1):
        for _ in range(layers):
            numbers += 4 * channels + channels * 4 * growth + 4 * 4 * growth + 4 * growth * growth * 3 * 3
            channels += growth
        if block < len(blocks):
            numbers += 4 * channels + channels * (channels // 2)
            channels //= 2
    return channels, numbers + 4 * channels


def _pixels(dataset: Dataset) -> int:
    return dataset.store.size**2 * (3 if dataset.store.colour else 1)


def _predictions(config: Config, jobs: Sequence[Job]) -> int:
    row = {target: LOGIT_BYTES * _classes(config.datasets[target]) + NAME_BYTES for target in config.targets}
    return sum(job.rows * row[job.target] for job in jobs if job.rule in ("linear", "end_to_end"))


def _classes(dataset: Dataset) -> int:
    """Return how many labels a dataset has; a folder of classes that is not there counts as one."""
    if dataset.table:
        return len(dataset.table.labels)
    known = RELEASES[dataset.adapter].classes
    return known or max(1, sum(path.is_dir() for path in Path(dataset.root or "").glob("[!.]*")))
