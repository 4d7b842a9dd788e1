"""The weights from which every experiment starts: ImageNet's, from the web or a file, or a stand-in."""

from __future__ import annotations

import shutil
import urllib.request
from pathlib import Path

import torch
from torch import nn

from moco_transfer.checksums import file_sha256
from moco_transfer.config import stages
from moco_transfer.config.training import Optimizer
from moco_transfer.data.labels import read_targets, split_rows
from moco_transfer.errors import UserError
from moco_transfer.files import replacing
from moco_transfer.networks import build_backbone, load_state, read_weights, save_weights, seeded
from moco_transfer.seeds import stream_key
from moco_transfer.training.attempt import attempt
from moco_transfer.training.checkpoint import Checkpoint, fingerprint
from moco_transfer.training.device import open_device
from moco_transfer.training.images import ImagePool
from moco_transfer.training.log import MetricsLog
from moco_transfer.training.loop import Recipe, SupervisedTraining


def fetch_weights(settings: stages.FetchWeights, *, encoder: Path) -> None:
    """Fetch or read published weights (a torchvision state dict or safetensors), and write them as the backbone's weights.

    Raises UserError if the download fails, the file is missing, its SHA-256 does not begin as configured, or it does not
    fit the network.
    """
    weights = settings.weights
    if weights.kind == "file":
        path = Path(weights.path)
    else:
        path = encoder.with_name(Path(weights.url).name)
        _download(weights.url, path)
    if not path.is_file():
        raise UserError(f"{path}: no such file of weights; correct model.initial_weights.path")
    found = file_sha256(path)
    if weights.sha256 is not None and not found.startswith(weights.sha256):
        raise UserError(
            f"{path}: SHA-256 begins with {found[:8]}, not {weights.sha256}, so the file is damaged or is "
            "another file; fetch it again, or set model.initial_weights.sha256 to null to use it"
        )
    if path.suffix == ".safetensors":
        state = read_weights(path)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
    network = build_backbone(settings.network.name, 0)
    load_state(network, state, path)
    save_weights(network, encoder)


def _download(url: str, path: Path) -> None:
    try:
        with (
            replacing(path) as temporary,
            urllib.request.urlopen(url, timeout=60) as answer,
            temporary.open("wb") as handle,
        ):
            shutil.copyfileobj(answer, handle)
    except OSError as error:
        raise UserError(
            f"{url}: cannot be fetched ({error}); fetch it elsewhere and set model.initial_weights: "
            "{kind: file, path: ...}"
        ) from None


def train_weights(
    settings: stages.TrainWeights, *, store: Path, splits: Path, encoder: Path, metrics: Path, device: str
) -> None:
    """Train a stand-in for published weights: a classifier of the classes of a dataset.

    Raises UserError unless each image has exactly one class.
    """
    index = store / "index.parquet"
    rows, labels = split_rows(splits, ["train"]), read_targets(index, "zero")[1]
    if (labels.sum(axis=1) != 1).any():
        raise UserError(
            f"{index}: some images have no class or several; model.initial_weights.dataset needs exactly one per image"
        )
    classes = labels.argmax(axis=1)
    weights, network_name = settings.weights, settings.network.name
    recipe = Recipe(
        Optimizer(batch=weights.batch, lr=weights.lr, name="sgd", momentum=0.9, weight_decay=1e-4),
        section="model.initial_weights",
        epochs=weights.epochs,
        operations=[],
        input_size=settings.network.input_size,
        computing=settings.computing,
        seed=settings.seed,
        stream=("initial",),
    )

    def train(checkpoint: Checkpoint) -> None:
        pool = ImagePool([(store / "images.npy", rows)])
        key = stream_key(settings.seed, "initial", "backbone")
        backbone = build_backbone(network_name, key, settings.network.input_size)
        with seeded(stream_key(settings.seed, "initial", "head")):
            network = nn.Sequential(backbone, nn.Linear(backbone.width, int(classes[rows].max()) + 1))
        loss = nn.CrossEntropyLoss()
        training = SupervisedTraining(network, pool, classes[rows], loss, recipe, open_device(device))
        with MetricsLog("initial weights", weights.epochs, len(pool), metrics.parent / "tensorboard") as log:
            saved = checkpoint.read()
            if saved is not None:
                log.load_state(saved["log"])
                training.load_state(saved["training"])
            for step in training.steps():
                log.step(step.images)
                if step.epoch is not None:
                    log.epoch(epoch=step.epoch, loss=step.loss, lr=step.lr)
                checkpoint.after_step(lambda: {"log": log.state(), "training": training.state()})
        log.write(metrics)
        save_weights(backbone, encoder)

    attempt(
        train,
        folder=encoder.parent / "state",
        fingerprint=fingerprint(
            __name__, settings.model_dump(), [store / "images.npy"], {"index": [index], "splits": [splits]}
        ),
        outputs=[encoder, metrics],
    )
