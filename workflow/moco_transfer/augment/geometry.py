"""Turns, flips and crops of a batch, however many, as one bilinear warp.

Pixels are sampled once: a second resampling would blur what the first left sharp. So the steps are not taken on images
but on coordinates, from the view back to the image, last step first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from moco_transfer.config.augmentation import Operation

ASPECTS = (3 / 4, 4 / 3)
TRIES = 10
# Images warped at once on a processor: their sampling grids and pixels stay in its cache.
IN_CACHE = 4


@dataclass(frozen=True)
class Turn:
    """A turn about the centre: degrees counter-clockwise, as torchvision's ``rotate`` has it, [n]."""

    degrees: np.ndarray


@dataclass(frozen=True)
class Flip:
    """Left to right: which images are mirrored, bool [n]."""

    mirrored: np.ndarray


@dataclass(frozen=True)
class Box:
    """What a crop keeps, to be resized to the view: pixels from the left and top edge, and sides, each [n]."""

    left: np.ndarray
    top: np.ndarray
    width: np.ndarray
    height: np.ndarray


Step = Turn | Flip | Box


def draw_geometry(
    operations: Sequence[Operation],
    n: int,
    height: int,
    width: int,
    size: int,
    random: np.random.Generator,
) -> list[Step]:
    """Return the steps of ``n`` images of ``height`` x ``width``, in the order of ``operations``.

    They are drawn as the warp goes through them, from the last to the first.
    """
    steps: list[Step] = []
    for operation in reversed(operations):
        if operation.name == "rotate":
            steps.append(Turn(random.uniform(-operation.rotate, operation.rotate, n)))
        elif operation.name == "flip":
            steps.append(Flip(random.random(n) < operation.flip))
        elif operation.name == "resized_crop":
            steps.append(draw_resized_crop(operation.resized_crop, n, height, width, random))
        else:
            side = np.full(n, float(size))
            if operation.crop == "random":
                left, top = random.integers(0, width - size + 1, n), random.integers(0, height - size + 1, n)
            else:
                left, top = np.full(n, (width - size) // 2), np.full(n, (height - size) // 2)
            steps.append(Box(left, top, side, side))
    return steps[::-1]


def steps_of(steps: Sequence[Step], rows: np.ndarray) -> list[Step]:
    """Return ``steps`` for the images ``rows`` (int [m]) alone, in that order."""
    return [type(step)(*(values[rows] for values in vars(step).values())) for step in steps]


def draw_resized_crop(
    shares: Sequence[float], n: int, height: int, width: int, random: np.random.Generator
) -> Box:
    """Return boxes as torchvision's RandomResizedCrop draws them, ``shares`` of the area being its ``scale``.

    The aspect ratio is log-uniform from 3/4 to 4/3; ten tries an image, and the whole image where all of them fail.
    """
    area = random.uniform(*shares, (n, TRIES)) * height * width
    ratio = np.exp(random.uniform(*map(math.log, ASPECTS), (n, TRIES)))
    box_width, box_height = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
    fits = (box_width <= width) & (box_height <= height) & (box_width > 0) & (box_height > 0)
    first = fits.argmax(axis=1)
    rows = np.arange(n)
    some = fits.any(axis=1)
    box_width = np.where(some, box_width[rows, first], width)
    box_height = np.where(some, box_height[rows, first], height)
    left = np.floor(random.random(n) * (width - box_width + 1))
    top = np.floor(random.random(n) * (height - box_height + 1))
    return Box(left, top, box_width, box_height)


def warp(images: Tensor, size: int, steps: Sequence[Step]) -> Tensor:
    """Take all ``steps``, one of them a Box, in one bilinear sampling of ``images``, [n, 1, h, w].

    A turn before the box is about the image's centre, one after it about the view's. What falls outside the image is
    black; after a box, a turn shows what lies around the box where single transforms would show black corners. A
    shrinking box is sampled without a low-pass filter before it.

    Returns
    -------
    float32 [n, 1, size, size]
    """
    n, _, height, width = images.shape
    # grid_sample's coordinates run from -1 to 1 between the outer edges of the outer pixels.
    halves = np.array([[width / 2], [height / 2]])
    places = torch.as_tensor(
        (_affine(n, height, width, size, steps) / halves).astype(np.float32), device=images.device
    ).view(n, 2, 3, 1, 1)
    centres = torch.arange(size, device=images.device, dtype=torch.float32) + (0.5 - size / 2)
    across, down = centres.view(1, 1, size), centres.view(1, size, 1)
    views = torch.empty(n, 1, size, size, device=images.device)
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
    """Return where each view's pixels lie in its image, [n, 2, 3]: x and y as sums of x, y and 1 times the entries.

    Both sides count pixels from the centre, of the view and of the image, so that turns and flips are about it.
    """
    place = np.tile(np.eye(3), (n, 1, 1))
    for step in reversed(steps):
        back = np.tile(np.eye(3), (n, 1, 1))
        if isinstance(step, Flip):
            back[:, 0, 0] = np.where(step.mirrored, -1, 1)
        elif isinstance(step, Turn):
            cosine, sine = np.cos(np.radians(step.degrees)), np.sin(np.radians(step.degrees))
            back[:, 0, 0], back[:, 0, 1] = cosine, -sine
            back[:, 1, 0], back[:, 1, 1] = sine, cosine
        else:
            back[:, 0, 0], back[:, 0, 2] = step.width / size, step.left + step.width / 2 - width / 2
            back[:, 1, 1], back[:, 1, 2] = step.height / size, step.top + step.height / 2 - height / 2
        place = back @ place
    return place[:, :2]
