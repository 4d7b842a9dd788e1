"""What diseases and devices look like in a chest: solids, graded by a severity from 0 (subtle) to 1.

Every function takes the finding's own random stream, the patient's build, the side (+1 left, -1 right) and
the severity, and returns solids in patient axes. Findings that change the size of an organ (a large heart, a
wide mediastinum, swollen vessels, a raised diaphragm) are not here: `chest` passes them to the organs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from moco_transfer.phantom.bodies import HAZE, ellipsoids, tilted, tubes
from moco_transfer.phantom.organs import Chest, hilum
from moco_transfer.phantom.projection import METAL


def effusion(rng: np.random.Generator, build: Chest, side: float, severity: float) -> np.ndarray:
    """Fluid in the pleural space, with a meniscus higher at the wall, that blunts the costophrenic angle."""
    centre, halves, _ = build.lung(side)
    floor, level = build.floor - 5.0, build.dome(side) - 22.0 + 90.0 * severity**1.3
    # A slab of fluid fills the lower lung. The air above bulges down into it: the lower half of an ellipsoid.
    size, high = [1.15 * halves[0], 500, 500], (level - floor) / 500.0
    slab = ellipsoids([centre[0], centre[1], floor], size, 1.0, low=0.0, high=high, role=HAZE)
    at = [centre[0] - 0.12 * side * halves[0], centre[1] + 4, level]
    size = [0.92 * halves[0], 0.95 * halves[1], min(26.0 + 34.0 * severity, level - floor)]
    return np.concatenate([slab, ellipsoids(at, size, -1.0, high=0.0, role=HAZE)])


def pneumothorax(rng: np.random.Generator, build: Chest, side: float, severity: float) -> np.ndarray:
    """Free air around a partly collapsed lung: no lung markings outside a thin pleural line."""
    centre, halves, frame = build.lung(side)
    shrink = 1.0 - 0.07 - 0.22 * severity
    inner = centre + [-side * 0.9 * halves[0] * (1 - shrink), 0, -0.55 * halves[2] * (1 - shrink)]
    lung = halves * [shrink, 1.0, shrink]
    line = 1.0 + 1.4 / lung.mean()
    return np.concatenate(
        [
            ellipsoids(centre, halves, -0.30, axes=frame, role=HAZE),
            ellipsoids(inner, lung, 0.30, axes=frame, role=HAZE),
            ellipsoids(inner, lung * line, 1.0, axes=frame, role=HAZE),
            ellipsoids(inner, lung, -1.0, axes=frame, role=HAZE),
        ]
    )


def opacity(rng: np.random.Generator, build: Chest, side: float, severity: float) -> np.ndarray:
    """An ill-defined patch: a cluster of faint, overlapping clouds."""
    at = _inside(rng, build, side, -0.35, 0.6)
    return _cloud(rng, at, 10, 20.0 + 14 * severity, 0.16 + 0.30 * severity)


def consolidation(rng: np.random.Generator, build: Chest, side: float, severity: float) -> np.ndarray:
    """A dense, airless region with an air bronchogram."""
    at = _inside(rng, build, side, -0.45, 0.3)
    middle, end = at + rng.normal(0, 4, 3), at + rng.normal(0, 10, 3) + [side * 12, 0, -10]
    bronchus = tubes([hilum(build, side), middle, end], 2.2, -0.8, finest=1.5, role=HAZE)
    return np.concatenate([_cloud(rng, at, 9, 17.0 + 18.0 * severity, 0.5 + 0.4 * severity), bronchus])


def pneumonia(rng: np.random.Generator, build: Chest, side: float, severity: float) -> np.ndarray:
    """Patches that fill a segment or lobe, most often low in the lung."""
    at = _inside(rng, build, side, -0.45, 0.1)
    patches = _cloud(rng, at, 14, 13.0 + 9 * severity, 0.22 + 0.38 * severity, spread=1.5)
    centre = _cloud(rng, at + [0, 0, 6], 5, 20.0 + 10 * severity, 0.15 + 0.2 * severity)
    return np.concatenate([patches, centre])


def oedema(rng: np.random.Generator, build: Chest, side: float, severity: float) -> np.ndarray:
    """Fluid in both lungs: bat-wing haze around the hila, and Kerley lines at the bases."""
    parts = []
    for wing in (-1.0, 1.0):
        root = hilum(build, wing) + [wing * 24, 0, -22]
        parts.append(_cloud(rng, root, 16, 24.0, 0.08 + 0.16 * severity, spread=1.5))
        centre, halves, _ = build.lung(wing)
        height = build.floor + rng.uniform(40, 110, 8)
        wall = np.full(8, centre[0] + wing * 0.92 * halves[0])
        outer = np.stack([wall, centre[1] + rng.uniform(-40, 40, 8), height], axis=1)
        lines = np.stack([outer, outer - [wing * 22, 0, 2]], axis=1)
        parts.append(tubes(lines, 1.4, 0.3 + 0.7 * severity, finest=1.4, role=HAZE))
    return np.concatenate(parts)


def atelectasis(rng: np.random.Generator, build: Chest, side: float, severity: float) -> np.ndarray:
    """Collapsed plates of lung above the diaphragm: nearly horizontal bands, a few millimetres thick."""
    count = 1 + int(severity > 0.35) + int(severity > 0.7)
    x, y = side * rng.uniform(48, 88, count), rng.uniform(-40, 20, count)
    z = build.dome(side) + 12 + 17.0 * np.arange(count) + rng.uniform(0, 12, count)
    at = np.stack([x, y, z], axis=1)
    width, depth = rng.uniform(22, 34, count), rng.uniform(30, 50, count)
    halves = np.stack([width, depth, np.full(count, 2.2 + 3.2 * severity)], axis=1)
    axes = tilted(rng.normal(0, 0.25, count), rng.normal(0, 0.12, count))
    return ellipsoids(at, halves, 0.75, axes=axes, role=HAZE)


def lesion(rng: np.random.Generator, build: Chest, side: float, severity: float) -> np.ndarray:
    """One nodule or mass, or a few."""
    count = 1 if rng.random() < 0.7 else int(rng.integers(2, 5))
    at = [_inside(rng, build, side * rng.choice([1.0, 1.0, -1.0]), -0.25, 0.7) for _ in range(count)]
    radius = (5.5 + 17.0 * severity**1.5) * rng.uniform(0.7, 1.1, (count, 1))
    return ellipsoids(at, radius * rng.uniform(0.85, 1.15, (count, 3)), 1.25, role=HAZE)


def pleural_thickening(rng: np.random.Generator, build: Chest, side: float, severity: float) -> np.ndarray:
    """Plaques along the chest wall and a cap over the apex, some of them calcified."""
    centre, halves, _ = build.lung(side)
    polar = rng.uniform(-0.1, 1.0, 4)
    x, y = centre[0] + side * 0.97 * halves[0] * np.cos(polar), centre[1] + rng.uniform(-25, 25, 4)
    at = np.stack([x, y, centre[2] + 0.95 * halves[2] * np.sin(polar)], axis=1)
    size, axes = np.array([5.0, 34.0, 26.0]) * [0.7 + 1.1 * severity, 1, 1], tilted(-side * polar, 0.0)
    plaques = ellipsoids(at, size, 1.0, axes=axes, role=HAZE)
    calcified = ellipsoids(at, size * [0.5, 0.8, 0.8], 0.012 * severity, axes=axes)
    return np.concatenate([plaques, calcified])


def support_devices(
    rng: np.random.Generator, build: Chest, side: float, severity: float, finest: float
) -> np.ndarray:
    """One to four of: tubes, lines, a pacemaker, sternal wires, electrodes; more if severity is higher.

    ``finest`` is the thinnest tube in mm.
    """
    apex, stomach = build.apex, build.dome(1)
    carina = np.array([3.0, -18.0, apex - 98.0])
    atrium = np.array([-24.0, 2.0, build.dome(-1) + 55.0])
    kinds = rng.permutation(6)[: 1 + int(rng.random() < 0.5) + int(severity * 2.2)]
    parts = []

    def wire(path: ArrayLike, radius: float, density: float = METAL) -> None:
        parts.append(tubes(path, radius, density, finest=finest))

    for kind in kinds:
        if kind == 0:  # endotracheal tube
            path = [[0, 0, apex + 80], [0, -6, apex - 10], carina + [0, 2, rng.uniform(15, 45)]]
            parts.append(tubes(path, 4.5, 0.05, finest=finest, core=0.7, hollow=0.04))
        elif kind == 1:  # feeding tube, down to the stomach
            throat = [[4, -10, apex + 80], [6, -24, apex - 60], [10, -30, apex - 170]]
            wire([*throat, [50, 10, stomach - 40]], 2.2, 0.09)
        elif kind == 2:  # central line, from the neck or from the arm
            neck, arm = [[-50, 20, apex + 70], [-28, 25, apex]], [[-160, 0, apex - 60], [-70, 35, apex - 4]]
            start = neck if rng.random() < 0.5 else arm
            wire([*start, [-22, 12, apex - 50], atrium + [0, 0, rng.uniform(10, 60)]], 1.4, 0.16)
        elif kind == 3:  # pacemaker with two leads
            box = np.array([side * rng.uniform(85, 105), 78.0 * build.depth, apex - rng.uniform(40, 60)])
            parts.append(ellipsoids(box, [22, 4.5, 19], METAL, axes=tilted(0.0, 0.0, -side * 0.4)))
            vein = [box, [side * 60, 40, apex - 4], [-20, 14, apex - 40]]
            wire([*vein, atrium], 1.1)
            wire([*vein, atrium + [4, 8, -14], [38, 34, stomach + 12]], 1.1)
        elif kind == 4:  # sternal wires, which look like loops from the front
            turn = np.linspace(0, 2 * np.pi, 9)
            x, y = 8 * np.cos(turn), np.full(9, 95.0 * build.depth)
            for height in apex - 50 - 26.0 * np.arange(5):
                wire(np.stack([x, y, height + 6 * np.sin(turn)], axis=1), 0.7)
        else:  # electrodes on the skin, with their leads
            front = 112.0 * build.depth + build.fat
            for at in ([-90, front, apex - 40], [95, front, apex - 40], [100, front, stomach + 10]):
                parts.append(ellipsoids(at, [7, 2, 7], 0.15))
                wire([at, [0.5 * at[0], front, at[2] - 70], [20, front, -60]], 1.0)
    return np.concatenate(parts)


def broken_ribs(
    rng: np.random.Generator, paths: np.ndarray, side: float, severity: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return (paths of the ribs, callus): one to four neighbouring ribs on ``side`` are displaced and healed.

    ``paths`` are those of `skeleton.rib_paths`.
    """
    paths = paths.copy()
    count = 1 + int(rng.integers(0, 2)) + int(2 * severity)
    first = int(rng.integers(3, 10 - count)) + (0 if side > 0 else 12)
    where = int(rng.integers(4, 8))
    for rib in range(first, first + count):
        paths[rib, where:, 2] -= 3.0 + 7.0 * severity
        paths[rib, where:, 0] -= side * (1.0 + 5.0 * severity)
    broken = paths[first : first + count, where]
    return paths, ellipsoids(broken, [7, 8, 6 + 4 * severity], 0.012 + 0.014 * severity)


def _inside(rng: np.random.Generator, build: Chest, side: float, low: float, high: float) -> np.ndarray:
    """Return a point (3,) in the lung on ``side``, ``low`` to ``high`` half-lengths above its middle."""
    centre, halves, _ = build.lung(side)
    height = rng.uniform(low, high)
    width = np.sqrt(max(1.0 - height * height, 0.2))
    x = centre[0] + side * (rng.uniform(-0.15, 0.7) * width) * halves[0]
    y = centre[1] + rng.uniform(-0.5, 0.5) * width * halves[1]
    return np.array([x, y, centre[2] + 0.25 * halves[2] + 0.7 * height * halves[2]])


def _cloud(
    rng: np.random.Generator, at: np.ndarray, count: int, size: float, density: float, spread: float = 0.75
) -> np.ndarray:
    """Return ``count`` ellipsoids of about ``size`` mm, scattered around ``at`` by ``spread`` sizes."""
    centres = at + rng.normal(0, 1, (count, 3)) * size * spread * np.array([1.0, 0.8, 0.9])
    halves = size * rng.uniform(0.4, 1.1, (count, 1)) * rng.uniform(0.8, 1.25, (count, 3))
    share = density * rng.uniform(0.25, 0.6, count)
    return ellipsoids(centres, halves, share, axes=tilted(*rng.normal(0, 0.5, (2, count))), role=HAZE)
