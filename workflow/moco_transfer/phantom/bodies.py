"""Analytic solids, in millimetres, from which the phantom patients are built.

Every solid is the image of one canonical shape under an affine map: x^2 + y^2 + bulge * z^2 <= 1 with low <= z <= high.
With bulge 1 it is an ellipsoid, with 0 a cylinder, below 0 a cylinder with a waist (a vertebral body). A concentric
core may be less dense than the rest, as marrow is. Solids are rows of one float64 table, so that a whole patient is
built by a few array operations and handed to the projector as it is. Patient axes: x to the left, y to the front, z up.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import ArrayLike

# Roles, in the order in which the projector must meet them.
OUTLINE = 0.0  # the body: soft tissue from a ray's first entry into any outline to its last exit
TISSUE = 1.0  # adds its density to whatever is there
CAVITY = 2.0  # a lung: takes soft tissue away; at most two, which do not overlap
SOLID = 3.0  # an organ in a cavity: no lung from the first entry to the last exit, in each cavity for itself
HAZE = 4.0  # takes a share (its density; 1 is all) of the lung it overlaps; several add up, to all at most

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
    """Return ellipsoids, optionally cut off at ``low`` and ``high`` along their own z axis (in half-lengths).

    ``centres`` and ``halves`` are (n, 3) or (3,), in mm; ``axes`` is (3, 3) or (n, 3, 3), its columns the unit axes of
    each solid. ``density`` is in 1/mm (for `HAZE` a share; the other roles ignore it); the core, scaled by ``core``, has
    ``hollow`` less.
    """
    return _rows(role, centres, halves, axes, 1.0, low, high, density, core, hollow)


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
    """Return elliptic cylinders along their own z axis; ``halves`` holds their radii at the ends and half-length.

    ``waist`` is the share of the squared radius that is missing half-way up (0 for a straight cylinder). The other
    arguments are those of `ellipsoids`. Raises ValueError for a waist in any role but `TISSUE`: the other roles need convex solids.
    """
    if waist and role != TISSUE:
        raise ValueError("only tissue may have a waist: the other roles need convex solids")
    halves = np.array(np.atleast_2d(halves), dtype=float)
    halves[:, :2] *= np.sqrt(1.0 - waist)
    return _rows(role, centres, halves, axes, -waist / (1.0 - waist), -1.0, 1.0, density, core, hollow)


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
    """Return cylinders along polylines: ``paths`` is (n, k, 3) or (k, 3) in mm, the result has n * (k - 1) rows.

    ``radii`` broadcasts to (n, k - 1). ``flatness`` divides the radius across the direction nearest to vertical
    (ribs are taller than they are thick). A tube thinner than ``finest`` mm is widened to it and thinned out in
    proportion, so that a wire finer than a pixel keeps its mass instead of falling between the pixels.
    """
    paths = _table(paths)
    paths = paths.reshape(-1, *paths.shape[-2:])
    shape = (paths.shape[0], paths.shape[1] - 1)
    table = [np.broadcast_to(np.asarray(v, dtype=float), shape).ravel() for v in (radii, density, hollow)]
    rows = np.empty((table[0].size, WIDTH))
    _lay_tubes(rows, paths, *table, float(role), float(finest), float(flatness), float(core))
    return rows


def tilted(sideways: ArrayLike, forwards: ArrayLike, turned: ArrayLike = 0.0) -> np.ndarray:
    """Return (n, 3, 3) frames tilted by angles in radians: to the left, to the front, and turned about the vertical.

    The z axis leans to +x by ``sideways`` and to +y by ``forwards``; ``turned`` takes x towards y first.
    """
    return _tilted(_list(sideways), _list(forwards), _list(turned))


def posed(solids: np.ndarray, rotation: np.ndarray, shift: ArrayLike) -> np.ndarray:
    """Return the solids moved by ``rotation`` (3, 3; a reflection will do) about the origin and then by ``shift``."""
    moved = solids.copy()
    moved[:, CENTRE : CENTRE + 3] = solids[:, CENTRE : CENTRE + 3] @ rotation.T + np.asarray(shift)
    inverse = solids[:, INVERSE : INVERSE + 9].reshape(-1, 3, 3) @ rotation.T
    moved[:, INVERSE : INVERSE + 9] = inverse.reshape(-1, 9)
    return moved


def _rows(role, centres, halves, axes, bulge, low, high, density, core, hollow) -> np.ndarray:
    centres, halves, axes = (
        _table(v).reshape(-1, *shape) for v, shape in ((centres, (3,)), (halves, (3,)), (axes, (3, 3)))
    )
    rows = np.empty((max(len(centres), len(halves), len(axes)), WIDTH))
    shares = (_list(low), _list(high), _list(density), _list(hollow))
    _lay_solids(rows, centres, halves, axes, *shares, float(role), float(bulge), float(core))
    return rows


def _table(values: ArrayLike) -> np.ndarray:
    # Contiguous, because each other layout would have the kernels compiled again.
    return np.ascontiguousarray(values, dtype=float)


def _list(values: ArrayLike) -> np.ndarray:
    return _table(values).reshape(-1)


# A patient has some sixty calls' worth of small tables; compiled, they cost less than the projection does.


@njit(cache=True, nogil=True)
def _lay_solids(rows, centres, halves, axes, low, high, density, hollow, role, bulge, core):
    """Fill ``rows``; a table with one row serves them all."""
    for i in range(len(rows)):
        row = rows[i]
        centre, half, frame = centres[i % len(centres)], halves[i % len(halves)], axes[i % len(axes)]
        for j in range(3):
            row[CENTRE + j] = centre[j]
            for k in range(3):
                row[INVERSE + 3 * j + k] = frame[k, j] / half[j]
        row[ROLE], row[BULGE], row[CORE] = role, bulge, core
        row[LOW], row[HIGH] = low[i % len(low)], high[i % len(high)]
        row[DENSITY], row[HOLLOW] = density[i % len(density)], hollow[i % len(hollow)]


@njit(cache=True, nogil=True)
def _lay_tubes(rows, paths, radii, density, hollow, role, finest, flatness, core):
    """Fill ``rows`` with a cylinder for each step of each path; its x axis is level."""
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
        dilution = (radii[i] / wide) ** 2
        for j in range(3):
            row[CENTRE + j] = 0.5 * (start[j] + end[j])
        thin = wide / flatness
        row[INVERSE], row[INVERSE + 1], row[INVERSE + 2] = a / thin, b / thin, 0.0
        row[INVERSE + 3], row[INVERSE + 4], row[INVERSE + 5] = (
            -z * b / wide,
            z * a / wide,
            (x * b - y * a) / wide,
        )
        half = 0.5 * length
        row[INVERSE + 6], row[INVERSE + 7], row[INVERSE + 8] = x / half, y / half, z / half
        row[ROLE], row[BULGE], row[LOW], row[HIGH], row[CORE] = role, 0.0, -1.0, 1.0, core
        row[DENSITY], row[HOLLOW] = density[i] * dilution, hollow[i] * dilution


@njit(cache=True, nogil=True)
def _tilted(sideways, forwards, turned):
    frames = np.empty((max(len(sideways), len(forwards), len(turned)), 3, 3))
    for i in range(len(frames)):
        a, b, c = sideways[i % len(sideways)], forwards[i % len(forwards)], turned[i % len(turned)]
        ca, sa, cb, sb, cc, sc = np.cos(a), np.sin(a), np.cos(b), np.sin(b), np.cos(c), np.sin(c)
        # Turned about z, then leant to the front about x, then to the left about y; columns are the axes.
        frames[i, 0, 0], frames[i, 1, 0], frames[i, 2, 0] = (
            ca * cc - sa * sb * sc,
            cb * sc,
            -sa * cc - ca * sb * sc,
        )
        frames[i, 0, 1], frames[i, 1, 1], frames[i, 2, 1] = (
            -ca * sc - sa * sb * cc,
            cb * cc,
            sa * sc - ca * sb * cc,
        )
        frames[i, 0, 2], frames[i, 1, 2], frames[i, 2, 2] = sa * cb, sb, ca * cb
    return frames
