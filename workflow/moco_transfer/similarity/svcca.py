"""SVCCA as the paper uses it: one image is one row, and two datasets are compared row by row.

SVCCA (Raghu et al., 2017) keeps the leading singular directions of each side and averages the canonical
correlations between them. It was made for two networks that see the *same* images. Here row i of one dataset
has nothing to do with row i of the other, so the value depends on the number of images and of directions
kept, not on what the images show: it is a draw from its own permutation null, which the tables give beside
it.

The public implementation (google/svcca) leaves the SVD to its callers. Its full correlations equal these. Its
``mean`` averages only the correlations that make up 98% of their sum, and so is a little larger (0.466
against 0.448). For rank-deficient activations, its average includes zeros.

Every measure of similarity starts with ``check_rows`` and ``centred``.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from moco_transfer.errors import UserError

FEWEST_IMAGES = 4


def check_rows(name: str, layer: str, rows: NDArray) -> None:
    """Raise UserError unless ``rows`` [images, channels] are finite and there are at least 4 images.

    ``name`` is the dataset or source that they belong to. Halves need two images each, and the unbiased CKA
    needs four.
    """
    if len(rows) < FEWEST_IMAGES:
        raise UserError(
            f"similarity: {name} has {len(rows)} images; at least {FEWEST_IMAGES} are needed: add images, "
            "or leave it out of the comparison"
        )
    if not np.isfinite(rows).all():
        raise UserError(
            f"similarity: {name} {layer} holds a value that is not finite; "
            "train its network again, with a lower learning rate"
        )


def centred(activations: NDArray) -> NDArray[np.float64]:
    """Return activations [images, channels] minus their mean over images, in float64.

    The first row is subtracted first, so that a constant channel becomes exactly 0, however far from 0 it
    lies, and equal channels stay equal.
    """
    rows = np.asarray(activations, dtype=np.float64)
    rows = rows - rows[0]
    rows -= rows.mean(axis=0)
    return rows


# Below this ratio the Gram matrix, which squares the condition of the activations, loses more than half of
# the digits.
WELL_CONDITIONED = 1e-6


def leading_directions(activations: NDArray, variance: float) -> NDArray[np.float64]:
    """Return the whitened leading directions of the centred activations, [images, kept].

    ``activations`` is [images, channels]. The columns are orthonormal: the left singular vectors of the
    fewest leading directions that hold the share ``variance`` of the variance, to within 1e-12. Directions
    without variance (dead or repeated channels, more channels than images) are never kept, so ``kept`` is 0
    for constant activations and at most images - 1.
    """
    rows = centred(activations)
    wide = rows.shape[0] < rows.shape[1]
    energy, vectors = np.linalg.eigh(rows @ rows.T if wide else rows.T @ rows)
    energy, vectors = energy[::-1], vectors[:, ::-1]
    kept = _count(energy, variance)
    if kept == 0:
        return rows[:, :0]
    if energy[kept - 1] > WELL_CONDITIONED * energy[0]:
        vectors = vectors[:, :kept]
        return vectors if wide else rows @ vectors / np.sqrt(energy[:kept])
    left, singular, _ = np.linalg.svd(rows, full_matrices=False)
    return left[:, : _count(singular**2, variance)]


def _count(energy: NDArray[np.float64], variance: float) -> int:
    """Return how many of the squared singular values, largest first, hold ``variance`` of their sum."""
    if energy[0] <= 0:
        return 0
    shares = np.cumsum(energy.clip(0)) / energy.clip(0).sum()
    # Repeated channels leave rounding errors, which must not count as directions if all variance is kept.
    return int(np.searchsorted(shares, variance * (1 - 1e-12))) + 1


def mean_canonical_correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the mean canonical correlation of two whitened sides, [images, kept_a] and [images, kept_b].

    Both sides have orthonormal columns, so the canonical correlations are the min(kept_a, kept_b) singular
    values of a'b (Bjorck and Golub, 1973). The mean is NaN if a side kept no direction. With more directions
    than images, some correlations are 1 whatever the data (see ``forced_correlations``).
    """
    if a.shape[1] == 0 or b.shape[1] == 0:
        return float("nan")
    product = a.T @ b if a.shape[1] <= b.shape[1] else b.T @ a
    # Eigenvalues of the squares take a third of the time of singular values. Near 0, they are off by up to
    # 1e-7.
    squares = np.linalg.eigvalsh(product @ product.T)
    return float(np.sqrt(np.clip(squares, 0.0, 1.0)).mean())


def forced_correlations(kept_a: int, kept_b: int, dimensions: int) -> int:
    """Return how many canonical correlations are 1 whatever the data: 0 if there is room for both sides.

    In a space of ``dimensions``, subspaces of ``kept_a`` and ``kept_b`` directions share at least kept_a +
    kept_b - dimensions of them. Centred activations of n images span n - 1 dimensions.
    """
    return max(0, kept_a + kept_b - dimensions)


def permutation_null(
    a: NDArray[np.float64], b: NDArray[np.float64], generators: Iterable[np.random.Generator]
) -> NDArray[np.float64]:
    """Return one mean canonical correlation per generator, each after a random permutation of ``b``'s rows.

    Permuted whitened rows are still whitened, so a draw costs one product and its singular values.
    """
    return np.array([mean_canonical_correlation(a, b[g.permutation(len(b))]) for g in generators])
