"""Natural pictures, in the layout of ImageNet: a folder of colour JPEGs per class.

The pictures follow the dead leaves model: opaque shapes that fall on each other. Their radii follow a 1/r^3
law, which gives the edges and the power spectrum of natural images. Each of the ten classes is a kind of
leaf: a shape with a texture. Most leaves of a picture, and all large ones, are of its class; the others have
a random shape and texture.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from moco_transfer.compiled import compiled
from moco_transfer.phantom.releases import in_order
from moco_transfer.seeds import stream

_ANGLES = 360
_TURN = np.arange(_ANGLES) * (2 * np.pi / _ANGLES)


def _polygon(corners: int) -> np.ndarray:
    sector = 2 * np.pi / corners
    return np.cos(sector / 2) / np.cos(_TURN % sector - sector / 2)


def _cross(width: float) -> np.ndarray:
    c, s = np.maximum(np.abs(np.cos(_TURN)), 1e-9), np.maximum(np.abs(np.sin(_TURN)), 1e-9)
    # Each arm reaches to its end or to its side, whichever is nearer.
    across, upright = np.minimum(1.0 / c, width / s), np.minimum(1.0 / s, width / c)
    return np.minimum(1.0, np.maximum(across, upright))


# Each shape: its radius in every direction, the radius of its hole, and the ratio of its axes.
_SHAPES = {
    "disc": (np.ones(_ANGLES), 0.0, 1.0),
    "square": (_polygon(4), 0.0, 1.0),
    "star": (0.42 + 0.58 * np.abs(np.cos(2.5 * _TURN)) ** 3, 0.0, 1.0),
    "ellipse": (np.ones(_ANGLES), 0.0, 0.42),
    "ring": (np.ones(_ANGLES), 0.55, 1.0),
    "triangle": (_polygon(3), 0.0, 1.0),
    "cross": (_cross(0.32), 0.0, 1.0),
    "flower": (0.72 + 0.28 * np.cos(6 * _TURN), 0.0, 1.0),
    "bar": (_polygon(4), 0.0, 0.25),
    "hexagon": (_polygon(6), 0.0, 1.0),
}
_OUTLINES, _HOLES, _FLATNESS = (np.array(values) for values in zip(*_SHAPES.values(), strict=True))
_TEXTURES = ["plain", "striped", "dotted", "checked", "banded"]
CLASSES = [f"{_TEXTURES[i % len(_TEXTURES)]}_{shape}" for i, shape in enumerate(_SHAPES)]
_LEAVES = 260


def write_natural_release(root: Path, *, images: int, size: int, seed: int, workers: int = 2) -> None:
    """Write ``images`` pictures under ``root``, dealt in turn to one folder per class.

    ``size`` is about the longer side in pixels. Equal arguments give equal bytes, whatever the number of
    ``workers`` (processes).
    """
    for name in CLASSES:
        (root / name).mkdir(parents=True, exist_ok=True)
    for _ in in_order(partial(_write_picture, root, seed, size), [(n,) for n in range(images)], workers):
        pass


def _write_picture(root: Path, seed: int, size: int, number: int) -> None:
    place, label = divmod(number, len(CLASSES))
    picture = Image.fromarray(draw_picture(seed, number, size))
    picture.save(root / CLASSES[label] / f"{place:05d}.jpg", quality=90)


def draw_picture(seed: int, number: int, size: int) -> np.ndarray:
    """Return picture ``number`` as uint8 (rows, columns, 3); the longer side is about ``size``."""
    rng = stream(seed, "phantom", "natural", number)
    rows = int(size * rng.uniform(0.9, 1.0))
    columns = int(rows * rng.uniform(0.65, 1.0))
    if rng.random() < 0.6:
        rows, columns = columns, rows
    # The inverse of the cumulative distribution of a density proportional to r^-3 between two radii.
    smallest, largest = 0.02 * size, 0.32 * size
    u = rng.random(_LEAVES)
    radius = (smallest**-2 - u * (smallest**-2 - largest**-2)) ** -0.5
    own = (rng.random(_LEAVES) < 0.65) | (radius > 0.16 * size)
    label = number % len(CLASSES)
    shape = np.where(own, label, rng.integers(len(_SHAPES), size=_LEAVES))
    texture = np.where(own, label % len(_TEXTURES), rng.integers(len(_TEXTURES), size=_LEAVES))
    x, y = rng.uniform(-0.1, 1.1, _LEAVES) * columns, rng.uniform(-0.1, 1.1, _LEAVES) * rows
    turn, pitch = rng.uniform(0, 2 * np.pi, _LEAVES), rng.uniform(2.5, 5.0, _LEAVES)
    shade = rng.uniform(-0.5, 0.5, _LEAVES)
    leaves = np.stack([x, y, radius, turn, pitch, shade], axis=1)
    # A scene has a few related colours. Each leaf takes a variation of one, and a second one for its texture.
    palette = 0.5 * rng.uniform(0.0, 1.0, (4, 3)) + 0.5 * rng.uniform(0.1, 0.9, (4, 1))
    colours = palette[rng.integers(4, size=(_LEAVES, 2))] + rng.normal(0, 0.08, (_LEAVES, 2, 3))
    image = np.tile(palette[0], (rows, columns, 1))
    _fall(image, leaves, shape, texture, np.clip(colours, 0, 1), _OUTLINES, _HOLES, _FLATNESS)
    light = 1.0 + rng.uniform(-0.35, 0.35) * np.linspace(-1, 1, columns)[None, :, None]
    light = light + rng.uniform(-0.35, 0.35) * np.linspace(-1, 1, rows)[:, None, None]
    image = image * light + rng.normal(0, 0.02, (rows, columns, 1))
    return (255.0 * np.clip(image, 0, 1) + 0.5).astype(np.uint8)


@compiled
def _fall(image, leaves, shapes, textures, colours, outlines, holes, flatness):
    """Paint the leaves on ``image``, the last one on top."""
    rows, columns, _ = image.shape
    for leaf in range(len(leaves)):
        x0, y0, radius, turn, pitch, shade = leaves[leaf]
        shape, texture = shapes[leaf], textures[leaf]
        cos, sin = np.cos(turn), np.sin(turn)
        for row in range(max(int(y0 - radius), 0), min(int(y0 + radius) + 2, rows)):
            for column in range(max(int(x0 - radius), 0), min(int(x0 + radius) + 2, columns)):
                dx, dy = (column - x0) / radius, (row - y0) / radius
                x, y = cos * dx + sin * dy, (cos * dy - sin * dx) / flatness[shape]
                distance = np.sqrt(x * x + y * y)
                if distance > 1.0:
                    continue
                angle = int(np.arctan2(y, x) * (0.5 * _ANGLES / np.pi)) % _ANGLES
                if distance > outlines[shape, angle] or distance < holes[shape]:
                    continue
                second = False
                if texture == 1:
                    second = int(np.floor(x * pitch)) % 2 == 0
                elif texture == 2:
                    u, v = (x * pitch) % 1.0 - 0.5, (y * pitch) % 1.0 - 0.5
                    second = u * u + v * v < 0.1
                elif texture == 3:
                    second = (int(np.floor(x * pitch)) + int(np.floor(y * pitch))) % 2 == 0
                elif texture == 4:
                    second = int(distance * pitch * 1.5) % 2 == 0
                light = 1.0 + shade * x * 0.6
                for channel in range(3):
                    image[row, column, channel] = colours[leaf, 1 if second else 0, channel] * light
