"""From a patient's solids to a film: exact line integrals, then exposure, noise, and display.

The beam is a cone: the source stands at (0, -source_distance, 0), the detector is the plane y =
detector_distance, with its columns along x and its rows downwards. In a solid's own coordinates a ray is
still a straight line, so it enters and leaves where a quadratic is zero. Each solid is evaluated only inside
the rectangle that its bounding box casts on the detector.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

from moco_transfer.compiled import compiled
from moco_transfer.phantom.bodies import BULGE, CAVITY, CENTRE, INVERSE, OUTLINE, ROLE, SOLID, TISSUE, tilted

SOFT_TISSUE = 0.02  # attenuation of soft tissue in 1/mm, at about 70 keV
LUNG_AIR = 0.76  # the share of soft tissue's attenuation that inflated lung lacks
METAL = 0.25  # attenuation above soft tissue in 1/mm, of steel as thin as implants and wires are

# How a patient stands in each view. The rows point along the image's rows, to the detector, and up, in
# patient axes.
POSES = {
    "PA": np.diag([1.0, 1.0, 1.0]),
    "AP": np.diag([1.0, -1.0, 1.0]),
    "LATERAL": np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),
}
POSES["LL"] = POSES["LATERAL"] * [1.0, -1.0, 1.0]
POSES["LEFT OBLIQUE"] = POSES["AP"] @ tilted(0.0, 0.0, np.pi / 4)[0]
POSES["RIGHT OBLIQUE"] = POSES["AP"] @ tilted(0.0, 0.0, -np.pi / 4)[0]


class Beam(NamedTuple):
    """A source, a detector and its pixels; all lengths in mm."""

    source_distance: float
    detector_distance: float
    pitch: float
    rows: int
    columns: int


class Display(NamedTuple):
    """How a signal becomes an image; each pair holds the bounds between which a film's value is drawn."""

    detail: tuple[float, float]  # share of the large-scale density that is removed
    low: tuple[float, float]  # quantile of the signal that becomes black
    high: tuple[float, float]  # quantile that becomes white
    gamma: tuple[float, float]
    centre: float  # share of rows and columns, about the middle, from which the quantiles are taken


def film(
    solids: np.ndarray,
    beam: Beam,
    rng: np.random.Generator,
    *,
    photons: float,
    scatter: float,
    display: Display,
) -> np.ndarray:
    """Return the film of ``solids``, float32 (rows, columns) from 0 to 1, bright where much was absorbed.

    ``photons`` is how many would reach a pixel through air. ``scatter`` is the ratio of scattered to direct
    radiation.
    """
    direct = np.exp(-attenuation(solids, beam))
    # Scatter is the direct radiation under a very wide blur.
    arriving = _blurred(
        direct + scatter * np.maximum(_coarse(direct), 0.0), share=float(rng.uniform(0.4, 0.8))
    )
    # Poisson noise of a count n is drawn as a normal of variance n, which is close enough for counts above
    # about twenty.
    counts = photons * arriving
    counts += np.sqrt(counts) * rng.standard_normal(counts.shape, dtype=np.float32)
    signal = -np.log(np.maximum(counts, 1.0) / np.float32(photons))
    return _displayed(signal, rng, display)


def _displayed(signal: np.ndarray, rng: np.random.Generator, display: Display) -> np.ndarray:
    detail, low, high, gamma = (float(rng.uniform(*bounds)) for bounds in display[:4])
    # Vendors' processing does the same, so that ribs and vessels show both in the lungs and behind the heart.
    signal = signal - np.float32(detail) * _coarse(signal)
    top, left = (int(0.5 * (1.0 - display.centre) * length) for length in signal.shape)
    middle = signal[top : signal.shape[0] - top : 2, left : signal.shape[1] - left : 2]
    ordered = np.sort(middle, axis=None)
    last = len(ordered) - 1
    floor, ceiling = ordered[int(low * last)], ordered[int(high * last)]
    scaled = (signal - floor) / max(float(ceiling - floor), 1e-6)
    return np.clip(scaled, 0.0, 1.0) ** np.float32(gamma)


def _coarse(image: np.ndarray) -> np.ndarray:
    """Return ``image`` after a very wide blur: it is shrunk to a few cells and stretched again."""
    rows, columns = image.shape
    cells = (max(columns // 16, 5), max(rows // 16, 5))
    small = Image.fromarray(image).resize(cells, Image.Resampling.BOX)
    return np.asarray(small.resize((columns, rows), Image.Resampling.BICUBIC))


def _blurred(image: np.ndarray, share: float) -> np.ndarray:
    """Return ``image`` after a 3 x 3 blur that moves ``share`` of each pixel to its neighbours."""
    side = np.float32(0.25 * share)
    for _ in range(2):  # down the rows, then, transposed, along them
        padded = np.pad(image, ((1, 1), (0, 0)), mode="edge")
        image = (image + side * (padded[:-2] + padded[2:] - 2.0 * image)).T
    return image.astype(np.float32)


def attenuation(solids: np.ndarray, beam: Beam) -> np.ndarray:
    """Return the line integrals of attenuation (no unit) along the rays, float32 (rows, columns).

    The order of the solids does not matter, except that at most two may be cavities. The source must be
    outside all solids.
    """
    # Outlines come first, and cavities are carved before they are filled.
    ordered = solids[np.argsort(solids[:, ROLE], kind="stable")]
    return _integrate(ordered, *beam)


def shadow(solids: np.ndarray, beam: Beam) -> tuple[float, float, float, float]:
    """Return the rectangle around the shadows of the solids: (left, top, right, bottom) in pixels, uncut."""
    boxes = np.array([_shadow(solid, *beam) for solid in solids])
    left, top = boxes[:, :2].min(axis=0)
    right, bottom = boxes[:, 2:].max(axis=0)
    return float(left), float(top), float(right), float(bottom)


@compiled
def _shadow(solid, source_distance, detector_distance, pitch, rows, columns):
    left, top, right, bottom = np.inf, np.inf, -np.inf, -np.inf
    bulge, low, high = solid[BULGE : BULGE + 3]
    reach = np.sqrt(1.0 - min(bulge, 0.0))  # a waist is as wide as its ends
    for corner in range(8):
        x, y, z = solid[CENTRE], solid[CENTRE + 1], solid[CENTRE + 2]
        for axis in range(3):
            m = solid[INVERSE + 3 * axis : INVERSE + 3 * axis + 3]
            if axis < 2:
                along = reach if corner >> axis & 1 else -reach
            else:
                along = high if corner >> axis & 1 else low
            # Axes are orthogonal: the forward map's columns are the inverse's rows over their squared norms.
            along /= m[0] * m[0] + m[1] * m[1] + m[2] * m[2]
            x, y, z = x + along * m[0], y + along * m[1], z + along * m[2]
        magnification = (source_distance + detector_distance) / (source_distance + y) / pitch
        column = x * magnification + 0.5 * (columns - 1)
        row = -z * magnification + 0.5 * (rows - 1)
        left, right = min(left, column), max(right, column)
        top, bottom = min(top, row), max(bottom, row)
    return left, top, right, bottom


@compiled
def _integrate(solids, source_distance, detector_distance, pitch, rows, columns):
    # Lengths along a ray are shares of the distance from source to pixel. A stretch is a (start, end).
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
        role = solid[ROLE]
        m0, m1, m2, m3, m4, m5, m6, m7, m8 = solid[INVERSE : INVERSE + 9]
        bulge, low, high, density, core, hollow = solid[BULGE:]
        # In the solid's axes the ray is p + t q, t from 0 at the source to 1 at the pixel; it is inside where
        # a t^2 + 2 b t + c <= 0.
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
                # First the stretch between the cutting planes.
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


@compiled
def _empty(rows, columns, count):
    stretches = np.full((rows, columns, count, 2), 2.0)
    stretches[:, :, :, 1] = -2.0
    return stretches


@compiled
def _stretch(stretches, row, column, side, start, end):
    stretches[row, column, side, 0] = min(stretches[row, column, side, 0], start)
    stretches[row, column, side, 1] = max(stretches[row, column, side, 1], end)


@compiled
def _inside(a, b, c, start, end):
    """Return the length within [start, end] where a t^2 + 2 b t + c <= 0; in two pieces if a < 0."""
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
