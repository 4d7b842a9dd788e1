"""Every pair of datasets, every layer, every measure: the table behind figure 3.

The literal SVCCA stands with its permutation null. The measures on shared channels stand between two marks: a null,
the value after a random rotation of one dataset's channels (those that vary in either: channels that are dead in both
would lend the rotation room that no dataset uses), and a ceiling, the value of one half of a dataset against its other
half. All three are taken on halves, because these measures are biased by the number of images: so two
samples of one population score 1 after normalisation, and datasets whose channels are unrelated score 0. Halves are
drawn many times. The spread of the values over the draws stands beside them; a statistic of random halves scatters about
as one of fresh draws of all the images does (the jackknife that deletes half, Shao and Wu, 1989).
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from moco_transfer.config import Similarity
from moco_transfer.errors import UserError
from moco_transfer.seeds import stream
from moco_transfer.similarity import subspaces, svcca
from moco_transfer.similarity.svcca import check_rows

log = logging.getLogger(__name__)

COLUMNS = [
    *("measure", "layer", "dataset_a", "dataset_b", "value", "value_lower", "value_upper"),
    *(
        "null_mean",
        "null_lower",
        "null_upper",
        "ceiling",
        "normalised",
        "images",
        "kept_a",
        "kept_b",
        "forced",
    ),
]


@dataclass(frozen=True)
class ChannelMeasure:
    """A measure on two spectra and ``k``.

    ``directed`` where a to b differs from b to a, ``bounded`` where it is at most 1, ``limited`` names the sides that
    enter with their leading k directions alone, ``averages_cosines`` where it is a mean over pairs of directions.
    """

    value: Callable[[subspaces.Spectrum, subspaces.Spectrum, int], float]
    directed: bool = False
    bounded: bool = True
    limited: tuple[str, ...] = ()
    averages_cosines: bool = False


CHANNEL_MEASURES = {
    "svcca_channels": ChannelMeasure(
        subspaces.svcca_channels, limited=("kept_a", "kept_b"), averages_cosines=True
    ),
    "cka_covariance": ChannelMeasure(lambda a, b, k: subspaces.cka_covariance(a, b)),
    "frechet": ChannelMeasure(lambda a, b, k: subspaces.frechet_distance(a, b), bounded=False),
    "variance_share": ChannelMeasure(subspaces.variance_share, directed=True, limited=("kept_a",)),
}


def compare(
    activations: Mapping[str, Mapping[str, NDArray]], settings: Similarity, seed: int
) -> pd.DataFrame:
    """Return the similarity of each pair of datasets at each layer by each measure, one row each.

    ``activations`` maps dataset to layer to [images, channels], of one network. Every dataset is cut to the number of
    images of the smallest, so that all pairs meet the same sampling error.

    Columns: measure, layer, dataset_a, dataset_b, value, value_lower and value_upper (5 and 95 percentiles over the
    draws of halves, whose mean is the value; NaN for ``svcca``), null_mean, null_lower and null_upper (5 and 95
    percentiles of ``settings.null_draws`` draws), ceiling (mean of the two datasets' own, or that of dataset_b for the directed
    ``variance_share``; NaN for ``svcca``, whose value depends on the number of images), normalised ((value - null) /
    (ceiling - null), NaN for ``svcca`` and ``frechet``), images (halves for the measures on channels), kept_a and
    kept_b (directions used; the fewest of all halves), forced (how many of the correlations that are averaged are 1
    whatever the data, as ``svcca.forced_correlations`` counts them; 0 for the measures that average none).
    ``variance_share`` is the share of dataset_b's variance in dataset_a's leading directions, and the only measure with
    both orders.

    Raises UserError where datasets differ in layers or channels, a value is not finite, or images are fewer than 4.
    """
    images = _check(activations)
    most = max(len(rows) for by_layer in activations.values() for rows in by_layer.values())
    if images < max(most, settings.images):
        log.info("every dataset is cut to %d images, as many as the smallest has", images)
    layers = list(next(iter(activations.values())))
    rows = []
    for layer in layers:
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
            check_rows(dataset, layer, rows)
    return min(len(rows) for by_layer in activations.values() for rows in by_layer.values())


def _literal_rows(layer: str, rows_of: Mapping[str, NDArray], settings: Similarity, seed: int) -> list[dict]:
    bases = {name: svcca.leading_directions(rows, settings.variance) for name, rows in rows_of.items()}
    rows = []
    for a, b in combinations(bases, 2):
        draws = (stream(seed, "similarity", "svcca", layer, a, b, i) for i in range(settings.null_draws))
        null = svcca.permutation_null(bases[a], bases[b], draws)
        row = _row("svcca", layer, a, b, svcca.mean_canonical_correlation(bases[a], bases[b]), null)
        images, kept_a = bases[a].shape
        row |= {"images": images, "kept_a": kept_a, "kept_b": bases[b].shape[1]}
        # Centred rows leave images - 1 dimensions.
        row["forced"] = svcca.forced_correlations(kept_a, row["kept_b"], images - 1)
        rows.append(row)
    return rows


def _channel_rows(layer: str, rows_of: Mapping[str, NDArray], settings: Similarity, seed: int) -> list[dict]:
    scores = _score_halves(layer, rows_of, settings, seed)
    rows = []
    for (measure, a, b), values in scores.values.items():
        of = CHANNEL_MEASURES[measure]
        row = _row(measure, layer, a, b, float(np.mean(values)), np.array(scores.nulls[measure, a, b]))
        row["value_lower"], row["value_upper"] = np.percentile(values, [5, 95])
        own = [b] if of.directed else [a, b]
        row["ceiling"] = float(np.mean([np.mean(scores.ceilings[measure, name]) for name in own]))
        # Where k directions are all there are, null and ceiling are both 1 and nothing lies between.
        if of.bounded and row["ceiling"] - row["null_mean"] > 1e-6:
            row["normalised"] = (row["value"] - row["null_mean"]) / (row["ceiling"] - row["null_mean"])
        for side, name in (("kept_a", a), ("kept_b", b)):
            row[side] = min(scores.ranks[name])
            if side in of.limited:
                row[side] = min(row[side], settings.directions)
        row["images"] = len(rows_of[a]) // 2
        if of.averages_cosines:
            alive = np.count_nonzero(_alive(rows_of[a]) | _alive(rows_of[b]))
            row["forced"] = svcca.forced_correlations(row["kept_a"], row["kept_b"], alive)
        rows.append(row)
    return rows


@dataclass(frozen=True)
class _Scores:
    """The measures of one layer over all splits: by (measure, a, b), ceilings by (measure, dataset), ranks by dataset."""

    values: defaultdict[tuple[str, str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    nulls: defaultdict[tuple[str, str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    ceilings: defaultdict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    ranks: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))


def _score_halves(layer: str, rows_of: Mapping[str, NDArray], settings: Similarity, seed: int) -> _Scores:
    scores = _Scores()
    k = settings.directions
    alive = {name: _alive(rows) for name, rows in rows_of.items()}
    for split in range(settings.split_halves):
        halves = {}
        for name, rows in rows_of.items():
            order = stream(seed, "similarity", "halves", layer, name, name, split).permutation(len(rows))
            half = len(rows) // 2
            one = halves[name] = subspaces.channel_spectrum(rows[order[:half]])
            other = subspaces.channel_spectrum(rows[order[half : 2 * half]])
            scores.ranks[name].append(one.rank)
            for measure, of in CHANNEL_MEASURES.items():
                scores.ceilings[measure, name].append(of.value(one, other, k))
        for a, b in combinations(halves, 2):
            _score_pair(scores.values, (a, halves[a]), (b, halves[b]), k)
            turned = alive[a] | alive[b]
            # The null draws are spread over the splits, so that they carry the same sampling error as the values.
            for draw in range(split, settings.null_draws, settings.split_halves):
                generator = stream(seed, "similarity", "rotation", layer, a, b, draw)
                rotation = subspaces.random_rotation(np.count_nonzero(turned), generator)
                other = subspaces.rotated(halves[b], rotation, turned)
                _score_pair(scores.nulls, (a, halves[a]), (b, other), k)
    return scores


def _alive(rows: NDArray) -> NDArray[np.bool_]:
    """Return which channels of ``rows`` [images, channels] vary at all: [channels]."""
    return np.ptp(rows, axis=0) > 0


def _score_pair(
    lists: dict[tuple[str, str, str], list[float]],
    first: tuple[str, subspaces.Spectrum],
    second: tuple[str, subspaces.Spectrum],
    k: int,
) -> None:
    """Append the value of every measure on the pair to its list, in both orders where the order matters."""
    (a, spectrum_a), (b, spectrum_b) = first, second
    for measure, of in CHANNEL_MEASURES.items():
        lists[measure, a, b].append(of.value(spectrum_a, spectrum_b, k))
        if of.directed:
            lists[measure, b, a].append(of.value(spectrum_b, spectrum_a, k))


def _row(measure: str, layer: str, a: str, b: str, value: float, null: NDArray) -> dict:
    lower, upper = np.percentile(null, [5, 95])
    return {
        "measure": measure,
        "layer": layer,
        "dataset_a": a,
        "dataset_b": b,
        "value": value,
        "value_lower": float("nan"),
        "value_upper": float("nan"),
        "null_mean": float(null.mean()),
        "null_lower": float(lower),
        "null_upper": float(upper),
        "ceiling": float("nan"),
        "normalised": float("nan"),
        "forced": 0,
    }
