"""Stages that turn predictions into estimates, and networks into similarities of datasets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from moco_transfer.statistics.predictions import PredictionsFile

Settings = dict[str, Any]


def select_budgets(
    settings: Settings, *, predictions: list[Path], subsets: list[Path], budgets: Path
) -> None:
    """Choose the number of epochs of end-to-end training on validation images."""
    from moco_transfer.files import write_csv
    from moco_transfer.statistics import budgets as selection

    validation = selection.validation_aurocs(
        settings["target"],
        _files(settings, predictions),
        _labeled_counts(settings, subsets),
        settings["average"],
        settings["seed"],
    )
    write_csv(selection.select_budgets(validation, settings["validation"]), budgets, float_format="%.9g")


def evaluate(
    settings: Settings,
    *,
    predictions: list[Path],
    subsets: list[Path],
    budgets: Path,
    estimates: Path,
    subset_aurocs: Path,
    classes: Path,
    replicates: Path,
    covariance: Path,
) -> None:
    """Score the test images of one target, bootstrap them, and estimate standard errors."""
    from moco_transfer import config
    from moco_transfer.files import write_parquet
    from moco_transfer.statistics.budgets import read_budgets
    from moco_transfer.statistics.evaluation import evaluate_target

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
        "subsets": subset_aurocs,
        "classes": classes,
        "replicates": replicates,
        "covariance": covariance,
    }
    for name, path in paths.items():
        write_parquet(frames[name], path)


def coverage(settings: Settings, *, coverage: Path) -> None:
    """Simulate how often the intervals hold the truth."""
    from moco_transfer.files import write_parquet
    from moco_transfer.statistics.coverage import coverage_table

    write_parquet(coverage_table(settings["percentiles"], settings["replicates"], settings["seed"]), coverage)


def activations(
    settings: Settings, *, encoder: Path, images: list[Path], activations: list[Path], device: str
) -> None:
    """Record a network's activations for random images of each dataset."""
    from moco_transfer.backbones.taps import choose_taps
    from moco_transfer.networks import build_backbone, load_weights
    from moco_transfer.similarity.activations import layer_activations, write_layers
    from moco_transfer.training.device import open_device
    from moco_transfer.training.images import ImagePool

    network = build_backbone(settings["model"], 0, settings["input_size"])
    configured = None if settings["taps"] is None else dict(settings["taps"])
    taps = choose_taps(network, configured, settings["input_size"])
    load_weights(network, encoder)
    where = open_device(device)
    network.to(where)
    for dataset, store, path in zip(settings["datasets"], images, activations, strict=True):
        pool = ImagePool([(store, _drawn_images(settings, dataset, store))])
        write_layers(path, layer_activations(network, taps, pool, settings["input_size"], where))


def similarity(settings: Settings, *, activations: list[Path], similarity: Path) -> None:
    """Compare datasets pairwise by their activations, with nulls and ceilings."""
    from moco_transfer import config
    from moco_transfer.files import write_parquet
    from moco_transfer.similarity.activations import read_layers
    from moco_transfer.similarity.pairwise import compare

    layers = {
        dataset: read_layers(path) for dataset, path in zip(settings["datasets"], activations, strict=True)
    }
    write_parquet(
        compare(layers, config.Similarity.model_validate(settings["similarity"]), settings["seed"]),
        similarity,
    )


def compare_networks(
    settings: Settings, *, encoders: list[Path], images: list[Path], networks: Path, device: str
) -> None:
    """Compare pretrained encoders with the first one, the initial network, on the same images of each target."""
    import pandas as pd

    from moco_transfer.backbones.taps import choose_taps
    from moco_transfer.files import write_parquet
    from moco_transfer.networks import build_backbone, load_weights
    from moco_transfer.similarity.activations import layer_activations
    from moco_transfer.similarity.encoders import compare_encoders
    from moco_transfer.training.device import open_device
    from moco_transfer.training.images import ImagePool

    size = settings["input_size"]
    network = build_backbone(settings["model"], 0, size)
    taps = choose_taps(network, None if settings["taps"] is None else dict(settings["taps"]), size)
    where = open_device(device)
    network.to(where)
    pools = {
        target: ImagePool([(store, _drawn_images(settings, target, store))])
        for target, store in zip(settings["targets"], images, strict=True)
    }
    layers = {}
    for source, encoder in zip(settings["sources"], encoders, strict=True):
        load_weights(network, encoder)
        for target, pool in pools.items():
            layers[target, source] = layer_activations(network, taps, pool, size, where)
    initial, *others = settings["sources"]
    tables = [
        compare_encoders(
            layers[target, initial],
            {source: layers[target, source] for source in others},
            target,
            settings["variance"],
            settings["seed"],
        )
        for target in pools
    ]
    write_parquet(pd.concat(tables, ignore_index=True), networks)


def _drawn_images(settings: Settings, dataset: str, store: Path) -> np.ndarray:
    """Return rows of a store, drawn at random: the same ones for every network.

    They are in random order: where another dataset has fewer images, this one is cut to its first so many.
    """
    import numpy as np

    from moco_transfer.seeds import stream

    stored = len(np.load(store, mmap_mode="r"))
    return stream(settings["seed"], "similarity", "images", dataset).permutation(stored)[: settings["images"]]


def _files(settings: Settings, predictions: list[Path]) -> list[PredictionsFile]:
    """Pair the predictions with the cells they belong to: (source, mode, percent, subset), in the order of the paths."""
    from moco_transfer.statistics.predictions import PredictionsFile

    return [PredictionsFile(*cell, path) for cell, path in zip(settings["cells"], predictions, strict=True)]


def _labeled_counts(settings: Settings, subsets: list[Path]) -> dict[str, int]:
    """Return the number of labelled images by percentage, from one subset of each."""
    import pyarrow.parquet as pq

    return {
        percent: pq.read_metadata(path).num_rows
        for percent, path in zip(settings["percents"], subsets, strict=True)
    }
