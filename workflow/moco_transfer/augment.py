"""Augmentation of batches of grey or colour images on the device.

A list of operations (``config.augmentation``) becomes views in three steps. First, parameters are drawn for
each image, in NumPy and from a named random stream. They therefore depend neither on the device nor on the
order of jobs, and several processes can draw them for a whole batch and apply them to their shares of it.
Then one bilinear warp applies all rotations, flips and crops, because resampling twice would blur the image.
Intensities and colours come last (``intensities``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from moco_transfer.config.augmentation import Operation
from moco_transfer.intensities import (
    Deviations,
    Factors,
    Greyed,
    blur,
    draw_deviations,
    draw_factors,
    draw_greyed,
    grayscale,
    jitter,
)

# Bounds of a resized crop's aspect ratio, and the number of attempts to draw one that fits into the image.
ASPECTS = (3 / 4, 4 / 3)
TRIES = 10
# How many images are warped at once on a processor: their sampling grids and pixels stay in its cache.
IN_CACHE = 4


class Rotation(NamedTuple):
    """Rotations about the centre. Here and below, each array has one entry per image."""

    degrees: np.ndarray  # counter-clockwise, as in torchvision's ``rotate``


class Flip(NamedTuple):
    """Flips from left to right."""

    mirrored: np.ndarray  # bool: which images are flipped


class Box(NamedTuple):
    """The part of each image that a crop keeps and resizes to the view, in pixels."""

    left: np.ndarray
    top: np.ndarray
    width: np.ndarray
    height: np.ndarray


Step = Rotation | Flip | Box
APPLY = {Factors: jitter, Greyed: grayscale, Deviations: blur}


@dataclass(frozen=True)
class View:
    """The parameters of one view of each image of a batch."""

    size: int
    steps: list[Step]
    intensities: list[Factors | Greyed | Deviations]

    def rows(self, rows: np.ndarray) -> View:
        """Return the parameters of the images ``rows`` (int [m]), in that order."""
        steps, intensities = (
            [type(each)(*(x[rows] if isinstance(x, np.ndarray) else x for x in each)) for each in drawn]
            for drawn in (self.steps, self.intensities)
        )
        return View(self.size, steps, intensities)

    def of(self, images: Tensor) -> Tensor:
        """Return the views, float32 [n, c, size, size], of ``images``; see ``augment``."""
        views = warp(images, self.size, self.steps)
        for each in self.intensities:
            views = APPLY[type(each)](views, each)
        return views


def augment(
    images: Tensor, operations: Sequence[Operation], size: int, random: np.random.Generator
) -> Tensor:
    """Return one augmented view of each image, as ``draw_view`` draws it.

    Parameters
    ----------
    images : uint8 or float [n, c, h, w], values from 0 to 255; c is 1 (grey) or 3 (red, green, blue); h and w are at
        least ``size``

    Returns
    -------
    float32 [n, c, size, size], values from 0 to 255
    """
    return draw_view(operations, images.shape, size, random).of(images)


def draw_view(
    operations: Sequence[Operation], shape: Sequence[int], size: int, random: np.random.Generator
) -> View:
    """Draw the parameters of one view of each image of a batch of this ``shape``, [n, c, h, w].

    ``operations`` are in the order that ``config.augmentation.operations_of`` checks: geometry first, with
    exactly one crop. ``size`` is the side of the views in pixels, at most h and w.
    """
    n, channels, height, width = shape
    steps: list[Step] = []
    # Geometry is drawn from the last step to the first, which is the order in which the warp uses it.
    for operation in reversed(operations):
        if operation.name == "rotate":
            steps.insert(0, Rotation(random.uniform(-operation.rotate, operation.rotate, n)))
        elif operation.name == "flip":
            steps.insert(0, Flip(random.random(n) < operation.flip))
        elif operation.name == "resized_crop":
            steps.insert(0, draw_resized_crop(operation.resized_crop, n, height, width, random))
        elif operation.name == "crop":
            side = np.full(n, float(size))
            if operation.crop == "random":
                left, top = random.integers(0, width - size + 1, n), random.integers(0, height - size + 1, n)
            else:
                left, top = np.full(n, (width - size) // 2), np.full(n, (height - size) // 2)
            steps.insert(0, Box(left, top, side, side))
    intensities: list[Factors | Greyed | Deviations] = []
    for operation in operations:
        if operation.name == "jitter":
            intensities.append(draw_factors(operation.jitter, n, channels, random))
        elif operation.name == "grayscale" and channels == 3:
            intensities.append(draw_greyed(operation.grayscale, n, random))
        elif operation.name == "blur":
            intensities.append(draw_deviations(operation.blur, n, size, random))
    return View(size, steps, intensities)


def draw_resized_crop(
    shares: Sequence[float], n: int, height: int, width: int, random: np.random.Generator
) -> Box:
    """Return boxes as torchvision's RandomResizedCrop draws them; ``shares`` of the area are its ``scale``.

    The aspect ratio is log-uniform from 3/4 to 4/3. If no attempt fits, the box is the whole image.
    """
    area = random.uniform(*shares, (n, TRIES)) * height * width
    ratio = np.exp(random.uniform(*map(math.log, ASPECTS), (n, TRIES)))
    box_width, box_height = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
    fits = (box_width <= width) & (box_height <= height) & (box_width > 0) & (box_height > 0)
    first, some, rows = fits.argmax(axis=1), fits.any(axis=1), np.arange(n)
    box_width = np.where(some, box_width[rows, first], width)
    box_height = np.where(some, box_height[rows, first], height)
    left = np.floor(random.random(n) * (width - box_width + 1))
    top = np.floor(random.random(n) * (height - box_height + 1))
    return Box(left, top, box_width, box_height)


def warp(images: Tensor, size: int, steps: Sequence[Step]) -> Tensor:
    """Apply all ``steps``, one of them a Box, in one bilinear sampling of ``images`` [n, c, h, w].

    A rotation before the box is about the centre of the image, a rotation after it about the centre of the
    view. Pixels outside the image are black. A rotation after a box shows what is around the box;
    torchvision's transforms, one after the other, would show black corners. A box that shrinks is sampled
    without a low-pass filter.

    Returns
    -------
    float32 [n, c, size, size]
    """
    n, channels, height, width = images.shape
    # grid_sample's coordinates run from -1 to 1 between the outer edges of the outermost pixels.
    halves = np.array([[width / 2], [height / 2]])
    places = torch.as_tensor(
        (_affine(n, height, width, size, steps) / halves).astype(np.float32), device=images.device
    ).view(n, 2, 3, 1, 1)
    centres = torch.arange(size, device=images.device, dtype=torch.float32) + (0.5 - size / 2)
    across, down = centres.view(1, 1, size), centres.view(1, size, 1)
    views = torch.empty(n, channels, size, size, device=images.device)
    chunk = IN_CACHE if images.device.type == "cpu" else n
    for start in range(0, n, chunk):
        some = slice(start, start + chunk)
        grid = torch.empty(len(views[some]), size, size, 2, device=images.device)
        for axis in range(2):
            by_x, by_y, constant = places[some, axis].unbind(1)
            torch.add(by_x * across + constant, by_y * down, out=grid[..., axis])
        views[some] = F.grid_sample(
            images[some].float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False
        )
    return views


def _affine(n: int, height: int, width: int, size: int, steps: Sequence[Step]) -> np.ndarray:
    """Return the affine maps from pixels of the views to pixels of the images, [n, 2, 3].

    Coordinates count from the centres of view and image, so that rotations and flips need no offset. The maps
    lead from the view back to the image, so the last step comes first.
    """
    place = np.tile(np.eye(3), (n, 1, 1))
    for step in reversed(steps):
        back = np.tile(np.eye(3), (n, 1, 1))
        if isinstance(step, Flip):
            back[:, 0, 0] = np.where(step.mirrored, -1, 1)
        elif isinstance(step, Rotation):
            cosine, sine = np.cos(np.radians(step.degrees)), np.sin(np.radians(step.degrees))
            back[:, 0, 0], back[:, 0, 1] = cosine, -sine
            back[:, 1, 0], back[:, 1, 1] = sine, cosine
        else:
            back[:, 0, 0], back[:, 0, 2] = step.width / size, step.left + step.width / 2 - width / 2
            back[:, 1, 1], back[:, 1, 2] = step.height / size, step.top + step.height / 2 - height / 2
        place = back @ place
    return place[:, :2]
