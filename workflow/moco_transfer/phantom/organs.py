"""Soft tissue and air: the trunk's outline, lungs and vessels, heart and great vessels, diaphragm, bowel gas.

Lungs are cavities in the trunk; heart, mediastinum, diaphragm and vessels make parts of them solid again.
Origin and axes are those of `skeleton`, lengths are in mm.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from moco_transfer.phantom.bodies import CAVITY, HAZE, OUTLINE, SOLID, cylinders, ellipsoids, tilted, tubes
from moco_transfer.phantom.projection import SOFT_TISSUE
from moco_transfer.phantom.skeleton import T1, Column


class Chest(NamedTuple):
    """The build of one patient's chest; lengths and heights in mm."""

    breadth: float  # factor on the width of the rib cage
    depth: float  # factor on its depth
    domes: tuple[float, float]  # heights of the left and the right dome of the diaphragm
    apex: float  # height of the lungs' tips
    fat: float  # thickness of the chest wall outside the ribs
    breasts: float  # factor on their size; 0 for none

    @property
    def floor(self) -> float:
        """The height of the costophrenic angles."""
        return min(self.domes) - 58.0

    def dome(self, side: float) -> float:
        """The height of the dome of the diaphragm on ``side`` (+1 left, -1 right)."""
        return self.domes[0 if side > 0 else 1]

    def lung(self, side: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (centre, halves, frame) of the lung's ellipsoid on ``side`` (+1 left, -1 right)."""
        middle = self.floor + 0.30 * (self.apex - self.floor)
        centre = np.array([side * 70.0 * self.breadth, -8.0, middle])
        halves = np.array([65.0 * self.breadth, 86.0 * self.depth, self.apex - middle])
        return centre, halves, tilted(-side * 0.05, 0.03)[0]


class Body(NamedTuple):
    """One patient's solids without the arms, which depend on the view, and the measures that the arms need.

    Each finding may have a marker: solids that are never drawn and only enclose it.
    """

    solids: np.ndarray
    spine: Column
    build: Chest
    markers: list[np.ndarray]


def chest(rng: np.random.Generator, spine: Column, breath: float = 0.0) -> Chest:
    """Return a random build that fits the column: girth, sex and depth of breath vary.

    ``breath`` lowers the diaphragm, in mm; it is negative in a patient who lies down.
    """
    right = 62.0 - breath - rng.normal(0.0, 9.0)
    return Chest(
        breadth=float(np.clip(rng.normal(1.0, 0.05), 0.85, 1.15)),
        depth=float(np.clip(rng.normal(1.0, 0.09), 0.75, 1.3)),
        domes=(right - float(rng.uniform(4, 16)), right),
        apex=float(spine.centres[T1, 2] + 4.0),
        fat=float(rng.gamma(3.0, 5.0)),
        breasts=float(rng.uniform(0.6, 1.3)) if rng.random() < 0.48 else 0.0,
    )


def trunk(build: Chest, spine: Column) -> np.ndarray:
    """Return the outline of the body: chest and belly, shoulders, neck, breasts."""
    wide, deep = 142 * build.breadth + build.fat, 104 * build.depth + build.fat
    shoulder, low = build.apex - 95.0, -320.0
    throat = spine.centres[[T1, 1]] + [[0, 8, -70], [0, 8, 60]]
    parts = [
        cylinders([0, 0, 0.5 * (shoulder + low)], [wide, deep, 0.5 * (shoulder - low)], 0.0, role=OUTLINE),
        ellipsoids([0, 0, shoulder], [wide, deep, 150], 0.0, low=0.0, role=OUTLINE),
        ellipsoids([0, -12, build.apex - 46], [wide + 62, 62 + 0.5 * build.fat, 62], 0.0, role=OUTLINE),
        tubes(throat, 54 + 0.3 * build.fat, 0.0, role=OUTLINE),
    ]
    if build.breasts:
        size = np.array([58, 30, 62]) * build.breasts
        for side in (-1.0, 1.0):
            at = [side * 76, deep - 18, build.domes[1] + 24]
            parts.append(ellipsoids(at, size, 0.0, axes=tilted(side * 0.3, -0.35), role=OUTLINE))
    return np.concatenate(parts)


def lungs(build: Chest) -> np.ndarray:
    """Return the two cavities, left first: flat at the costophrenic angles, which the diaphragm rounds."""
    parts = []
    for side in (1.0, -1.0):
        centre, halves, frame = build.lung(side)
        cut = (build.floor - centre[2]) / halves[2]
        parts.append(ellipsoids(centre, halves, 0.0, axes=frame, low=cut, role=CAVITY))
    return np.concatenate(parts)


def diaphragm(build: Chest, raised: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """Return the domes under the lungs (left, right), lifted by ``raised`` mm."""
    parts = []
    low = build.floor - 8.0
    for side, lift in zip((1.0, -1.0), raised, strict=True):
        centre, halves, _ = build.lung(side)
        size = [halves[0] * 1.03, halves[1] * 1.03, build.dome(side) + lift - low]
        parts.append(ellipsoids([centre[0], -2, low], size, 1.0, role=SOLID))
    return np.concatenate(parts)


def stomach_bubble(rng: np.random.Generator, build: Chest) -> np.ndarray:
    """Return the air in the stomach's fundus, under the left dome."""
    size = rng.uniform(8, 24)
    at = [rng.uniform(40, 75), rng.uniform(-20, 20), build.domes[0] - 14 - 0.7 * size]
    return ellipsoids(at, [1.4 * size, 1.2 * size, 0.7 * size], -SOFT_TISSUE)


def mediastinum(rng: np.random.Generator, build: Chest, heart: float = 1.0, wide: float = 1.0) -> np.ndarray:
    """Return heart, great vessels and airway; ``heart`` scales the heart, ``wide`` the upper mediastinum."""
    apex = build.apex
    base = min(build.domes) - 4.0
    tall = 0.5 * (apex - base)
    size = heart * rng.normal(1.0, 0.065)
    knob = rng.uniform(13, 19)
    ventricles, atrium, pulmonary = np.array([[68, 52, 42], [34, 40, 44], [34, 34, 30]])
    slanted = tilted(-0.38, 0.0)
    carina = [3, -18, apex - 98]
    parts = [
        # A central column, and above it the vessels of the upper mediastinum.
        ellipsoids([0, -8, base + tall], [28 * (1 + 0.5 * (wide - 1)), 100, tall + 70], 1.0, role=SOLID),
        ellipsoids([0, 0, apex - 40], [32 * wide, 62, 52 + 20 * wide], 1.0, role=SOLID),
        ellipsoids([-26 * wide, 4, apex - 85], [14 * wide, 30, 52], 1.0, role=SOLID),
        # Heart: the ventricles, the right atrium at the right border, the pulmonary trunk above them.
        ellipsoids([20 + 28 * (size - 1), 20, base + 38], ventricles * size, 1.0, axes=slanted, role=SOLID),
        ellipsoids([-16, 8, base + 42], atrium * (0.5 + 0.5 * size), 1.0, role=SOLID),
        ellipsoids([18, -6, base + 82], pulmonary * (0.6 + 0.4 * size), 1.0, role=SOLID),
        # Aortic knob and descending aorta.
        ellipsoids([24 * wide, -18, apex - 80], [knob, 24, knob], 1.0, role=SOLID),
        tubes([[26, -34, apex - 80], [24, -48, apex - 140], [16, -50, base]], 13.0, 1.0, role=HAZE),
        # Trachea and main bronchi.
        tubes([[0, 0, apex + 60], [0, -8, apex - 20], carina], 8.0, -0.85 * SOFT_TISSUE),
        tubes([carina, [42, -22, apex - 125]], 6.0, -0.8 * SOFT_TISSUE),
        tubes([carina, [-34, -22, apex - 120]], 6.5, -0.8 * SOFT_TISSUE),
    ]
    return np.concatenate(parts)


def hilum(build: Chest, side: float) -> np.ndarray:
    """Return the place (3,) where vessels enter the lung on ``side``; the left one is higher."""
    return np.array([side * 36.0, -10.0, build.apex - 122.0 + (8.0 if side > 0 else 0.0)])


def vessels(rng: np.random.Generator, build: Chest, finest: float, congestion: float = 0.0) -> np.ndarray:
    """Return branching vessels of both lungs; ``congestion`` (0 to 1) swells them, most in upper zones."""
    parts = []
    trunks = 9
    for side in (1.0, -1.0):
        root = hilum(build, side)
        # Trunks fan out from the hilum; gravity sends more of them downwards.
        polar = np.linspace(-1.35, 1.25, trunks) + rng.normal(0, 0.12, trunks)
        length = rng.uniform(52, 80, trunks) * np.where(polar < -0.9, 0.85, 1.0)
        away = np.stack([side * np.cos(polar), rng.normal(0, 0.55, trunks), np.sin(polar)], axis=1)
        middle = root + away * (0.45 * length)[:, None] + rng.normal(0, 3, (trunks, 3))
        ends = root + away * length[:, None] + rng.normal(0, 5, (trunks, 3))
        swell = 1.0 + congestion * np.where(polar > 0, 0.9, 0.4)
        first = np.stack([np.broadcast_to(root, middle.shape), middle, ends], axis=1)
        parts.append(tubes(first, np.array([4.6, 3.2]) * swell[:, None], 1.0, finest=finest, role=HAZE))
        # Each trunk forks half-way and at its end.
        starts = np.repeat(np.concatenate([middle, ends]), 2, axis=0)
        onward = np.repeat(np.concatenate([away, away]), 2, axis=0) + rng.normal(0, 0.5, (4 * trunks, 3))
        tips = starts + onward * rng.uniform(24, 48, (4 * trunks, 1))
        twigs, radii = np.stack([starts, tips], axis=1), 1.8 * np.tile(np.repeat(swell, 2), 2)[:, None]
        parts.append(tubes(twigs, radii, 1.0, finest=finest, role=HAZE))
        size = np.array([12, 16, 22]) * (1 + 0.35 * congestion)
        parts.append(ellipsoids(root + [side * 4, 0, -6], size, 0.75, role=HAZE))
    return np.concatenate(parts)


def bowel_gas(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return bubbles of gas along the colon, which hide parts of a lumbar spine."""
    around = rng.uniform(0, 2 * np.pi, count)
    at = np.stack([95 * np.cos(around), rng.uniform(10, 70, count), -95 + 85 * np.sin(around)], axis=1)
    at += rng.normal(0, 16, (count, 3))
    halves = rng.uniform(6, 20, (count, 1)) * rng.uniform(0.7, 1.3, (count, 3))
    return ellipsoids(at, halves, -0.8 * SOFT_TISSUE, axes=tilted(*rng.normal(0, 0.6, (2, count))))


def head(rng: np.random.Generator, spine: Column) -> np.ndarray:
    """Return the outline of the head above a cervical spine, and the airway in front of it."""
    levels = spine.centres[[0, 2, 4, 6, T1]]
    airway = levels + np.array([[0, 26, 6], [0, 28, 0], [0, 32, 0], [0, 34, 0], [0, 26, -10]])
    return np.concatenate(
        [
            ellipsoids(levels[0] + [0, 28, 70], [78, 98, 82], 0.0, role=OUTLINE),
            tubes(airway, rng.uniform(6.5, 9.0), -0.9 * SOFT_TISSUE),
        ]
    )
