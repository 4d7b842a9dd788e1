"""The similarity of each pair of datasets at each layer, by each measure: the table behind figure 3.

The literal SVCCA has a permutation null beside it. Each measure on shared channels has a null and a ceiling.
The null is the value after a random rotation of one dataset's channels. (Only channels that vary in either
dataset are rotated: channels that are dead in both would give the rotation room that neither dataset uses.)
The ceiling compares one half of a dataset with its other half. Value, null and ceiling are all computed on
random halves, because the number of images biases these measures. After normalisation, therefore, two samples
of one population score 1, and datasets whose channels are unrelated score 0. Halves are drawn many times, and
the table gives the spread over the draws: a statistic of random halves scatters about as much as the same
statistic of all images does between samples (the delete-half jackknife, Shao and Wu, 1989).
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from moco_transfer.config import stages
from moco_transfer.config.analysis import Similarity
from moco_transfer.errors import UserError
from moco_transfer.files import write_parquet
from moco_transfer.seeds import stream
from moco_transfer.similarity import subspaces, svcca
from moco_transfer.similarity.subspaces import Spectrum

log = logging.getLogger(__name__)

COLUMNS = [
    *("measure", "layer", "dataset_a", "dataset_b", "value", "value_lower", "value_upper"),
    *("null_mean", "null_lower", "null_upper", "ceiling", "normalised"),
    *("images", "kept_a", "kept_b", "forced"),
]


def compare_datasets(settings: stages.CompareDatasets, *, activations: list[Path], similarity: Path) -> None:
    """Compare datasets pairwise by their activations, with nulls and ceilings."""
    from moco_transfer.similarity.activations import read_layers

    layers = dict(zip(settings.similarity.datasets, map(read_layers, activations), strict=True))
    write_parquet(compare(layers, settings.similarity, settings.seed), similarity)


class ChannelMeasure(NamedTuple):
    """A measure of two spectra and k directions."""

    value: Callable[[Spectrum, Spectrum, int], float]
    directed: bool = False  # whether a to b differs from b to a
    bounded: bool = True  # whether it is at most 1
    limited: str = ""  # the sides (a, b or both) that enter with only their k leading directions


CHANNEL_MEASURES = {
    "svcca_channels": ChannelMeasure(subspaces.svcca_channels, limited="ab"),
    "cka_covariance": ChannelMeasure(lambda a, b, k: subspaces.cka_covariance(a, b)),
    "frechet": ChannelMeasure(lambda a, b, k: subspaces.frechet_distance(a, b), bounded=False),
    "variance_share": ChannelMeasure(subspaces.variance_share, directed=True, limited="a"),
}
# By (measure, dataset a, dataset b): one value per draw of halves or of the null.
Draws = defaultdict[tuple[str, str, str], list[float]]


def compare(
    activations: Mapping[str, Mapping[str, NDArray]], settings: Similarity, seed: int
) -> pd.DataFrame:
    """Return the similarity of each pair of datasets at each layer by each measure, one row each.

    ``activations`` maps dataset to layer to [images, channels], all of one network. Every dataset is cut to
    the number of images of the smallest, so that all pairs have the same sampling error.

    Columns, of which those marked * are NaN for ``svcca``, whose value depends on the number of images:

    - measure, layer, dataset_a, dataset_b: ``variance_share`` is the share of dataset_b's variance in
      dataset_a's leading
      directions, and the only measure with both orders
    - value, value_lower*, value_upper*: mean, 5th and 95th percentile over the draws of halves
    - null_mean, null_lower, null_upper: mean, 5th and 95th percentile over ``settings.null_draws`` draws
    - ceiling*: the mean of the two datasets' ceilings; for ``variance_share``, that of dataset_b
    - normalised*: (value - null_mean) / (ceiling - null_mean); NaN for ``frechet`` too
    - images: of a half, for the measures on channels
    - kept_a, kept_b: directions used, the fewest of all halves
    - forced: how many of the averaged correlations are 1 whatever the data (see
      ``svcca.forced_correlations``); 0 for
      measures that average none

    Raises UserError if datasets differ in layers or channels, a value is not finite, or there are fewer than
    4 images.
    """
    images = _check(activations)
    most = max(len(rows) for by_layer in activations.values() for rows in by_layer.values())
    if images < max(most, settings.images):
        log.info("every dataset is cut to %d images, the number that the smallest has", images)
    rows = []
    for layer in next(iter(activations.values())):
        rows_of = {dataset: by_layer[layer][:images] for dataset, by_layer in activations.items()}
        rows += _literal_rows(layer, rows_of, settings, seed)
        rows += _channel_rows(layer, rows_of, settings, seed)
    frame = pd.DataFrame(rows, columns=COLUMNS)
    rank = {measure: i for i, measure in enumerate(["svcca", *CHANNEL_MEASURES])}
    return frame.sort_values("measure", key=lambda names: names.map(rank), kind="stable", ignore_index=True)


def _check(activations: Mapping[str, Mapping[str, NDArray]]) -> int:
    """Return the number of images of the smallest dataset, or raise UserError."""
    first, reference = next(iter(activations.items()))
    for dataset, by_layer in activations.items():
        if list(by_layer) != list(reference):
            raise UserError(
                f"similarity: {dataset} has the layers {', '.join(by_layer)}, but {first} has "
                f"{', '.join(reference)}; embed both with one network"
            )
        for layer, rows in by_layer.items():
            if rows.ndim != 2 or rows.shape[1] != reference[layer].shape[1]:
                raise UserError(
                    f"similarity: {dataset} {layer} has the shape {rows.shape}, but {first} has "
                    f"{reference[layer].shape}; expected [images, channels] of one network"
                )
            svcca.check_rows(dataset, layer, rows)
    return min(len(rows) for by_layer in activations.values() for rows in by_layer.values())


def _literal_rows(layer: str, rows_of: Mapping[str, NDArray], settings: Similarity, seed: int) -> list[dict]:
    bases = {name: svcca.leading_directions(rows, settings.variance) for name, rows in rows_of.items()}
    rows = []
    for a, b in combinations(bases, 2):
        generators = (stream(seed, "similarity", "svcca", layer, a, b, i) for i in range(settings.null_draws))
        row = {"measure": "svcca", "layer": layer, "dataset_a": a, "dataset_b": b}
        row["value"] = svcca.mean_canonical_correlation(bases[a], bases[b])
        null = svcca.permutation_null(bases[a], bases[b], generators)
        row["null_mean"], row["null_lower"], row["null_upper"] = _mean_and_percentiles(null)
        row["images"], row["kept_a"], row["kept_b"] = *bases[a].shape, bases[b].shape[1]
        # Centred rows leave images - 1 dimensions.
        row["forced"] = svcca.forced_correlations(row["kept_a"], row["kept_b"], row["images"] - 1)
        rows.append(row)
    return rows


def _channel_rows(layer: str, rows_of: Mapping[str, NDArray], settings: Similarity, seed: int) -> list[dict]:
    k = settings.directions
    varying = {name: np.ptp(rows, axis=0) > 0 for name, rows in rows_of.items()}
    values, nulls, ceilings = Draws(list), Draws(list), Draws(list)
    ranks = defaultdict(list)
    for split in range(settings.split_halves):
        halves = {}
        for name, rows in rows_of.items():
            order = stream(seed, "similarity", "halves", layer, name, name, split).permutation(len(rows))
            half = len(rows) // 2
            halves[name] = subspaces.channel_spectrum(rows[order[:half]])
            other = subspaces.channel_spectrum(rows[order[half : 2 * half]])
            ranks[name].append(halves[name].rank)
            for measure, of in CHANNEL_MEASURES.items():
                ceilings[measure, name, name].append(of.value(halves[name], other, k))
        for a, b in combinations(halves, 2):
            _append(values, a, b, (halves[a], halves[b]), k)
            turned = varying[a] | varying[b]
            # The null draws are spread over the splits, so that they have the same sampling error as the
            # values.
            for draw in range(split, settings.null_draws, settings.split_halves):
                generator = stream(seed, "similarity", "rotation", layer, a, b, draw)
                rotation = subspaces.random_rotation(np.count_nonzero(turned), generator)
                _append(nulls, a, b, (halves[a], subspaces.rotated(halves[b], rotation, turned)), k)
    rows = []
    for (measure, a, b), drawn in values.items():
        of = CHANNEL_MEASURES[measure]
        row = {"measure": measure, "layer": layer, "dataset_a": a, "dataset_b": b, "forced": 0}
        row["value"], row["value_lower"], row["value_upper"] = _mean_and_percentiles(drawn)
        null = nulls[measure, a, b]
        row["null_mean"], row["null_lower"], row["null_upper"] = _mean_and_percentiles(null)
        own = [b] if of.directed else [a, b]
        row["ceiling"] = np.mean([np.mean(ceilings[measure, name, name]) for name in own])
        # If k is the number of all directions, null and ceiling are both 1 and nothing lies between them.
        if of.bounded and row["ceiling"] - row["null_mean"] > 1e-6:
            row["normalised"] = (row["value"] - row["null_mean"]) / (row["ceiling"] - row["null_mean"])
        row["images"] = len(rows_of[a]) // 2
        for side, name in (("a", a), ("b", b)):
            row[f"kept_{side}"] = min([*ranks[name], k] if side in of.limited else ranks[name])
        if measure == "svcca_channels":
            dimensions = np.count_nonzero(varying[a] | varying[b])
            row["forced"] = svcca.forced_correlations(row["kept_a"], row["kept_b"], dimensions)
        rows.append(row)
    return rows


def _append(draws: Draws, a: str, b: str, pair: tuple[Spectrum, Spectrum], k: int) -> None:
    """Append every measure of ``pair`` (datasets ``a`` and ``b``); directed measures in both orders."""
    for measure, of in CHANNEL_MEASURES.items():
        draws[measure, a, b].append(of.value(*pair, k))
        if of.directed:
            draws[measure, b, a].append(of.value(*reversed(pair), k))


def _mean_and_percentiles(draws: Sequence[float]) -> tuple[float, float, float]:
    return np.mean(draws), *np.percentile(draws, [5, 95])
