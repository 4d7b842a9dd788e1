"""Stages that turn predictions into estimates, and networks into similarities of datasets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moco_transfer.statistics.predictions import PredictionsFile

Settings = dict[str, Any]


def select_budgets(
    settings: Settings, *, predictions: list[Path], subsets: list[Path], budgets: Path
) -> None:
    """Choose the number of epochs of end-to-end training on validation images."""
    from moco_transfer.atomic import write_csv
    from moco_transfer.statistics import selection

    validation = selection.validation_aurocs(
        settings["target"],
        _files(settings, predictions),
        _labeled_counts(settings, subsets),
        settings["validation"],
        settings["average"],
        settings["seed"],
    )
    write_csv(selection.select_budgets(validation), budgets, float_format="%.9g")


def evaluate(
    settings: Settings,
    *,
    predictions: list[Path],
    subsets: list[Path],
    budgets: Path,
    estimates: Path,
    seeds: Path,
    classes: Path,
    replicates: Path,
    covariance: Path,
) -> None:
    """Score the test images of one target, bootstrap them, and estimate standard errors."""
    from moco_transfer import config
    from moco_transfer.atomic import write_parquet
    from moco_transfer.statistics.evaluation import evaluate_target
    from moco_transfer.statistics.selection import read_budgets

    frames = evaluate_target(
        settings["target"],
        _files(settings, predictions),
        read_budgets(budgets),
        _labeled_counts(settings, subsets),
        config.Evaluation.model_validate(settings["evaluation"]),
        settings["seed"],
    )
    paths = {
        "estimates": estimates,
        "seeds": seeds,
        "classes": classes,
        "replicates": replicates,
        "covariance": covariance,
    }
    for name, path in paths.items():
        write_parquet(frames[name], path)


def activations(
    settings: Settings, *, encoder: Path, images: list[Path], activations: list[Path], device: str
) -> None:
    """Record a network's activations for random images of each dataset."""
    import numpy as np
    from safetensors.numpy import save_file

    from moco_transfer.activations import layer_activations
    from moco_transfer.atomic import replacing
    from moco_transfer.models import build_backbone, load_weights
    from moco_transfer.seeds import stream
    from moco_transfer.training.device import open_device
    from moco_transfer.training.images import ImagePool

    network = build_backbone(settings["model"], 0)
    load_weights(network, encoder)
    where = open_device(device)
    network.to(where)
    for dataset, store, path in zip(settings["datasets"], images, activations, strict=True):
        stored = len(np.load(store, mmap_mode="r"))
        random = stream(settings["seed"], "similarity", "images", dataset)
        # In random order: where another dataset has fewer images, this one is cut to its first so many.
        chosen = random.permutation(stored)[: settings["images"]]
        layers = layer_activations(network, ImagePool([(store, chosen)]), settings["input_size"], where)
        with replacing(path) as temporary:
            save_file(layers, temporary)


def similarity(settings: Settings, *, activations: list[Path], similarity: Path) -> None:
    """Compare datasets pairwise by their activations, with nulls and ceilings."""
    from safetensors.numpy import load_file

    from moco_transfer import config
    from moco_transfer.atomic import write_parquet
    from moco_transfer.similarity.pairwise import compare

    layers = {
        dataset: load_file(path) for dataset, path in zip(settings["datasets"], activations, strict=True)
    }
    write_parquet(
        compare(layers, config.Similarity.model_validate(settings["similarity"]), settings["seed"]),
        similarity,
    )


def _files(settings: Settings, predictions: list[Path]) -> list[PredictionsFile]:
    """Pair the predictions with the cells they belong to: (source, mode, percent, seed), in the order of the paths."""
    from moco_transfer.statistics.predictions import PredictionsFile

    return [PredictionsFile(*cell, path) for cell, path in zip(settings["cells"], predictions, strict=True)]


def _labeled_counts(settings: Settings, subsets: list[Path]) -> dict[str, int]:
    """Return the number of labelled images by percentage, from one subset of each."""
    import pyarrow.parquet as pq

    return {
        percent: pq.read_metadata(path).num_rows
        for percent, path in zip(settings["percents"], subsets, strict=True)
    }
