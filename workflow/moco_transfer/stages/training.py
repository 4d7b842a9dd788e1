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
    from moco_transfer.training.device import open_device

    rows = split_rows(splits, ["train"])
    labels = read_targets(index, "zero")[1]
    if (labels.sum(axis=1) != 1).any():
        raise UserError(
            f"{index}: images have no class or several; model.initial_weights.dataset needs one each"
        )
    classes = labels.argmax(axis=1)
    train_weights(
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
    from moco_transfer.training.device import open_device

    if splits is not None:
        rows = [split_rows(path, settings["images"].split("+")) for path in splits]
    else:
        rows = [subset_rows(subset)]
    pretrain(
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
    from moco_transfer.models import build_backbone, load_weights
    from moco_transfer.training.device import open_device
    from moco_transfer.training.images import ImagePool, predict

    scored = split_rows(splits, ["validation", "test"])
    chosen = np.unique(np.concatenate([scored, *map(subset_rows, subsets)]))
    device = open_device(device)
    network = build_backbone(settings["model"], 0)
    load_weights(network, encoder)
    write_array(
        predict(network.to(device), ImagePool([(images, chosen)]), settings["input_size"], device),
        features,
    )
    write_array(chosen, rows)


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
    from moco_transfer.finetune.linear import finetune_linear
    from moco_transfer.training.log import MetricsLog

    cell = read_cell(index, splits, subset, settings["uncertain"])
    log = MetricsLog("linear", settings["epochs"])
    logits = finetune_linear(
        cell,
        features,
        rows,
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
    from moco_transfer.training.device import open_device
    from moco_transfer.training.log import MetricsLog

    cell = read_cell(index, splits, subset, settings["uncertain"])
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
    )
    log.write(metrics)
    write_predictions(predictions, cell, logits)


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
