"""The bones that chest and spine films share: spinal column, ribs, clavicles, scapulae, sternum, pelvis,
skull base.

The column is built from the sacrum up, with the lordosis and kyphosis of a standing adult; all other bones
are placed relative to it. The origin is on the midline at the height of the lower end of T12; x points to the
patient's left, y to the front, z up, in mm. Bone densities are attenuation above that of soft tissue, in
1/mm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from moco_transfer.phantom.bodies import cylinders, ellipsoids, tilted, tubes

# Indices of vertebrae, from C1 (0) to L5.
C2, C7, T1, T12, L1, L5 = 1, 6, 7, 18, 19, 23
COUNT = 24

# Typical adult sizes at some levels in mm, and linear interpolation between them.
_LEVELS = [0, 2, C7, T1, 12, T12, L1, L5]
_WIDTH = np.interp(range(COUNT), _LEVELS, [18, 18, 24, 28, 29, 40, 43, 52])
_DEPTH = np.interp(range(COUNT), _LEVELS, [15, 15, 17, 18, 26, 32, 33, 35])
_HEIGHT = np.interp(range(COUNT), _LEVELS, [14, 14, 15, 17, 20, 25, 26, 27])
_DISC = np.interp(range(COUNT), _LEVELS, [5, 5, 6, 4, 4.5, 7, 8, 11])  # the disc below
# How far each vertebra leans to the front in a standing adult, in degrees, from C1 down to L5.
_LEAN = np.array(
    [-8, -8, -6, 0, 8, 16, 22, 24, 22, 19, 16, 12, 8, 4, -1, -5, -9, -12, -13, -12, -8, 0, 10, 20]
)

# Ribs 1 to 12: half-width and half-depth of the cage (mm), how far around each rib goes (radians), how far it
# drops (mm).
_RIB_HALF_WIDTH = np.array([56, 80, 99, 112, 121, 127, 131, 134, 134, 131, 125, 112])
_RIB_HALF_DEPTH = np.array([36, 54, 68, 78, 85, 90, 93, 95, 95, 92, 88, 82])
_RIB_END = np.array([2.5, 2.5, 2.5, 2.45, 2.4, 2.35, 2.25, 2.1, 1.95, 1.8, 1.35, 0.9])
_RIB_DROP = np.array([18, 34, 48, 58, 66, 72, 76, 78, 78, 74, 62, 46])


class Column(NamedTuple):
    """A spinal column: one row per vertebra, C1 first."""

    centres: np.ndarray  # (24, 3), mm
    frames: np.ndarray  # (24, 3, 3); the columns point to the left, front and top of each vertebra
    halves: np.ndarray  # (24, 3), mm
    discs: np.ndarray  # (24,), height of the disc below, mm
    density: np.ndarray  # (24,), factor on the density of the marrow
    bone: float  # factor on the density of all bone


@dataclass
class Deformity:
    """What disease does to a column; each array has one entry per vertebra."""

    disc_loss: np.ndarray  # share of the disc below
    height_loss: np.ndarray  # share of the vertebra
    slip: np.ndarray  # to the front, of this vertebra and all above it, mm
    wedge: np.ndarray  # lean to the front, likewise, radians
    sideways: np.ndarray  # lean to the left, radians
    density: np.ndarray  # factor on the density of the marrow

    @classmethod
    def none(cls) -> Deformity:
        """Return the deformity of a healthy column."""
        return cls(*np.zeros((5, COUNT)), np.ones(COUNT))


def column(rng: np.random.Generator, deformity: Deformity) -> Column:
    """Return a patient's column with ``deformity``; size, curvature, scoliosis and bone density vary."""
    stature = rng.normal(1.0, 0.05)
    curvature = np.clip(rng.normal(1.0, 0.25), 0.3, 1.6)
    lean = np.radians(_LEAN * curvature + rng.normal(0, 1.0, COUNT)) + np.cumsum(deformity.wedge[::-1])[::-1]
    sideways = 0.02 * np.sin(np.arange(COUNT) / 4.0 + rng.uniform(0, 6.3)) + deformity.sideways
    frames = tilted(sideways, lean, rng.normal(0, 0.015, COUNT))
    halves = 0.5 * stature * np.stack([_WIDTH, _DEPTH, _HEIGHT], axis=1) * rng.normal(1.0, 0.025, (COUNT, 3))
    halves[:, 2] *= 1.0 - deformity.height_loss
    halves[:, :2] *= (1.0 + 0.2 * deformity.height_loss)[:, None]
    discs = stature * _DISC * rng.uniform(0.9, 1.1, COUNT) * (1.0 - deformity.disc_loss)

    up = frames[:, :, 2]
    # From each vertebra to the one above: half its height, the disc between them, half the height of the
    # other.
    steps = up * (halves[:, 2] + 0.5 * discs)[:, None]
    steps[:-1] += up[1:] * (halves[1:, 2] + 0.5 * discs[:-1])[:, None]
    steps += frames[:, :, 1] * deformity.slip[:, None]
    centres = np.cumsum(steps[::-1], axis=0)[::-1]
    foot = centres[T12] - up[T12] * halves[T12, 2]
    centres = centres - foot
    centres[:, 1] -= 60.0 + centres[T1 : T12 + 1, 1].mean()
    bone = float(np.clip(rng.normal(1, 0.15), 0.6, 1.5))
    return Column(centres, frames, halves, discs, deformity.density, bone)


def vertebrae(spine: Column, first: int, last: int) -> np.ndarray:
    """Return vertebrae ``first`` to ``last`` (indices, both included): bodies, endplates and processes."""
    chosen = slice(first, last + 1)
    centres, frames, halves = spine.centres[chosen], spine.frames[chosen], spine.halves[chosen]
    bone, (width, depth, height) = spine.bone, halves.T
    level = np.arange(first, last + 1)
    # Cervical spinous processes are short, thoracic ones long and slanting, lumbar ones tall.
    thoracic = ((level >= T1) & (level <= T12)).astype(float)
    lumbar = (level >= L1).astype(float)
    back = -depth - 0.42 * width
    reach = width + 9 + 8 * thoracic + 12 * lumbar
    spinous = np.stack(
        [np.full(len(level), 3.2), 10 + 5 * thoracic + 3 * lumbar, 4 + 2 * thoracic + 6 * lumbar], axis=1
    )

    # Landmarks of each vertebra in its own axes (left, front, up). Of those in pairs, the left one is listed.
    landmarks = np.zeros((11, len(level), 3))
    for landmark, (x, y, z) in zip(
        landmarks,
        [
            (0.0, 0.0, height - 0.7),  # upper and lower endplate
            (0.0, 0.0, 0.7 - height),
            (0.0, back - 0.35 * spinous[:, 1], -0.35 * height - 7 * thoracic),  # spinous process
            (0.60 * width, -0.85 * depth, 0.25 * height),  # pedicle, from and to
            (0.62 * width, back + 4, 0.20 * height),
            (0.70 * width, back + 6, 0.10 * height),  # transverse process, from and to
            (reach, back - 4, 0.15 * height),
            (0.55 * width, back + 6, 0.0),  # lamina, from and to
            (1.0, back - 2, -0.35 * height),
            (0.62 * width, back + 5, 0.8 * height),  # upper and lower articular process
            (0.62 * width, back + 5, -0.8 * height),
        ],
        strict=True,
    ):
        landmark[:, 0], landmark[:, 1], landmark[:, 2] = x, y, z
    offsets = np.concatenate([landmarks, landmarks[3:] * [-1.0, 1.0, 1.0]])
    places = centres + (frames @ offsets[..., None])[..., 0]

    both = np.concatenate([frames, frames])
    plates = np.tile(np.stack([0.97 * width, 0.97 * depth, np.full(len(level), 0.9)], axis=1), (2, 1))
    shell = 0.010 * bone
    marrow = (0.010 + 0.008 * (level < T1)) * bone * spine.density[chosen]
    slant = frames @ tilted(0.0, np.radians(15 + 25 * thoracic - 15 * lumbar))
    size = np.tile(0.16 * width + 0.8, 2)[:, None]
    left, right = places[3:11], places[11:]

    def process(start: int) -> np.ndarray:
        return np.concatenate([np.stack([side[start], side[start + 1]], axis=1) for side in (left, right)])

    facets = np.concatenate([left[6], left[7], right[6], right[7]])
    facet_size = np.tile(np.stack([0.2 * width, 0.2 * width, 0.38 * height + 2], axis=1), (4, 1))
    return np.concatenate(
        [
            cylinders(centres, halves, marrow + shell, axes=frames, waist=0.22, core=0.88, hollow=shell),
            cylinders(places[:2].reshape(-1, 3), plates, 0.022 * bone, axes=both),
            ellipsoids(places[2], spinous, 0.016 * bone, axes=slant),
            tubes(process(0), size, 0.030 * bone, flatness=1.3, core=0.62, hollow=0.024 * bone),
            tubes(process(2), 0.8 * size, 0.016 * bone, flatness=1.2),
            tubes(process(4), 1.3 * size, 0.013 * bone, flatness=1.6),
            ellipsoids(facets, facet_size, 0.014 * bone, axes=np.concatenate([both, both])),
        ]
    )


def rib_paths(spine: Column, breadth: float, depth: float) -> np.ndarray:
    """Return the centre lines of the ribs (24, 13, 3) in mm: left ribs 1 to 12, then the right ones."""
    angle = np.linspace(0.16, 1.0, 13)[None, :] * _RIB_END[:, None]
    thoracic = slice(T1, T12 + 1)
    origin = spine.centres[thoracic] + spine.frames[thoracic, :, 2] * spine.halves[thoracic, 2:3]
    across = breadth * _RIB_HALF_WIDTH[:, None] * np.sin(angle) ** 0.85
    # A rib starts behind the vertebral body, turns back a little, and then runs forward and down.
    back = origin[:, 1:2] - 14.0
    forward = depth * _RIB_HALF_DEPTH[:, None] * (1.0 - np.cos(angle))
    along = back + forward - 24.0 * np.sin(np.minimum(angle * 2, np.pi))
    height = origin[:, 2:3] + 4.0 - depth * _RIB_DROP[:, None] * 0.5 * (1.0 - np.cos(1.15 * angle))
    left = np.stack([origin[:, :1] + across, along, height], axis=2)
    right = np.stack([origin[:, :1] - across, along, height], axis=2)
    return np.concatenate([left, right])


def ribs(paths: np.ndarray, bone: float) -> np.ndarray:
    """Return ribs along ``paths`` (n, k, 3): tubes of hard bone around marrow, taller than thick."""
    radius = np.linspace(6.4, 5.2, paths.shape[1] - 1)[None, :]
    return tubes(paths, radius, 0.034 * bone, flatness=1.5, core=0.66, hollow=0.028 * bone)


def shoulder_girdle(spine: Column, breadth: float, raised: float) -> np.ndarray:
    """Return clavicles, scapulae, humeri and sternum; ``raised`` (at most 1) lifts the arms."""
    top = spine.centres[T1, 2]
    bone = spine.bone
    parts = [  # the sternum
        ellipsoids([0, 62, top - 85], [17, 5, 75], 0.016 * bone, axes=tilted(0, -0.35)),
        ellipsoids([0, 40, top - 22], [22, 7, 20], 0.016 * bone),
    ]
    for side in (-1.0, 1.0):
        clavicle = np.array([[18, 44, -20], [55, 46, -10], [95, 22, 0], [140, -12, 8 + 40 * raised]])
        clavicle = clavicle * [side * breadth, 1, 1] + [0, 0, top]
        parts.append(tubes(clavicle, [6.5, 5.2, 5.8], 0.034 * bone, core=0.62, hollow=0.028 * bone))
        lean = tilted(-side * (0.15 + 0.5 * raised), 0.15, side * 0.6)
        blade = [side * breadth * 138, -88 + 50 * raised, top - 75]
        parts.append(ellipsoids(blade, [36, 6, 72], 0.012 * bone, axes=lean))
        border = np.array([[112, -84, 0], [150, -50, -10], [128, -84, -135]]) + [0, 45 * raised, 0]
        border = border * [side * breadth, 1, 1] + [0, 0, top]
        parts.append(tubes(border, 5.0, 0.020 * bone, core=0.6, hollow=0.012 * bone))
        head = np.array([side * breadth * 172, -14, top - 12 + 45 * raised])
        parts.append(ellipsoids(head, [24, 24, 25], 0.018 * bone))
        shaft = np.stack([head, head + [side * 16, 20 * raised, -150 + 300 * raised]])
        parts.append(tubes(shaft, 12.0, 0.028 * bone, core=0.65, hollow=0.026 * bone))
    return np.concatenate(parts)


def pelvis(spine: Column) -> np.ndarray:
    """Return sacrum, iliac wings and hip joints, below L5."""
    bone = spine.bone
    foot = spine.centres[L5] - spine.frames[L5, :, 2] * (spine.halves[L5, 2] + spine.discs[L5])
    steps = np.cumsum([[0, -4, -12], [0, -13, -22], [0, -16, -24], [0, -10, -22]], axis=0)
    halves = [[46, 17, 13], [38, 14, 13], [28, 11, 13], [18, 8, 12]]
    lean = tilted(0.0, np.radians([38, 36, 28, 15]))
    crest = np.transpose(
        [[30, 44, 62, 82, 104, 122, 130], [-62, -60, -52, -38, -18, 8, 26], [0, 32, 50, 58, 54, 38, 16]]
    )
    rim = np.array([[28, -30, -40], [52, 6, -66], [62, 24, -88], [44, 44, -112], [10, 52, -120]])
    parts = [cylinders(foot + steps, halves, 0.011 * bone, axes=lean, core=0.9, hollow=0.004 * bone)]
    for side in (-1.0, 1.0):
        wing = foot + [side * 80, -22, -12]
        axes = tilted(side * 0.35, 0.1, side * 0.75)
        parts.append(ellipsoids(wing, [60, 9, 70], 0.020 * bone, axes=axes, core=0.93, hollow=0.008 * bone))
        parts.append(tubes(foot + crest * [side, 1, 1], 3.6, 0.022 * bone))
        hip = foot + [side * 88, 12, -98]
        parts.append(ellipsoids(hip, [25, 25, 25], 0.016 * bone))
        parts.append(tubes(foot + rim * [side, 1, 1], 6.0, 0.018 * bone))
    return np.concatenate(parts)


def skull_base(spine: Column) -> np.ndarray:
    """Return the skull, jaw, teeth and hyoid above a cervical spine."""
    top, bone = spine.centres[C2], spine.bone
    parts = [
        ellipsoids(top + [0, 22, 88], [72, 92, 70], 0.020 * bone, core=0.92, hollow=0.020 * bone),
        ellipsoids(top + [0, 10, 38], [52, 34, 12], 0.018 * bone),
        ellipsoids(top + [0, 84, -2], [20, 10, 12], 0.040 * bone),
        tubes(top + np.array([[-14, 42, -50], [0, 54, -48], [14, 42, -50]]), 2.5, 0.03 * bone),
    ]
    for side in (-1.0, 1.0):
        jaw = top + np.array([[46, 20, 36], [44, 26, -8], [30, 66, -22], [6, 92, -26]]) * [side, 1, 1]
        parts.append(tubes(jaw, 8.0, 0.024 * bone, flatness=1.6, core=0.6, hollow=0.012 * bone))
    return np.concatenate(parts)
