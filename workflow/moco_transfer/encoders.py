"""The encoders that MoCo does not train: weights of others, random ones, or a classifier that is trained here."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from moco_transfer.checksums import file_sha256
from moco_transfer.config import stages
from moco_transfer.config.training import Optimizer
from moco_transfer.data.labels import read_targets, require_one_class, split_rows
from moco_transfer.hub import fetch
from moco_transfer.networks import build_network, resolve, save_encoder, seeded
from moco_transfer.seeds import stream_key
from moco_transfer.training.attempt import attempt
from moco_transfer.training.checkpoint import Checkpoint, fingerprint
from moco_transfer.training.device import open_device
from moco_transfer.training.images import ImagePool, View
from moco_transfer.training.log import MetricsLog
from moco_transfer.training.loop import Recipe, SupervisedTraining
from moco_transfer.weights_files import read_state
from moco_transfer.weights_fit import fit_state


def import_encoder(settings: stages.ImportEncoder, *, encoder: Path) -> None:
    """Write an encoder file of weights that others published, or of random ones.

    Raises UserError if the weights cannot be fetched or read, or do not fit the architecture.
    """
    wanted = settings.encoder
    key = stream_key(settings.seed, *settings.stream, "backbone")
    module = build_network(resolve(wanted, settings.crop), key)
    origin = {}
    if wanted.kind != "random":
        path = fetch(wanted)
        fit_state(read_state(path), module, wanted.match, path)
        origin = {"weights_sha256": file_sha256(path)}
    save_encoder(module, encoder, **origin)


def train_weights(
    settings: stages.TrainWeights, *, store: Path, splits: Path, encoder: Path, metrics: Path, device: str
) -> None:
    """Train an encoder as a classifier of the classes of a dataset, a stand-in for published weights.

    Raises UserError unless each training image has exactly one class.
    """
    index = store / "index.parquet"
    rows, labels = split_rows(splits, ["train"]), read_targets(index, "zero")[1]
    require_one_class(labels, rows, index, "weights.classes_of needs one")
    classes = labels.argmax(axis=1)
    weights, network = settings.encoder.weights, resolve(settings.encoder, settings.crop)
    recipe = Recipe(
        Optimizer(batch=weights.batch, lr=weights.lr, name="sgd", momentum=0.9, weight_decay=1e-4),
        section="weights",
        epochs=weights.epochs,
        operations=[],
        view=View(settings.crop, network),
        computing=settings.computing,
        seed=settings.seed,
        stream=tuple(settings.stream),
    )

    def train(checkpoint: Checkpoint) -> None:
        pool = ImagePool([(store / "images.npy", rows)])
        backbone = build_network(network, stream_key(settings.seed, *settings.stream, "backbone"))
        with seeded(stream_key(settings.seed, *settings.stream, "head")):
            classifier = nn.Sequential(backbone, nn.Linear(backbone.width, int(classes[rows].max()) + 1))
        loss = nn.CrossEntropyLoss()
        training = SupervisedTraining(classifier, pool, classes[rows], loss, recipe, open_device(device))
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
        save_encoder(backbone, encoder)

    attempt(
        train,
        folder=encoder.parent / "state",
        fingerprint=fingerprint(
            __name__, settings.model_dump(), [store / "images.npy"], {"index": [index], "splits": [splits]}
        ),
        outputs=[encoder, metrics],
    )
