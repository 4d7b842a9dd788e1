"""Augmentation of batches of grey images on the device: one warp for all geometry, then the intensities.

Each image of a batch has parameters of its own. They are drawn in NumPy from a named stream, so that they depend on
neither the device nor the order of jobs, and apart from the images, so that several processes can draw them for a whole
batch and each apply them to its share. What is done is a preset or a list of operations of the configuration
(``config.augmentation``); ``geometry`` holds turns, flips and crops, ``intensity`` brightness, contrast and blur.


Turns, flips and crops of a batch, however many, as one bilinear warp.

Pixels are sampled once: a second resampling would blur what the first left sharp. So the steps are not taken on images
but on coordinates, from the view back to the image, last step first.


Brightness, contrast and blur of a batch, each image by parameters of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from moco_transfer.config.augmentation import GEOMETRY, Blur, Jitter, Operation, operations_of


@dataclass(frozen=True)
class Intensity:
    """A change of brightness, contrast or sharpness: ``change(views, *parameters, **shared)``, ``parameters`` being [n]."""

    change: Callable[..., Tensor]
    parameters: tuple[np.ndarray, ...]
    shared: dict[str, Any]


@dataclass(frozen=True)
class View:
    """The parameters of one view of each of n images."""

    size: int
    steps: list[Step]
    intensities: list[Intensity]

    def rows(self, rows: np.ndarray) -> View:
        """Return the parameters of the images ``rows`` (int [m]) of the n, in that order."""
        intensities = [
            Intensity(each.change, tuple(values[rows] for values in each.parameters), each.shared)
            for each in self.intensities
        ]
        return View(self.size, steps_of(self.steps, rows), intensities)

    def of(self, images: Tensor) -> Tensor:
        """Return the views, float32 [n, 1, size, size], of uint8 or float ``images``, [n, 1, h, w] from 0 to 255."""
        views = warp(images, self.size, self.steps)
        for each in self.intensities:
            views = each.change(views, *each.parameters, **each.shared)
        return views


def draw_view(
    augmentation: str | Sequence[Operation],
    n: int,
    height: int,
    width: int,
    size: int,
    random: np.random.Generator,
) -> View:
    """Draw the parameters of one view of each of ``n`` images of ``height`` x ``width`` pixels.

    Parameters
    ----------
    augmentation : the name of a preset, or a list of operations
    size : side of the views, in pixels; at most ``height`` and ``width``
    random : where the parameters are drawn from

    Raises UserError where ``augmentation`` is neither a preset nor a list that holds one crop and its geometry first.
    """
    operations = operations_of(augmentation)
    geometry = [operation for operation in operations if operation.name in GEOMETRY]
    steps = draw_geometry(geometry, n, height, width, size, random)
    intensities = []
    for operation in operations:
        if operation.jitter:
            intensities.append(Intensity(jitter, draw_factors(operation.jitter, n, random), {}))
        elif operation.blur:
            deviations, largest = draw_deviations(operation.blur, n, size, random)
            intensities.append(Intensity(blur, (deviations,), {"largest": largest}))
    return View(size, steps, intensities)


def augment(
    images: Tensor, augmentation: str | Sequence[Operation], size: int, random: np.random.Generator
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
    return draw_view(augmentation, n, height, width, size, random).of(images)


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


REFERENCE_SIDE = 224
"""Side in pixels of the views that deviations of a blur are given for: MoCo v2's."""
UNBLURRED = 1e-3
"""The deviation in pixels of an image that stays as it is."""
NOTHING = 1e-20
"""Weights of a kernel below this are 0: no pixel of 255 feels them in float32."""


def draw_factors(
    settings: Jitter, n: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return factors of brightness and of contrast, float32 [n], 1 where an image stays, and which comes first.

    ``brightness_first`` is bool [n].
    """
    changed = random.random(n) < settings.p
    spread = np.array([settings.brightness, settings.contrast])
    factors = np.where(changed[:, None], random.uniform(1 - spread, 1 + spread, (n, 2)), 1.0)
    brightness, contrast = factors.astype(np.float32).T
    return brightness, contrast, random.random(n) < 0.5


def jitter(
    views: Tensor, brightness: np.ndarray, contrast: np.ndarray, brightness_first: np.ndarray
) -> Tensor:
    """Multiply ``views``, [n, 1, h, w], by ``brightness``, and their distance from their mean by ``contrast``.

    The parameters are [n]; values are cut off at 0 and 255 after each of the two, as torchvision's ColorJitter does.
    """

    changed = torch.empty_like(views)
    for order in (True, False):
        rows = np.flatnonzero(brightness_first == order)
        bright, strong = (
            torch.as_tensor(factor[rows], device=views.device).view(-1, 1, 1, 1)
            for factor in (brightness, contrast)
        )
        some = views[rows]
        if order:
            _stretch(_brighten(some, bright), strong)
        else:
            _brighten(_stretch(some, strong), bright)
        changed[rows] = some
    return changed


def _brighten(views: Tensor, factors: Tensor) -> Tensor:
    return views.mul_(factors).clamp_(0, 255)


def _stretch(views: Tensor, factors: Tensor) -> Tensor:
    means = views.mean(dim=(1, 2, 3), keepdim=True)
    return views.sub_(means).mul_(factors).add_(means).clamp_(0, 255)


def draw_deviations(
    settings: Blur, n: int, size: int, random: np.random.Generator
) -> tuple[np.ndarray, float]:
    """Return each image's deviation in pixels of a view of side ``size``, [n], and the largest that can be drawn."""
    blurred = random.random(n) < settings.p
    scale = size / REFERENCE_SIDE
    deviations = np.where(blurred, random.uniform(*settings.sigma, n), 0) * scale
    return np.maximum(deviations, UNBLURRED), settings.sigma[1] * scale


def blur(views: Tensor, deviations: np.ndarray, largest: float) -> Tensor:
    """Convolve ``views``, [n, 1, h, w], with Gaussians of ``deviations``, [n] in pixels, reflecting at the edges.

    All kernels reach three times ``largest``, so that one convolution serves the batch.
    """
    rows = np.flatnonzero(deviations > UNBLURRED)
    n, radius = len(rows), max(1, math.ceil(3 * largest))
    if n == 0:
        return views
    offsets = np.arange(-radius, radius + 1)
    kernels = np.exp(-0.5 * (offsets / deviations[rows, None]) ** 2)
    kernels /= kernels.sum(1, keepdims=True)
    # The far ends of a narrow kernel change no pixel, and processors take several times as long over denormal numbers.
    kernels[kernels < NOTHING] = 0
    kernels = torch.as_tensor(kernels.astype(np.float32), device=views.device)
    # Images as channels: each has its kernel.
    padded = F.pad(views[rows].transpose(0, 1), (radius,) * 4, mode="reflect")
    across = F.conv2d(padded, kernels.view(n, 1, 1, -1), groups=n)
    blurred = views.clone()
    blurred[rows] = F.conv2d(across, kernels.view(n, 1, -1, 1), groups=n).transpose(0, 1)
    return blurred
