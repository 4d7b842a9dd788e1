"""Exact line integrals of attenuation through solids, for a cone beam and a flat detector.

The source stands at (0, -source_distance, 0), the detector is the plane y = detector_distance, its columns run along x
and its rows down z. In a solid's own coordinates a ray stays a straight line, so where it enters and leaves is the
root of a quadratic; each solid is evaluated only inside the rectangle that its bounding box casts on the detector.


From attenuation to a film: exposure, scatter, quantum noise, detector blur, and the logarithm that displays take.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from PIL import Image

from moco_transfer.phantom.bodies import (
    BULGE,
    CAVITY,
    CENTRE,
    CORE,
    DENSITY,
    HIGH,
    HOLLOW,
    INVERSE,
    LOW,
    OUTLINE,
    ROLE,
    SOLID,
    TISSUE,
)

SOFT_TISSUE = 0.02  # attenuation of soft tissue in 1/mm, at some 70 keV
LUNG_AIR = 0.76  # the share of soft tissue's attenuation that inflated lung lacks


class Beam(NamedTuple):
    """A source, a detector, and the pixels on it; all lengths in mm."""

    source_distance: float
    detector_distance: float
    pitch: float
    rows: int
    columns: int


def attenuation(solids: np.ndarray, beam: Beam) -> np.ndarray:
    """Return the (rows, columns) float32 line integrals of attenuation (no unit) along the rays to the pixels.

    Solids may stand in any order: cavities are carved before they are filled. At most two cavities. The source must be outside all solids.
    """
    ordered = solids[np.argsort(solids[:, ROLE], kind="stable")]
    return _integrate(ordered, *beam)


def shadow(solids: np.ndarray, beam: Beam) -> tuple[float, float, float, float]:
    """Return (left, top, right, bottom) in pixels: the rectangle that encloses the solids' shadows, not clipped."""
    boxes = np.array([_shadow(solid, *beam) for solid in solids])
    left, top = boxes[:, :2].min(axis=0)
    right, bottom = boxes[:, 2:].max(axis=0)
    return float(left), float(top), float(right), float(bottom)


@njit(cache=True, nogil=True)
def _shadow(solid, source_distance, detector_distance, pitch, rows, columns):
    left, top, right, bottom = np.inf, np.inf, -np.inf, -np.inf
    reach = np.sqrt(max(1.0 - solid[BULGE], 1.0)) if solid[BULGE] < 0.0 else 1.0
    for corner in range(8):
        x, y, z = solid[CENTRE], solid[CENTRE + 1], solid[CENTRE + 2]
        for axis in range(3):
            m0, m1, m2 = (
                solid[INVERSE + 3 * axis],
                solid[INVERSE + 3 * axis + 1],
                solid[INVERSE + 3 * axis + 2],
            )
            if axis < 2:
                along = reach if corner >> axis & 1 else -reach
            else:
                along = solid[HIGH] if corner >> axis & 1 else solid[LOW]
            # Axes are orthogonal: the forward map's columns are the inverse's rows over their squared lengths.
            along /= m0 * m0 + m1 * m1 + m2 * m2
            x, y, z = x + along * m0, y + along * m1, z + along * m2
        magnification = (source_distance + detector_distance) / (source_distance + y) / pitch
        column = x * magnification + 0.5 * (columns - 1)
        row = -z * magnification + 0.5 * (rows - 1)
        left, right = min(left, column), max(right, column)
        top, bottom = min(top, row), max(bottom, row)
    return left, top, right, bottom


@njit(cache=True, nogil=True)
def _integrate(solids, source_distance, detector_distance, pitch, rows, columns):
    # All lengths along a ray are shares of its way from source to pixel; stretches start out empty.
    dense = np.zeros((rows, columns))
    haze = np.zeros((rows, columns, 2))
    body = _empty(rows, columns, 1)
    lung = _empty(rows, columns, 2)
    solid_lung = _empty(rows, columns, 2)
    cavities = 0
    depth = source_distance + detector_distance
    for index in range(len(solids)):
        solid = solids[index]
        left, top, right, bottom = _shadow(solid, source_distance, detector_distance, pitch, rows, columns)
        first_row, last_row = max(int(np.ceil(top)), 0), min(int(np.floor(bottom)), rows - 1)
        first_column, last_column = max(int(np.ceil(left)), 0), min(int(np.floor(right)), columns - 1)
        m0, m1, m2 = solid[INVERSE], solid[INVERSE + 1], solid[INVERSE + 2]
        m3, m4, m5 = solid[INVERSE + 3], solid[INVERSE + 4], solid[INVERSE + 5]
        m6, m7, m8 = solid[INVERSE + 6], solid[INVERSE + 7], solid[INVERSE + 8]
        bulge, low, high = solid[BULGE], solid[LOW], solid[HIGH]
        role, density, core, hollow = solid[ROLE], solid[DENSITY], solid[CORE], solid[HOLLOW]
        ox, oy, oz = -solid[CENTRE], -source_distance - solid[CENTRE + 1], -solid[CENTRE + 2]
        px = m0 * ox + m1 * oy + m2 * oz
        py = m3 * ox + m4 * oy + m5 * oz
        pz = m6 * ox + m7 * oy + m8 * oz
        c = px * px + py * py + bulge * pz * pz - 1.0
        for row in range(first_row, last_row + 1):
            dz = -(row - 0.5 * (rows - 1)) * pitch
            for column in range(first_column, last_column + 1):
                dx = (column - 0.5 * (columns - 1)) * pitch
                qx = m0 * dx + m1 * depth + m2 * dz
                qy = m3 * dx + m4 * depth + m5 * dz
                qz = m6 * dx + m7 * depth + m8 * dz
                a = qx * qx + qy * qy + bulge * qz * qz
                b = px * qx + py * qy + bulge * pz * qz
                # The stretch between the cutting planes, in units of the way from source to pixel.
                start, end = 0.0, 1.0
                if abs(qz) > 1e-12:
                    at_low, at_high = (low - pz) / qz, (high - pz) / qz
                    start, end = max(start, min(at_low, at_high)), min(end, max(at_low, at_high))
                elif pz < low or pz > high:
                    continue
                if end <= start:
                    continue
                if role == TISSUE:
                    dense[row, column] += density * _inside(a, b, c, start, end)
                    if core > 0.0:
                        dense[row, column] -= hollow * _inside(a, b, c + 1.0 - core * core, start, end)
                    continue
                root = b * b - a * c
                if root <= 0.0:
                    continue
                root = np.sqrt(root)
                start, end = max(start, (-b - root) / a), min(end, (-b + root) / a)
                if end <= start:
                    continue
                if role == OUTLINE:
                    _stretch(body, row, column, 0, start, end)
                elif role == CAVITY:
                    _stretch(lung, row, column, cavities, start, end)
                else:
                    for side in range(2):
                        enter = max(start, lung[row, column, side, 0])
                        leave = min(end, lung[row, column, side, 1])
                        if leave > enter and role == SOLID:
                            _stretch(solid_lung, row, column, side, enter, leave)
                        elif leave > enter:
                            haze[row, column, side] += density * (leave - enter)
        if role == CAVITY:
            cavities += 1
    image = np.empty((rows, columns), dtype=np.float32)
    for row in range(rows):
        dz = (row - 0.5 * (rows - 1)) * pitch
        for column in range(columns):
            dx = (column - 0.5 * (columns - 1)) * pitch
            length = np.sqrt(dx * dx + dz * dz + depth * depth)
            soft = max(body[row, column, 0, 1] - body[row, column, 0, 0], 0.0)
            for side in range(2):
                inflated = max(lung[row, column, side, 1] - lung[row, column, side, 0], 0.0)
                solid = max(solid_lung[row, column, side, 1] - solid_lung[row, column, side, 0], 0.0)
                soft -= LUNG_AIR * max(inflated - solid - haze[row, column, side], 0.0)
            image[row, column] = max(dense[row, column] + SOFT_TISSUE * soft, 0.0) * length
    return image


@njit(cache=True, nogil=True)
def _empty(rows, columns, count):
    stretches = np.full((rows, columns, count, 2), 2.0)
    stretches[:, :, :, 1] = -2.0
    return stretches


@njit(cache=True, nogil=True)
def _stretch(stretches, row, column, side, start, end):
    stretches[row, column, side, 0] = min(stretches[row, column, side, 0], start)
    stretches[row, column, side, 1] = max(stretches[row, column, side, 1], end)


@njit(cache=True, nogil=True)
def _inside(a, b, c, start, end):
    """The length within [start, end] on which a t^2 + 2 b t + c <= 0; with a < 0 it may be in two pieces."""
    root = b * b - a * c
    if a > 1e-15:
        if root <= 0.0:
            return 0.0
        root = np.sqrt(root)
        return max(min(end, (-b + root) / a) - max(start, (-b - root) / a), 0.0)
    if root <= 0.0 or a > -1e-15:
        return end - start
    root = np.sqrt(root)
    gap = min(end, (-b - root) / a) - max(start, (-b + root) / a)
    return end - start - max(gap, 0.0)


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
