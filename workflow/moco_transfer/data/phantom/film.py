"""From attenuation to a film: exposure, scatter, quantum noise, detector blur, and the logarithm that displays take."""

from __future__ import annotations

import numpy as np
from PIL import Image


def exposed(
    attenuation: np.ndarray, rng: np.random.Generator, *, photons: float, scatter: float, blur: float
) -> np.ndarray:
    """Return the (rows, columns) float32 log signal, bright where much was absorbed, for line integrals ``attenuation``.

    ``photons`` is how many would reach a pixel through air, ``scatter`` the ratio of scattered to direct radiation,
    ``blur`` (0 to 1) the share of a pixel's signal that spreads over its neighbours. The Poisson noise of counts n is
    drawn as a normal of variance n, which counts above some twenty allow.
    """
    direct = np.exp(-attenuation)
    # Scatter is direct radiation seen through a very wide blur.
    signal = _spread(direct + scatter * np.maximum(_coarse(direct), 0.0), blur)
    counts = photons * signal
    counts += np.sqrt(counts) * rng.standard_normal(counts.shape, dtype=np.float32)
    return -np.log(np.maximum(counts, 1.0) / np.float32(photons))


def displayed(
    signal: np.ndarray, *, detail: float, centre: float, low: float, high: float, gamma: float
) -> np.ndarray:
    """Return ``signal`` as float32 from 0 to 1: from its ``low`` to its ``high`` quantile, raised to ``gamma``.

    ``detail`` (0 to 1) is the share of the large-scale density that is taken away first, as vendors' processing does
    so that ribs and vessels show both in the lungs and behind the heart. The quantiles are those of the middle
    ``centre`` (0 to 1) of rows and columns, as an exposure is chosen for what stands there.
    """
    signal = signal - np.float32(detail) * _coarse(signal)
    top, left = (int(0.5 * (1.0 - centre) * length) for length in signal.shape)
    middle = signal[top : signal.shape[0] - top : 2, left : signal.shape[1] - left : 2]
    ordered = np.sort(middle, axis=None)
    last = len(ordered) - 1
    floor, ceiling = ordered[int(low * last)], ordered[int(high * last)]
    scaled = (signal - floor) / max(float(ceiling - floor), 1e-6)
    return np.clip(scaled, 0.0, 1.0) ** np.float32(gamma)


def _coarse(image: np.ndarray) -> np.ndarray:
    """A very wide blur: the image shrunk to a few cells and stretched again."""
    rows, columns = image.shape
    cells = (max(columns // 16, 5), max(rows // 16, 5))
    small = Image.fromarray(image).resize(cells, Image.Resampling.BOX)
    return np.asarray(small.resize((columns, rows), Image.Resampling.BICUBIC))


def _spread(image: np.ndarray, share: float) -> np.ndarray:
    """A 3 x 3 blur that moves ``share`` of each pixel, half along each axis, to its neighbours; edges repeat."""
    side = np.float32(0.25 * share)
    for axis in (0, 1):
        ahead = np.concatenate([image.take([0], axis), image.take(range(image.shape[axis] - 1), axis)], axis)
        behind = np.concatenate([image.take(range(1, image.shape[axis]), axis), image.take([-1], axis)], axis)
        image = image + side * (ahead + behind - 2.0 * image)
    return image.astype(np.float32)
