"""The solids, in millimetres, from which phantom patients are built.

Every solid is an affine image of one canonical shape: x^2 + y^2 + bulge * z^2 <= 1 with low <= z <= high. A
bulge of 1 gives an ellipsoid, 0 a cylinder, and less than 0 a cylinder with a waist (a vertebral body). A
concentric core may be less dense than the rest, like marrow. Each solid is one row of a float64 table, so a
few array operations build a whole patient, and the projector takes the table as it is. Patient axes: x to the
left, y to the front, z up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from moco_transfer.compiled import compiled

# Roles, in the order in which the projector must process them.
OUTLINE = 0.0  # the body: soft tissue from a ray's first entry into any outline to its last exit
TISSUE = 1.0  # adds its density to whatever is there
CAVITY = 2.0  # a lung: removes soft tissue; at most two, which must not overlap
SOLID = 3.0  # an organ in a lung: in each cavity, no air from a ray's first entry to its last exit
HAZE = 4.0  # fills a share (its density) of the lung that it overlaps; shares add up, to at most 1

# Columns of the table. INVERSE (9 numbers, row by row) maps patient axes to those of the canonical shape.
ROLE, CENTRE, INVERSE, BULGE, LOW, HIGH, DENSITY, CORE, HOLLOW = 0, 1, 4, 13, 14, 15, 16, 17, 18
WIDTH = 19

UPRIGHT = np.eye(3)


def ellipsoids(
    centres: ArrayLike,
    halves: ArrayLike,
    density: ArrayLike,
    *,
    axes: np.ndarray = UPRIGHT,
    low: ArrayLike = -1.0,
    high: ArrayLike = 1.0,
    core: float = 0.0,
    hollow: ArrayLike = 0.0,
    role: float = TISSUE,
) -> np.ndarray:
    """Return ellipsoids, cut off at ``low`` and ``high`` along their own z axis (in half-lengths).

    ``centres`` and ``halves`` are (n, 3) or (3,), in mm. ``axes`` is (3, 3) or (n, 3, 3); its columns are the
    unit axes of each solid. ``density`` is in 1/mm for `TISSUE`, a share for `HAZE`, and ignored for other
    roles. The core is the solid scaled by ``core``; its density is lower by ``hollow``.
    """
    centres, halves, axes = _array(centres, 3), _array(halves, 3), _array(axes, 3, 3)
    rows = np.empty((max(len(centres), len(halves), len(axes)), WIDTH))
    rows[:, ROLE], rows[:, BULGE], rows[:, LOW], rows[:, HIGH] = role, 1.0, low, high
    rows[:, DENSITY], rows[:, CORE], rows[:, HOLLOW] = density, core, hollow
    rows[:, CENTRE : CENTRE + 3] = centres
    rows[:, INVERSE : INVERSE + 9] = (axes.transpose(0, 2, 1) / halves[:, :, None]).reshape(-1, 9)
    return rows


def cylinders(
    centres: ArrayLike,
    halves: ArrayLike,
    density: ArrayLike,
    *,
    axes: np.ndarray = UPRIGHT,
    waist: float = 0.0,
    core: float = 0.0,
    hollow: ArrayLike = 0.0,
    role: float = TISSUE,
) -> np.ndarray:
    """Return elliptic cylinders along their own z axis; ``halves`` are end radii and half-lengths.

    ``waist`` is the share of the squared radius that is missing half-way up (0 for a straight cylinder). Only
    `TISSUE` may have a waist, because the other roles need convex solids. The other arguments are those of
    `ellipsoids`.
    """
    narrow = np.sqrt(1.0 - waist)
    halves = np.asarray(halves) * [narrow, narrow, 1.0]
    rows = ellipsoids(centres, halves, density, axes=axes, core=core, hollow=hollow, role=role)
    rows[:, BULGE] = -waist / (1.0 - waist)
    return rows


def tubes(
    paths: ArrayLike,
    radii: ArrayLike,
    density: ArrayLike,
    *,
    finest: float = 0.0,
    flatness: float = 1.0,
    core: float = 0.0,
    hollow: ArrayLike = 0.0,
    role: float = TISSUE,
) -> np.ndarray:
    """Return n * (k - 1) cylinders along polylines; ``paths`` is (n, k, 3) or (k, 3), in mm.

    ``radii`` broadcasts to (n, k - 1). ``flatness`` divides the horizontal radius (ribs are taller than they
    are thick). A tube thinner than ``finest`` mm is widened to it and made less dense in proportion: a wire
    finer than a pixel keeps its mass instead of falling between the pixels.
    """
    paths = np.asarray(paths, dtype=float)
    paths = _array(paths, *paths.shape[-2:])
    shape = (paths.shape[0], paths.shape[1] - 1)
    radii, density, hollow = (
        np.broadcast_to(np.asarray(values, dtype=float), shape).ravel() for values in (radii, density, hollow)
    )
    rows = np.empty((radii.size, WIDTH))
    rows[:, ROLE], rows[:, BULGE], rows[:, LOW], rows[:, HIGH], rows[:, CORE] = role, 0.0, -1.0, 1.0, core
    _fill_tubes(rows, paths, radii, density, hollow, float(finest), float(flatness))
    return rows


def tilted(sideways: ArrayLike, forwards: ArrayLike, turned: ArrayLike = 0.0) -> np.ndarray:
    """Return (n, 3, 3) frames, tilted by angles in radians and turned about the vertical.

    ``turned`` takes x towards y first; then the z axis leans to +y by ``forwards`` and to +x by ``sideways``.
    """
    return _tilted(_array(sideways), _array(forwards), _array(turned))


def posed(solids: np.ndarray, rotation: np.ndarray, centre: ArrayLike) -> np.ndarray:
    """Return the solids moved so that ``centre`` is the origin, and rotated about it by ``rotation`` (3, 3).

    The rotation may be a reflection.
    """
    moved = solids.copy()
    moved[:, CENTRE : CENTRE + 3] = solids[:, CENTRE : CENTRE + 3] @ rotation.T + -rotation @ centre
    inverse = solids[:, INVERSE : INVERSE + 9].reshape(-1, 3, 3) @ rotation.T
    moved[:, INVERSE : INVERSE + 9] = inverse.reshape(-1, 9)
    return moved


def _array(values: ArrayLike, *shape: int) -> np.ndarray:
    """Return ``values`` as contiguous float64 (n, *shape): numba compiles a kernel anew for each layout."""
    return np.ascontiguousarray(values, dtype=float).reshape(-1, *shape)


# One patient takes dozens of calls with small tables, for which NumPy would be several times slower here.


@compiled
def _fill_tubes(rows, paths, radii, density, hollow, finest, flatness):
    """Fill ``rows`` with one cylinder per segment of each path; the cylinder's x axis is horizontal."""
    steps = paths.shape[1] - 1
    for i in range(len(rows)):
        start, end = paths[i // steps, i % steps], paths[i // steps, i % steps + 1]
        row = rows[i]
        x, y, z = end[0] - start[0], end[1] - start[1], end[2] - start[2]
        length = max(np.sqrt(x * x + y * y + z * z), 1e-9)
        x, y, z = x / length, y / length, z / length
        level = np.sqrt(x * x + y * y)
        a, b = (-y / level, x / level) if level > 1e-9 else (1.0, 0.0)
        wide = max(radii[i], finest)
        thin, half = wide / flatness, 0.5 * length
        dilution = (radii[i] / wide) ** 2
        for j in range(3):
            row[CENTRE + j] = 0.5 * (start[j] + end[j])
        m = row[INVERSE : INVERSE + 9]
        m[0], m[1], m[2] = a / thin, b / thin, 0.0
        m[3], m[4], m[5] = -z * b / wide, z * a / wide, (x * b - y * a) / wide
        m[6], m[7], m[8] = x / half, y / half, z / half
        row[DENSITY], row[HOLLOW] = density[i] * dilution, hollow[i] * dilution


@compiled
def _tilted(sideways, forwards, turned):
    frames = np.empty((max(len(sideways), len(forwards), len(turned)), 3, 3))
    for i in range(len(frames)):
        a, b, c = sideways[i % len(sideways)], forwards[i % len(forwards)], turned[i % len(turned)]
        ca, sa, cb, sb, cc, sc = np.cos(a), np.sin(a), np.cos(b), np.sin(b), np.cos(c), np.sin(c)
        # Rotations about z, then x, then y. The columns are the axes of the frame.
        x, y, z = frames[i, :, 0], frames[i, :, 1], frames[i, :, 2]
        x[0], x[1], x[2] = ca * cc - sa * sb * sc, cb * sc, -sa * cc - ca * sb * sc
        y[0], y[1], y[2] = -ca * sc - sa * sb * cc, cb * cc, sa * sc - ca * sb * cc
        z[0], z[1], z[2] = sa * cb, sb, ca * cb
    return frames
