"""The weights that every experiment starts from: ImageNet's, downloaded or local, or a small stand-in trained here."""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import torch
from torch import nn

from moco_transfer import config
from moco_transfer.errors import UserError
from moco_transfer.files import replacing
from moco_transfer.networks import build_backbone, load_state, save_weights, seeded
from moco_transfer.seeds import stream_key
from moco_transfer.training.checkpoint import Checkpoint
from moco_transfer.training.device import Precision
from moco_transfer.training.images import ImagePool
from moco_transfer.training.log import MetricsLog
from moco_transfer.training.loop import train_network


def import_weights(path: Path, sha256: str | None, model: str, encoder: Path) -> None:
    """Read a torchvision state dict (or safetensors) and write it as the backbone's weights.

    Raises UserError where the file is missing, its SHA-256 does not begin with ``sha256``, or it does not fit.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file of weights; correct model.initial_weights.path")
    with path.open("rb") as handle:
        found = hashlib.file_digest(handle, "sha256").hexdigest()
    if sha256 is not None and not found.startswith(sha256):
        raise UserError(
            f"{path}: SHA-256 begins {found[:8]}, not {sha256}: it is damaged, or another file: then set model.initial_weights.sha256: null"
        )
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        state = load_file(path)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
    network = build_backbone(model, 0)
    load_state(network, state, path)
    save_weights(network, encoder)


def download(url: str, path: Path) -> None:
    """Fetch ``url`` to ``path``, whole or not at all; raises UserError with the address where that fails."""
    try:
        with (
            replacing(path) as temporary,
            urllib.request.urlopen(url, timeout=60) as answer,
            temporary.open("wb") as handle,
        ):
            while chunk := answer.read(1 << 20):
                handle.write(chunk)
    except (urllib.error.URLError, OSError) as error:
        raise UserError(
            f"{url}: cannot be fetched ({error}); fetch it elsewhere and set model.initial_weights: "
            "{kind: file, path: ...}"
        ) from None


def train_weights(
    images: Path,
    rows: np.ndarray,
    classes: np.ndarray,
    encoder: Path,
    metrics: Path,
    *,
    model: str,
    input_size: int,
    epochs: int,
    batch: int,
    lr: float,
    precision: Precision,
    compiled: bool,
    seed: int,
    device: torch.device,
    checkpoint: Checkpoint,
) -> None:
    """Train the network from random weights to tell classes apart, and write the backbone.

    Parameters
    ----------
    images, rows : the store's images.npy and the rows to train on, int64 [n]
    classes : the class of each of those images, int64 [n]
    metrics : gets a row an epoch
    checkpoint : where the state lies to go on from, if there is one
    """
    pool = ImagePool([(images, rows)])
    backbone = build_backbone(model, stream_key(seed, "initial", "backbone"), input_size)
    with seeded(stream_key(seed, "initial", "head")):
        network = nn.Sequential(backbone, nn.Linear(backbone.width, int(classes.max()) + 1))
    with MetricsLog("initial weights", epochs, len(pool), metrics.parent / "tensorboard") as log:
        saved = checkpoint.read()
        if saved is not None:
            log.load_state(saved["log"])
        train_network(
            network,
            pool,
            classes,
            loss=nn.CrossEntropyLoss(),
            optimizer=config.Optimizer(batch=batch, lr=lr, name="sgd", momentum=0.9, weight_decay=1e-4),
            epochs=epochs,
            augmentation="none",
            input_size=input_size,
            precision=precision,
            compiled=compiled,
            seed=seed,
            stream_name=("initial",),
            device=device,
            seen=log.step,
            after_epoch=lambda epoch, loss, rate: log.epoch(epoch=epoch, loss=loss, lr=rate),
            after_step=lambda state: checkpoint.after_step(lambda: {"log": log.state(), "training": state()}),
            saved=None if saved is None else saved["training"],
        )
    log.write(metrics)
    save_weights(backbone, encoder)
