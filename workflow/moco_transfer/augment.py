"""Augmentation of batches of grey images on the device.

A list of operations (``config.augmentation``) becomes views in three steps. First, parameters are drawn for
each image, in NumPy and from a named random stream. They therefore depend neither on the device nor on the
order of jobs, and several processes can draw them for a whole batch and apply them to their shares of it.
Then one bilinear warp applies all rotations, flips and crops, because resampling twice would blur the image.
The intensities come last: brightness, contrast, blur.
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

from moco_transfer.config.augmentation import Blur, Jitter, Operation

# Bounds of a resized crop's aspect ratio, and the number of attempts to draw one that fits into the image.
ASPECTS = (3 / 4, 4 / 3)
TRIES = 10
# How many images are warped at once on a processor: their sampling grids and pixels stay in its cache.
IN_CACHE = 4
# The side in pixels of MoCo v2's views, for which the deviations of a blur are given.
REFERENCE_SIDE = 224
# The deviation in pixels that stands for no blur.
UNBLURRED = 1e-3
# Smaller weights of a kernel are set to 0: in float32 they change no pixel.
NEGLIGIBLE = 1e-20


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


class Factors(NamedTuple):
    """Changes of brightness and contrast, float32; 1 leaves an image as it is."""

    brightness: np.ndarray
    contrast: np.ndarray
    brightness_first: np.ndarray  # bool


class Deviations(NamedTuple):
    """The standard deviations of Gaussian blurs, in pixels of the view."""

    deviations: np.ndarray
    largest: float  # the largest deviation that can be drawn


Step = Rotation | Flip | Box


@dataclass(frozen=True)
class View:
    """The parameters of one view of each image of a batch."""

    size: int
    steps: list[Step]
    intensities: list[Factors | Deviations]

    def rows(self, rows: np.ndarray) -> View:
        """Return the parameters of the images ``rows`` (int [m]), in that order."""
        steps, intensities = (
            [type(each)(*(x[rows] if isinstance(x, np.ndarray) else x for x in each)) for each in drawn]
            for drawn in (self.steps, self.intensities)
        )
        return View(self.size, steps, intensities)

    def of(self, images: Tensor) -> Tensor:
        """Return the views, float32 [n, 1, size, size], of ``images``; see ``augment``."""
        views = warp(images, self.size, self.steps)
        for each in self.intensities:
            views = jitter(views, each) if isinstance(each, Factors) else blur(views, each)
        return views


def augment(
    images: Tensor, operations: Sequence[Operation], size: int, random: np.random.Generator
) -> Tensor:
    """Return one augmented view of each image, as ``draw_view`` draws it.

    Parameters
    ----------
    images : uint8 or float [n, 1, h, w], values from 0 to 255; h and w at least ``size``

    Returns
    -------
    float32 [n, 1, size, size], values from 0 to 255
    """
    n, _, height, width = images.shape
    return draw_view(operations, n, height, width, size, random).of(images)


def draw_view(
    operations: Sequence[Operation], n: int, height: int, width: int, size: int, random: np.random.Generator
) -> View:
    """Draw the parameters of one view of each of ``n`` images of ``height`` x ``width`` pixels.

    ``operations`` are in the order that ``config.augmentation.operations_of`` checks: geometry first, with
    exactly one crop. ``size`` is the side of the views in pixels, at most ``height`` and ``width``.
    """
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
    intensities = []
    for operation in operations:
        if operation.name == "jitter":
            intensities.append(draw_factors(operation.jitter, n, random))
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


def draw_factors(settings: Jitter, n: int, random: np.random.Generator) -> Factors:
    """Return factors of brightness and contrast for ``n`` images, and which of the two comes first."""
    changed = random.random(n) < settings.p
    spread = np.array([settings.brightness, settings.contrast])
    factors = np.where(changed[:, None], random.uniform(1 - spread, 1 + spread, (n, 2)), 1.0)
    brightness, contrast = factors.astype(np.float32).T
    return Factors(brightness, contrast, random.random(n) < 0.5)


def draw_deviations(settings: Blur, n: int, size: int, random: np.random.Generator) -> Deviations:
    """Return the deviations of blurs for ``n`` views of side ``size``."""
    blurred = random.random(n) < settings.p
    scale = size / REFERENCE_SIDE
    deviations = np.where(blurred, random.uniform(*settings.sigma, n), 0) * scale
    return Deviations(np.maximum(deviations, UNBLURRED), settings.sigma[1] * scale)


def warp(images: Tensor, size: int, steps: Sequence[Step]) -> Tensor:
    """Apply all ``steps``, one of them a Box, in one bilinear sampling of ``images`` [n, 1, h, w].

    A rotation before the box is about the centre of the image, a rotation after it about the centre of the
    view. Pixels outside the image are black. A rotation after a box shows what is around the box;
    torchvision's transforms, one after the other, would show black corners. A box that shrinks is sampled
    without a low-pass filter.

    Returns
    -------
    float32 [n, 1, size, size]
    """
    n, _, height, width = images.shape
    # grid_sample's coordinates run from -1 to 1 between the outer edges of the outermost pixels.
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


def jitter(views: Tensor, factors: Factors) -> Tensor:
    """Multiply ``views`` [n, 1, h, w] by their brightness, and their deviation from the mean by their
    contrast.

    As in torchvision's ColorJitter, values are clamped to 0 and 255 after each of the two.
    """
    changed = torch.empty_like(views)
    for brightness_first in (True, False):
        rows = np.flatnonzero(factors.brightness_first == brightness_first)
        brightness, contrast = (
            torch.as_tensor(factor[rows], device=views.device).view(-1, 1, 1, 1)
            for factor in (factors.brightness, factors.contrast)
        )
        some = views[rows]
        if brightness_first:
            _stretch(_brighten(some, brightness), contrast)
        else:
            _brighten(_stretch(some, contrast), brightness)
        changed[rows] = some
    return changed


def _brighten(views: Tensor, factors: Tensor) -> Tensor:
    return views.mul_(factors).clamp_(0, 255)


def _stretch(views: Tensor, factors: Tensor) -> Tensor:
    means = views.mean(dim=(1, 2, 3), keepdim=True)
    return views.sub_(means).mul_(factors).add_(means).clamp_(0, 255)


def blur(views: Tensor, blurs: Deviations) -> Tensor:
    """Convolve ``views`` [n, 1, h, w] with Gaussians; edges are reflected.

    All kernels reach to three times the largest deviation, so that one convolution serves the batch.
    """
    rows = np.flatnonzero(blurs.deviations > UNBLURRED)
    n, radius = len(rows), max(1, math.ceil(3 * blurs.largest))
    if n == 0:
        return views
    offsets = np.arange(-radius, radius + 1)
    kernels = np.exp(-0.5 * (offsets / blurs.deviations[rows, None]) ** 2)
    kernels /= kernels.sum(1, keepdims=True)
    # Otherwise the far ends of narrow kernels are denormal numbers, which make processors several times
    # slower.
    kernels[kernels < NEGLIGIBLE] = 0
    kernels = torch.as_tensor(kernels.astype(np.float32), device=views.device)
    # The images become channels, because each has its own kernel.
    padded = F.pad(views[rows].transpose(0, 1), (radius,) * 4, mode="reflect")
    across = F.conv2d(padded, kernels.view(n, 1, 1, -1), groups=n)
    blurred = views.clone()
    blurred[rows] = F.conv2d(across, kernels.view(n, 1, -1, 1), groups=n).transpose(0, 1)
    return blurred
