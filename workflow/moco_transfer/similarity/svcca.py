"""SVCCA as the paper uses it: one image is one row, and two datasets are compared row by row.

SVCCA (Raghu et al., 2017) keeps the leading singular directions of each side and averages the canonical correlations
between them. It was made for two networks that see the *same* images. Here row i of one dataset has nothing to do
with row i of the other, so the value depends on the number of images and of directions kept, and not on what the
images show: it is a draw from its own permutation null, which stands beside it for that reason.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def leading_directions(activations: NDArray, variance: float) -> NDArray[np.float64]:
    """Return the whitened leading directions of the centred activations, [images, kept].

    ``activations`` is [images, channels]. The columns are orthonormal: the left singular vectors of the fewest leading
    directions that hold the share ``variance`` of the variance. Directions without variance (dead or repeated
    channels, more channels than images) are never kept, so ``kept`` is 0 for constant activations.
    """
    rows = np.asarray(activations, dtype=np.float64)
    centred = rows - rows.mean(axis=0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    # The scale of the uncentred rows counts too: what centring leaves of a constant channel is rounding.
    rounding = np.abs(rows).max() * np.sqrt(rows.size) * max(rows.shape) * np.finfo(np.float64).eps
    energy = singular[singular > rounding] ** 2
    if energy.size == 0:
        return left[:, :0]
    shares = np.cumsum(energy) / energy.sum()
    kept = min(int(np.searchsorted(shares, variance * (1 - 1e-12))) + 1, energy.size)
    return left[:, :kept]


def mean_canonical_correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the mean canonical correlation of two whitened sides, [images, kept_a] and [images, kept_b].

    Both sides have orthonormal columns, so the canonical correlations are the min(kept_a, kept_b) singular values of
    a'b (Bjorck and Golub, 1973). NaN where a side kept no direction. With more directions than images some of them
    are 1 whatever the data.
    """
    if a.shape[1] == 0 or b.shape[1] == 0:
        return float("nan")
    correlations = np.linalg.svd(a.T @ b, compute_uv=False)
    return float(np.clip(correlations, 0.0, 1.0).mean())


def permutation_null(
    a: NDArray[np.float64], b: NDArray[np.float64], generators: Iterable[np.random.Generator]
) -> NDArray[np.float64]:
    """Return the mean canonical correlation after a random permutation of the rows of ``b``, one for each generator.

    Permuted whitened rows are still whitened, so a draw costs one product and its singular values.
    """
    return np.array([mean_canonical_correlation(a, b[g.permutation(len(b))]) for g in generators])
