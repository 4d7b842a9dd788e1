"""How far pretraining moved a network: two networks on the same images, layer by layer.

Here rows are truly paired, image by image, which is what SVCCA and CKA were made for. Both are 1 where the layers hold the
same up to a rotation (SVCCA: up to any invertible map). Beside each value stands its chance
level, the mean over random permutations of one network's images: the literal SVCCA of unrelated layers is far above 0.
SVCCA averages over the directions of the side that keeps fewer, so that a layer that has collapsed into a few directions
of the initial network scores near 1 (of 62 directions two are left: 0.99, where CKA says 0.2): read it beside CKA and
the directions kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from moco_transfer.seeds import stream
from moco_transfer.similarity.svcca import (
    centred,
    check_rows,
    forced_correlations,
    leading_directions,
    mean_canonical_correlation,
)

COLUMNS = [
    *("target", "source", "layer", "measure", "value", "chance", "images"),
    *("kept_initial", "kept", "forced"),
]
# Enough for a mean: a permutation of a few hundred rows scatters by less than a hundredth.
PERMUTATIONS = 5


def compare_networks(
    initial: Mapping[str, NDArray],
    others: Mapping[str, Mapping[str, NDArray]],
    target: str,
    variance: float,
    seed: int,
) -> pd.DataFrame:
    """Return how alike each of ``others`` is to the ``initial`` network on the images of ``target``.

    ``initial`` maps layer to activations [images, channels]; ``others`` maps source to the same of its network, for the
    same images in the same order; ``variance`` is the share that SVCCA keeps. Returns target, source, layer, measure
    ('svcca' or 'cka'), value, chance (the mean of random permutations of the images), images, and of SVCCA alone
    kept_initial, kept (directions of either side) and forced (correlations that are 1 whatever the data, by
    ``forced_correlations``). The value is NaN where a layer has no variance.

    Raises UserError where a value is not finite, or images are fewer than 4.
    """
    for source, layers in {"the initial network": initial, **others}.items():
        for layer, activations in layers.items():
            check_rows(source, layer, activations)
    measures: dict[str, tuple[Callable, Callable, Callable]] = {
        "svcca": (
            lambda rows: leading_directions(rows, variance),
            mean_canonical_correlation,
            lambda sides, order: sides[order],
        ),
        "cka": (centred_similarities, cka_of_similarities, lambda sides, order: sides[np.ix_(order, order)]),
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
                chance = float(np.mean([compare(permute(one, order), other) for order in orders]))
                row = (target, source, layer, measure, compare(one, other), chance, len(before))
                rows.append((*row, *(_directions(one, other) if measure == "svcca" else [np.nan] * 3)))
    return pd.DataFrame(rows, columns=COLUMNS)


def _directions(initial: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[int, int, int]:
    """Return the directions kept of two whitened sides, and how many correlations that forces to 1."""
    images, kept = initial.shape
    # Centred rows leave images - 1 dimensions.
    return kept, other.shape[1], forced_correlations(kept, other.shape[1], images - 1)


def linear_cka(a: NDArray, b: NDArray) -> float:
    """Return the unbiased linear CKA of two networks' activations of the same images, [images, channels] each.

    Kornblith et al. (2019) with the unbiased HSIC of Song et al. (2012), as Nguyen et al. (2021) use it: the plug-in
    value of unrelated layers grows with channels over images (here 1,024 over 2,000), this one is 0 on average, and so
    may fall below it. At most 1. At least 4 images; NaN where a side is constant, or one image alone differs from the rest.
    """
    return cka_of_similarities(centred_similarities(a), centred_similarities(b))


def centred_similarities(activations: NDArray) -> NDArray[np.float64]:
    """Return the U-centred Gram matrix [images, images] of activations [images, channels]; at least 4 images.

    Szekely and Rizzo (2014), definition 2: the unbiased HSIC is the mean product of two such matrices off the diagonal,
    an inner product.
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
    # Where one image alone differs from the rest nothing is left but rounding, which would be compared as if it were data.
    return gram if np.linalg.norm(gram) > rounding else np.zeros_like(gram)


def cka_of_similarities(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the CKA of two matrices of ``centred_similarities``."""
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    return float(np.vdot(a, b) / norms) if norms > 0 else float("nan")
