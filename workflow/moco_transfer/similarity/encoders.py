"""How far pretraining moved an encoder: two encoders on the same images, layer by layer.

Here rows are paired image by image, which is what SVCCA and CKA were made for. Both are 1 if two layers are
equal up to a rotation (SVCCA: up to any invertible map). Each value comes with its chance level, the mean
over random permutations of one side's images, because the literal SVCCA of unrelated layers is far above 0.
SVCCA averages over the directions of the side that keeps fewer. A layer that has collapsed into a few
directions of the initial encoder therefore scores near 1 (with 2 of 62 directions left: 0.99, where CKA is
0.2). Read it together with CKA and the number of directions kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from moco_transfer.config import stages
from moco_transfer.files import write_parquet
from moco_transfer.networks import load_encoder
from moco_transfer.seeds import stream
from moco_transfer.similarity.activations import draw_pool, layer_activations
from moco_transfer.similarity.svcca import (
    centred,
    check_rows,
    forced_correlations,
    leading_directions,
    mean_canonical_correlation,
)
from moco_transfer.similarity.taps import choose_taps
from moco_transfer.training.device import open_device
from moco_transfer.training.images import View

# Enough for a mean: values for permutations of a few hundred rows scatter by less than a hundredth.
PERMUTATIONS = 5


def compare_networks(
    settings: stages.CompareNetworks, *, encoders: list[Path], images: list[Path], networks: Path, device: str
) -> None:
    """Compare encoders with the first one, the initial network, on the images of each target; all have its architecture."""
    where = open_device(device)
    pools = {
        target: draw_pool(store, target, settings.images, settings.seed)
        for target, store in zip(settings.targets, images, strict=True)
    }
    layers = {}
    for source, path in zip(settings.sources, encoders, strict=True):
        encoder = load_encoder(path).to(where)
        taps, view = choose_taps(encoder, settings.taps), View(settings.crop, encoder.network)
        for target, pool in pools.items():
            layers[target, source] = layer_activations(encoder, taps, pool, view, where)
    initial, *others = settings.sources
    tables = [
        compare_encoders(
            layers[target, initial],
            {source: layers[target, source] for source in others},
            target,
            settings.variance,
            settings.seed,
        )
        for target in pools
    ]
    write_parquet(pd.concat(tables, ignore_index=True), networks)


def compare_encoders(
    initial: Mapping[str, NDArray],
    others: Mapping[str, Mapping[str, NDArray]],
    target: str,
    variance: float,
    seed: int,
) -> pd.DataFrame:
    """Return the similarity of each of ``others`` to the ``initial`` encoder on the images of ``target``.

    ``initial`` maps layer to activations [images, channels]. ``others`` maps source to the same for its
    encoder, on the same images in the same order. ``variance`` is the share that SVCCA keeps.

    Columns: target, source, layer, measure ('svcca' or 'cka'), value (NaN if a layer has no variance), chance
    (the mean over random permutations of the images), images, and for SVCCA only: kept_initial and kept
    (directions of each side) and forced (see ``forced_correlations``).

    Raises UserError if a value is not finite, or there are fewer than 4 images.
    """
    for source, layers in {"the initial network": initial, **others}.items():
        for layer, activations in layers.items():
            check_rows(source, layer, activations)
    # By measure: prepare one side, compare two prepared sides, permute the images of a prepared side.
    measures: dict[str, tuple[Callable, Callable, Callable]] = {
        "svcca": (
            lambda rows: leading_directions(rows, variance),
            mean_canonical_correlation,
            lambda side, order: side[order],
        ),
        "cka": (centred_similarities, cka_of_similarities, lambda side, order: side[np.ix_(order, order)]),
    }
    rows = []
    for layer, before in initial.items():
        orders = [
            stream(seed, "networks", target, layer, i).permutation(len(before)) for i in range(PERMUTATIONS)
        ]
        for measure, (prepare, compare, permute) in measures.items():
            one = prepare(before)
            for source, layers in others.items():
                other = prepare(layers[layer])
                row = {"target": target, "source": source, "layer": layer, "measure": measure}
                row["value"] = compare(one, other)
                row["chance"] = float(np.mean([compare(permute(one, order), other) for order in orders]))
                row["images"] = len(before)
                if measure == "svcca":
                    row["kept_initial"], row["kept"] = one.shape[1], other.shape[1]
                    # Centred rows leave images - 1 dimensions.
                    row["forced"] = forced_correlations(one.shape[1], other.shape[1], len(before) - 1)
                rows.append(row)
    return pd.DataFrame(rows)


def centred_similarities(activations: NDArray) -> NDArray[np.float64]:
    """Return the U-centred Gram matrix [images, images] of activations [images, channels]; needs 4 images.

    Szekely and Rizzo (2014), definition 2: the unbiased HSIC is the mean product of two such matrices off the
    diagonal, an inner product.
    """
    rows = centred(activations)
    gram = rows @ rows.T
    n = len(gram)
    rounding = n * np.finfo(np.float64).eps * np.linalg.norm(gram)
    np.fill_diagonal(gram, 0.0)
    sums = gram.sum(axis=0)
    gram -= (sums[:, None] + sums) / (n - 2)
    gram += sums.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(gram, 0.0)
    # If only one image differs from the rest, nothing but rounding is left, which must not be compared as
    # data.
    return gram if np.linalg.norm(gram) > rounding else np.zeros_like(gram)


def cka_of_similarities(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the unbiased linear CKA of two encoders on the same images, from their ``centred_similarities``.

    Kornblith et al. (2019) with the unbiased HSIC of Song et al. (2012), as in Nguyen et al. (2021): the
    plug-in value of unrelated layers grows with channels / images (here 1,024 / 2,000), whereas this one is 0
    on average and may fall below 0. The value is at most 1. It is NaN if a side is constant, or if only one
    of its images differs from the rest.
    """
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    return float(np.vdot(a, b) / norms) if norms > 0 else float("nan")
