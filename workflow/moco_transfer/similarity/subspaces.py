"""Measures of similarity of two datasets on the channels that they share.

Both datasets pass through one network, so their *channels* correspond even though their images do not. Each
dataset is reduced to the mean and the covariance of its channels. The measures compare the leading subspaces
of two covariances, the covariances as a whole, or the two Gaussians. They do not depend on the order of
images. A random rotation of one dataset's channels shows what chance alone gives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moco_transfer.similarity.svcca import centred


@dataclass(frozen=True)
class Spectrum:
    """Mean of a dataset's channels, and their covariance, directions @ diag(variances) @ directions'.

    ``mean`` is [channels], ``variances`` [rank] in descending order, ``directions`` [channels, rank] with
    orthonormal columns.
    """

    mean: NDArray[np.float64]
    variances: NDArray[np.float64]
    directions: NDArray[np.float64]

    @property
    def rank(self) -> int:
        """The number of directions with any variance."""
        return len(self.variances)


def channel_spectrum(activations: NDArray) -> Spectrum:
    """Return the spectrum of activations [images, channels] of at least two images.

    Directions whose variance is only rounding are dropped, so the rank is 0 for constant activations and at
    most images - 1.
    """
    rows = centred(activations)
    variances, directions = np.linalg.eigh(rows.T @ rows / (len(rows) - 1))
    alive = np.flatnonzero(variances > variances[-1] * max(rows.shape) * np.finfo(np.float64).eps)[::-1]
    return Spectrum(np.mean(activations, axis=0, dtype=np.float64), variances[alive], directions[:, alive])


def random_rotation(channels: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Return a rotation or reflection [channels, channels], drawn uniformly from all of them.

    It is Q of the QR decomposition of a Gaussian matrix, with the signs of R's diagonal moved into Q
    (Mezzadri, 2007).
    """
    q, r = np.linalg.qr(generator.standard_normal((channels, channels)))
    return q * np.where(np.diag(r) < 0, -1.0, 1.0)


def rotated(spectrum: Spectrum, rotation: NDArray[np.float64], turned: NDArray[np.bool_]) -> Spectrum:
    """Return the spectrum of the same images after a ``rotation`` [t, t] of some channels.

    ``turned`` [channels] marks these t channels; the others stay as they are.
    """
    mean, directions = spectrum.mean.copy(), spectrum.directions.copy()
    mean[turned], directions[turned] = rotation @ mean[turned], rotation @ directions[turned]
    return Spectrum(mean, spectrum.variances, directions)


def svcca_channels(a: Spectrum, b: Spectrum, k: int) -> float:
    """Return the mean cosine of the principal angles between the leading ``k``-dimensional channel subspaces.

    The value lies between 0 and 1. This is SVCCA with channels as rows. If a dataset has a rank below ``k``,
    it enters with its rank. The value is NaN if that rank is 0.
    """
    if a.rank == 0 or b.rank == 0:
        return float("nan")
    cosines = np.linalg.svd(a.directions[:, :k].T @ b.directions[:, :k], compute_uv=False)
    return float(np.clip(cosines, 0.0, 1.0).mean())


def cka_covariance(a: Spectrum, b: Spectrum) -> float:
    """Return the linear CKA of two datasets with channels as rows: <A, B> / (|A| |B|) of their covariances.

    Kornblith et al. (2019), equation 3, for kernels between channels. Activations are centred over images but
    not over channels, so the value does not depend on the channels' basis. It is NaN if a covariance is 0.
    """
    if a.rank == 0 or b.rank == 0:
        return float("nan")
    overlap = (a.directions.T @ b.directions) ** 2
    product = a.variances @ overlap @ b.variances
    return float(product / (np.linalg.norm(a.variances) * np.linalg.norm(b.variances)))


def frechet_distance(a: Spectrum, b: Spectrum) -> float:
    """Return the Frechet distance of the two Gaussians, in squared units of activation; 0 for equal moments.

    |m_a - m_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2) (Dowson and Landau, 1982); the last trace is the sum of
    the singular values of A^1/2 B^1/2. The estimate from samples is biased upwards.
    """
    roots = np.sqrt(a.variances)[:, None] * (a.directions.T @ b.directions) * np.sqrt(b.variances)
    shared = np.linalg.svd(roots, compute_uv=False).sum() if roots.size else 0.0
    spread = a.variances.sum() + b.variances.sum() - 2 * shared
    return float(np.sum((a.mean - b.mean) ** 2) + max(spread, 0.0))


def variance_share(a: Spectrum, b: Spectrum, k: int) -> float:
    """Return the share of the variance of ``b`` that lies in the leading ``k`` directions of ``a``, 0 to 1.

    The measure is directed: for a source ``a`` and a target ``b``, it says how much of the target's variation
    the source's main directions can express. It is NaN if either has no variance.
    """
    if a.rank == 0 or b.rank == 0:
        return float("nan")
    inside = np.sum((a.directions[:, :k].T @ b.directions) ** 2, axis=0)
    return float(inside @ b.variances / b.variances.sum())
