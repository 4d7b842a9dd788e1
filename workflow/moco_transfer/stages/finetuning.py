"""Stages that finetune: features of a frozen network, linear heads on them, and networks trained end to end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from moco_transfer.config import Optimizer

Settings = dict[str, Any]


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

    from moco_transfer.data.labels import split_rows, subset_rows
    from moco_transfer.files import write_array
    from moco_transfer.finetune.embed import embed_images
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
    from moco_transfer.finetune.linear import FeatureCache, finetune_linear
    from moco_transfer.training.log import MetricsLog

    cell = read_cell(index, splits, subset, settings["uncertain"])
    log = MetricsLog("linear", settings["epochs"], len(cell.train))
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


def linear_subsets(
    settings: Settings,
    *,
    features: Path,
    rows: Path,
    index: Path,
    splits: Path,
    subsets: Path,
    aurocs: Path,
) -> None:
    """Train a linear head on each of many labelled subsets of a target, and score the test images."""
    import dataclasses

    import pandas as pd

    from moco_transfer.files import write_parquet
    from moco_transfer.finetune.cell import read_cell
    from moco_transfer.finetune.linear import FeatureCache, finetune_linear
    from moco_transfer.statistics.auroc import auroc_by_class, average, positives_by_class
    from moco_transfer.training.log import MetricsLog

    cell, cache = read_cell(index, splits, subsets, settings["uncertain"]), FeatureCache(features, rows)
    labels = cell.labels[cell.test]
    found = []
    by_subset = pd.read_parquet(subsets).groupby(["percent", "subset"], sort=False)
    for (percent, number), subset in by_subset:
        logits = finetune_linear(
            dataclasses.replace(cell, train=subset["row"].to_numpy()),
            cache,
            optimizer=_optimizer(settings),
            epochs=settings["epochs"],
            score=_validation_score(settings),
            seed=settings["seed"],
            stream_name=("linear", settings["target"], percent, int(number)),
            log=MetricsLog(f"{percent}%, subset {number}", settings["epochs"], len(subset)),
        )
        aurocs = auroc_by_class(labels, logits[len(cell.validation) :])
        value = float(average(aurocs, positives_by_class(labels), settings["average"]))
        found.append({"percent": percent, "subset": int(number), "auroc": value})
    names = {"target": settings["target"], "source": settings["source"], "mode": "linear"}
    frame = pd.DataFrame(found).assign(**names, epochs=settings["epochs"])
    write_parquet(frame, aurocs)


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
    """Finetune a whole network on one labelled subset, once for each budget, and predict validation and test.

    Where ``settings["longer_by"]`` names epochs of MoCo, the one budget is the largest plus as many images as those show.
    """
    from moco_transfer.data.labels import split_rows
    from moco_transfer.finetune.cell import read_cell, write_predictions
    from moco_transfer.finetune.end_to_end import finetune_budgets
    from moco_transfer.training.attempt import attempt
    from moco_transfer.training.checkpoint import Checkpoint, fingerprint
    from moco_transfer.training.device import open_device
    from moco_transfer.training.log import MetricsLog
    from moco_transfer.training.schedule import longer_budget

    cell = read_cell(index, splits, subset, settings["uncertain"])
    budgets = settings["budgets"]
    if (longer := settings["longer_by"]) is not None:
        images_of_moco = len(split_rows(splits, longer["images"].split("+")))
        budgets = [longer_budget(budgets, longer["epochs"], images_of_moco, len(cell.train))]

    def train(checkpoint: Checkpoint) -> None:
        events = metrics.parent / "tensorboard"
        with MetricsLog("end to end", sum(budgets), len(cell.train), events) as log:
            logits = finetune_budgets(
                cell,
                images,
                encoder,
                model=settings["model"],
                input_size=settings["input_size"],
                optimizer=_optimizer(settings),
                budgets=budgets,
                augmentation=settings["augment"],
                score=_validation_score(settings),
                precision=settings["precision"],
                compiled=settings["compile"],
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
