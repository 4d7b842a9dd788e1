"""What augmentations do to intensities and colours: jitter, grayscale and blur of batches of views.

For each of them, one function draws parameters for every image, in NumPy, and another applies them to views with values
from 0 to 255, in one channel (grey) or three (red, green, blue). Grey images draw nothing that only colours would show.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from moco_transfer.config.augmentation import Blur, Jitter

# The weights with which red, green and blue become grey (ITU-R BT.601), as in Pillow.
LUMINANCE = (0.299, 0.587, 0.114)
# The side in pixels of MoCo v2's views, for which the deviations of a blur are given.
REFERENCE_SIDE = 224
# The deviation in pixels that stands for no blur.
UNBLURRED = 1e-3
# Smaller weights of a kernel are set to 0: in float32 they change no pixel.
NEGLIGIBLE = 1e-20


class Factors(NamedTuple):
    """What a jitter changes and by how much. Here and below, each array has one entry or row per image."""

    values: np.ndarray  # float32 [n, 4]: factors of brightness, contrast, saturation; the turn of the hue
    order: np.ndarray  # int [n, changes]: columns of ``values``, in the order in which they are applied


class Greyed(NamedTuple):
    """Which images lose their colours, bool."""

    greyed: np.ndarray


class Deviations(NamedTuple):
    """The standard deviations of Gaussian blurs, in pixels of the view."""

    deviations: np.ndarray
    largest: float  # the largest deviation that can be drawn


def draw_factors(settings: Jitter, n: int, channels: int, random: np.random.Generator) -> Factors:
    """Return what changes ``n`` images of 1 or 3 ``channels``.

    Brightness and contrast are always drawn; saturation and hue only for colour images, and if ``settings`` name them.
    """
    changed = random.random(n) < settings.p
    spread = np.array([settings.brightness, settings.contrast, settings.saturation, settings.hue])
    drawn = [0, 1] + [change for change in (2, 3) if channels == 3 and spread[change] > 0]
    values = np.tile([1.0, 1.0, 1.0, 0.0], (n, 1))
    middle, spread = values[0, drawn], spread[drawn]
    values[:, drawn] = np.where(
        changed[:, None], random.uniform(middle - spread, middle + spread, (n, len(drawn))), middle
    )
    if len(drawn) == 2:  # one bit is enough
        order = np.where(random.random((n, 1)) < 0.5, [0, 1], [1, 0])
    else:
        order = random.permuted(np.tile(drawn, (n, 1)), axis=1)
    return Factors(values.astype(np.float32), order)


def draw_greyed(share: float, n: int, random: np.random.Generator) -> Greyed:
    """Return which of ``n`` colour images become grey, each with probability ``share``."""
    return Greyed(random.random(n) < share)


def draw_deviations(settings: Blur, n: int, size: int, random: np.random.Generator) -> Deviations:
    """Return the deviations of blurs for ``n`` views of side ``size``."""
    blurred = random.random(n) < settings.p
    scale = size / REFERENCE_SIDE
    deviations = np.where(blurred, random.uniform(*settings.sigma, n), 0) * scale
    return Deviations(np.maximum(deviations, UNBLURRED), settings.sigma[1] * scale)


def luminance(images: Tensor) -> Tensor:
    """Return the grey values, [n, 1, h, w], of ``images`` [n, 1 or 3, h, w]; those of colour images are float."""
    if images.shape[1] == 1:
        return images
    red, green, blue = (
        weight * channel for weight, channel in zip(LUMINANCE, images.split(1, dim=1), strict=True)
    )
    return red.add_(green).add_(blue)


def jitter(views: Tensor, factors: Factors) -> Tensor:
    """Change brightness, contrast, saturation and hue of ``views`` [n, 1 or 3, h, w], for each in its own order.

    As in torchvision's ColorJitter, contrast is about the mean of the image in grey, saturation is relative to the image
    in grey, and values are clamped to 0 and 255 after each change.
    """
    orders, group, sizes = np.unique(factors.order, axis=0, return_inverse=True, return_counts=True)
    # Images that share an order are changed together. One copy to the device serves all groups.
    numbers = torch.from_numpy(np.argsort(group.ravel(), kind="stable")).to(views.device)
    values = torch.from_numpy(factors.values).to(views.device).view(-1, 4, 1, 1, 1)
    changed = torch.empty_like(views)
    for order, rows in zip(orders, numbers.split(sizes.tolist()), strict=True):
        some, drawn = views[rows], values[rows]
        for change in order:
            CHANGES[change](some, drawn[:, change])
        changed[rows] = some
    return changed


def _brighten(views: Tensor, factors: Tensor) -> None:
    views.mul_(factors).clamp_(0, 255)


def _stretch(views: Tensor, factors: Tensor) -> None:
    _move(views, luminance(views).mean(dim=(1, 2, 3), keepdim=True), factors)


def _saturate(views: Tensor, factors: Tensor) -> None:
    _move(views, luminance(views), factors)


def _move(views: Tensor, origins: Tensor, factors: Tensor) -> None:
    """Multiply in place the distance of ``views`` from ``origins`` by ``factors``."""
    views.sub_(origins).mul_(factors).add_(origins).clamp_(0, 255)


def _turn(views: Tensor, turns: Tensor) -> None:
    """Turn the hues of colour ``views`` by ``turns`` of a full turn, in place; their values and saturations stay.

    Hues count from 0 to 6: red is 0, green 2, blue 4. Of a colour, the largest channel is its value, the difference from
    the smallest its chroma, and the hue says how the channels lie between the two (Smith 1978).
    """
    red, green, blue = views.split(1, dim=1)
    largest, smallest = views.amax(dim=1, keepdim=True), views.amin(dim=1, keepdim=True)
    chroma = largest - smallest
    divisor = chroma.clamp(min=torch.finfo(chroma.dtype).tiny)
    hues = torch.where(
        largest == red,
        (green - blue).div_(divisor),
        torch.where(
            largest == green, (blue - red).div_(divisor).add_(2), (red - green).div_(divisor).add_(4)
        ),
    )
    hues = hues.add_(6 * turns).remainder_(6)
    red.copy_((hues - 3).abs_().sub_(1).clamp_(0, 1).mul_(chroma).add_(smallest))
    green.copy_((hues - 2).abs_().neg_().add_(2).clamp_(0, 1).mul_(chroma).add_(smallest))
    blue.copy_((hues - 4).abs_().neg_().add_(2).clamp_(0, 1).mul_(chroma).add_(smallest))


# In the order of the columns of ``Factors.values``. Each changes its views in place.
CHANGES = (_brighten, _stretch, _saturate, _turn)


def grayscale(views: Tensor, drawn: Greyed) -> Tensor:
    """Replace colour ``views`` [n, 3, h, w] by their grey values where ``drawn`` says so."""
    rows = torch.from_numpy(np.flatnonzero(drawn.greyed)).to(views.device)
    changed = views.clone()
    changed[rows] = luminance(views[rows]).expand(-1, 3, -1, -1)
    return changed


def blur(views: Tensor, blurs: Deviations) -> Tensor:
    """Convolve ``views`` [n, 1 or 3, h, w] with Gaussians; edges are reflected.

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
    # The images become channels, because each has its own kernel, and the channels a batch.
    padded = F.pad(views[rows].transpose(0, 1), (radius,) * 4, mode="reflect")
    across = F.conv2d(padded, kernels.view(n, 1, 1, -1), groups=n)
    blurred = views.clone()
    blurred[rows] = F.conv2d(across, kernels.view(n, 1, -1, 1), groups=n).transpose(0, 1)
    return blurred
