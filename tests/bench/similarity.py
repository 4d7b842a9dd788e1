"""SVCCA at 1,024 channels and 2,000 images, and a draw of its permutation null, against CCA from covariance
matrices.

The reference reimplements google/svcca (``cca_core.py``): the joint covariance of both sides, the
pseudo-inverse of each side's block, its square root by eigendecomposition, and the SVD of the whitened
cross-covariance. It does not reduce the sides, so ours keeps all variance here, and both must give the same
value. For a null draw, the reference computes that value from scratch on permuted images; ours permutes sides
that were whitened once.
"""

from __future__ import annotations

import numpy as np
from measure import Measure, best_seconds

from moco_transfer.seeds import stream
from moco_transfer.similarity.svcca import leading_directions, mean_canonical_correlation, permutation_null

IMAGES, CHANNELS = 2_000, 1_024
ALL = 1.0


def measure() -> list[Measure]:
    """Return the seconds of both ways, for a value and for a draw of the null."""
    a, b = activations()
    bases = leading_directions(a, ALL), leading_directions(b, ALL)
    permuted = b[stream(0, "bench", "null").permutation(IMAGES)]
    draw = permutation_null(*bases, [stream(0, "bench", "null")])[0]
    pairs = [(value(a, b), reference(a, b)), (draw, reference(a, permuted))]
    if not all(np.isclose(ours, theirs, rtol=0, atol=1e-6) for ours, theirs in pairs):
        raise RuntimeError("the two ways give different canonical correlations")
    value_seconds, draw_seconds, anew = best_seconds(
        lambda: value(a, b),
        lambda: permutation_null(*bases, [stream(0, "bench", "null")]),
        lambda: reference(a, b),
        repeats=3,
    )
    size = f"of {CHANNELS:,} channels x {IMAGES:,} images"
    return [
        Measure(f"SVCCA {size}, all directions", value_seconds, anew, "s", 2),
        Measure(f"draw of its null {size}", draw_seconds, anew, "s", 10),
    ]


def activations() -> tuple[np.ndarray, np.ndarray]:
    """Return two sides, float32 [IMAGES, CHANNELS], that share a quarter of their directions."""
    draw = stream(0, "bench", "similarity")
    shared = draw.normal(size=(IMAGES, CHANNELS // 4))
    sides = []
    for _ in range(2):
        own = draw.normal(size=(IMAGES, CHANNELS))
        own[:, : CHANNELS // 4] = 0.7 * own[:, : CHANNELS // 4] + shared
        rotation = np.linalg.qr(draw.normal(size=(CHANNELS, CHANNELS)))[0]
        sides.append((own * np.geomspace(1, 0.05, CHANNELS) @ rotation + 0.5).astype(np.float32))
    return sides[0], sides[1]


def value(a: np.ndarray, b: np.ndarray) -> float:
    """Return SVCCA as the similarity stage computes it."""
    return mean_canonical_correlation(leading_directions(a, ALL), leading_directions(b, ALL))


def reference(a: np.ndarray, b: np.ndarray) -> float:
    """Return the mean canonical correlation from the covariance matrices."""
    covariance = np.cov(a, b, rowvar=False, dtype=np.float64)
    of_a, of_b = covariance[:CHANNELS, :CHANNELS], covariance[CHANNELS:, CHANNELS:]
    whitened = _inverse_root(of_a) @ covariance[:CHANNELS, CHANNELS:] @ _inverse_root(of_b)
    _, correlations, _ = np.linalg.svd(whitened)
    return correlations.mean()


def _inverse_root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(np.linalg.pinv(covariance))
    return vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
