"""Stages that train networks and heads, from initial weights to predictions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from moco_transfer.config import Optimizer

Settings = dict[str, Any]


def fetch_weights(settings: Settings, *, encoder: Path) -> None:
    """Fetch or read published weights and write them as the backbone's."""
    from moco_transfer.initial_weights import download, import_weights

    if settings["kind"] == "file":
        path = Path(settings["path"])
    else:
        path = encoder.with_name(Path(settings["url"]).name)
        download(settings["url"], path)
    import_weights(path, settings["sha256"], settings["model"], encoder)


def train_weights(
    settings: Settings, *, images: Path, index: Path, splits: Path, encoder: Path, metrics: Path, device: str
) -> None:
    """Train a stand-in for published weights on a dataset whose labels are classes."""
    from moco_transfer.data.labels import read_targets
    from moco_transfer.data.rows import split_rows
    from moco_transfer.errors import UserError
    from moco_transfer.initial_weights import train_weights
    from moco_transfer.training.attempt import attempt
    from moco_transfer.training.device import open_device
    from moco_transfer.training.fingerprint import fingerprint

    rows = split_rows(splits, ["train"])
    labels = read_targets(index, "zero")[1]
    if (labels.sum(axis=1) != 1).any():
        raise UserError(
            f"{index}: images have no class or several; model.initial_weights.dataset needs one each"
        )
    classes = labels.argmax(axis=1)
    attempt(
        lambda checkpoint: train_weights(
            images,
            rows,
            classes[rows],
            encoder,
            metrics,
            model=settings["model"],
            input_size=settings["input_size"],
            epochs=settings["epochs"],
            batch=settings["batch"],
            lr=settings["lr"],
            seed=settings["seed"],
            device=open_device(device),
            checkpoint=checkpoint,
        ),
        folder=encoder.parent / "state",
        fingerprint=fingerprint(settings, [images], {"index": [index], "splits": [splits]}),
        outputs=[encoder, metrics],
    )


def pretrain(
    settings: Settings,
    *,
    initial: Path,
    images: list[Path],
    splits: list[Path] | None = None,
    subset: Path | None = None,
    encoder: Path,
    metrics: Path,
    device: str,
) -> None:
    """Pretrain the initial weights by MoCo on the images of one source: splits of datasets, or a labelled subset."""
    from moco_transfer import config
    from moco_transfer.data.rows import split_rows, subset_rows
    from moco_transfer.pretrain import pretrain
    from moco_transfer.training.attempt import attempt
    from moco_transfer.training.device import open_device
    from moco_transfer.training.fingerprint import fingerprint

    if splits is not None:
        rows = [split_rows(path, settings["images"].split("+")) for path in splits]
    else:
        rows = [subset_rows(subset)]
    attempt(
        lambda checkpoint: pretrain(
            list(zip(images, rows, strict=True)),
            initial,
            encoder,
            metrics,
            model=settings["model"],
            input_size=settings["input_size"],
            settings=config.Moco.model_validate(settings["moco"]),
            schedule=config.Schedule.model_validate(settings["schedule"]),
            seed=settings["seed"],
            stream_name=settings["stream"],
            device=open_device(device),
            checkpoint=checkpoint,
        ),
        folder=encoder.parent / "state",
        fingerprint=fingerprint(
            settings,
            images,
            {"initial": [initial], "splits": splits or [], "subset": [subset] if subset is not None else []},
        ),
        outputs=[encoder, metrics],
    )


def embed(
    settings: Settings,
    *,
    encoder: Path,
    images: Path,
    splits: Path,
    subsets: list[Path],
    features: Path,
    rows: Path,
    device: str,
) -> None:
    """Compute the features of all images that some subset, validation or test needs."""
    import numpy as np

    from moco_transfer.atomic import write_array
    from moco_transfer.data.rows import split_rows, subset_rows
    from moco_transfer.finetune.embedding import embed_images
    from moco_transfer.training.device import open_device

    found, whose = embed_images(
        encoder,
        images,
        np.concatenate([subset_rows(path) for path in subsets]),
        split_rows(splits, ["validation", "test"]),
        model=settings["model"],
        views=settings["views"],
        augmentation=settings["augment"],
        input_size=settings["input_size"],
        seed=settings["seed"],
        stream_name=tuple(settings["stream"]),
        device=open_device(device),
    )
    write_array(found, features)
    write_array(whose, rows)


def linear(
    settings: Settings,
    *,
    features: Path,
    rows: Path,
    index: Path,
    splits: Path,
    subset: Path,
    predictions: Path,
    metrics: Path,
) -> None:
    """Train a linear head on the features of one labelled subset, and predict validation and test."""
    from moco_transfer.finetune.cell import read_cell, write_predictions
    from moco_transfer.finetune.feature_cache import FeatureCache
    from moco_transfer.finetune.linear import finetune_linear
    from moco_transfer.training.log import MetricsLog

    cell = read_cell(index, splits, subset, settings["uncertain"])
    log = MetricsLog("linear", settings["epochs"])
    logits = finetune_linear(
        cell,
        FeatureCache(features, rows),
        optimizer=_optimizer(settings),
        epochs=settings["epochs"],
        score=_validation_score(settings),
        seed=settings["seed"],
        stream_name=tuple(settings["stream"]),
        log=log,
    )
    log.write(metrics)
    write_predictions(predictions, cell, [(settings["epochs"], logits)])


def end_to_end(
    settings: Settings,
    *,
    encoder: Path,
    images: Path,
    index: Path,
    splits: Path,
    subset: Path,
    predictions: Path,
    metrics: Path,
    device: str,
) -> None:
    """Finetune a whole network on one labelled subset, once for each budget, and predict validation and test."""
    from moco_transfer.finetune.cell import read_cell, write_predictions
    from moco_transfer.finetune.end_to_end import finetune_budgets
    from moco_transfer.training.attempt import attempt
    from moco_transfer.training.checkpoint import Checkpoint
    from moco_transfer.training.device import open_device
    from moco_transfer.training.fingerprint import fingerprint
    from moco_transfer.training.log import MetricsLog

    cell = read_cell(index, splits, subset, settings["uncertain"])

    def train(checkpoint: Checkpoint) -> None:
        log = MetricsLog("end to end", sum(settings["budgets"]))
        logits = finetune_budgets(
            cell,
            images,
            encoder,
            model=settings["model"],
            input_size=settings["input_size"],
            optimizer=_optimizer(settings),
            budgets=settings["budgets"],
            augmentation=settings["augment"],
            score=_validation_score(settings),
            seed=settings["seed"],
            stream_name=tuple(settings["stream"]),
            device=open_device(device),
            log=log,
            checkpoint=checkpoint,
        )
        log.write(metrics)
        write_predictions(predictions, cell, logits)

    attempt(
        train,
        folder=predictions.parent / "state",
        fingerprint=fingerprint(
            settings,
            [images],
            {"encoder": [encoder], "index": [index], "splits": [splits], "subset": [subset]},
        ),
        outputs=[predictions, metrics],
    )


def _optimizer(settings: Settings) -> Optimizer:
    from moco_transfer import config

    return config.Optimizer.model_validate(settings["optimizer"])


def _validation_score(settings: Settings) -> Callable[[np.ndarray, np.ndarray], float] | None:
    """Return what chooses the epoch that predicts: nothing for the last, AUROC for the best (#13)."""
    if settings["checkpoint"] == "last":
        return None
    import numpy as np

    from moco_transfer.errors import UserError
    from moco_transfer.statistics.auroc import auroc_by_class, average, positives_by_class

    def score(labels: np.ndarray, logits: np.ndarray) -> float:
        value = float(
            average(auroc_by_class(labels, logits), positives_by_class(labels), settings["average"])
        )
        if np.isnan(value):
            raise UserError(
                "no class has both values among the validation images; set finetune.checkpoint: last"
            )
        return value

    return score
