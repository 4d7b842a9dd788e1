"""Brightness, contrast and blur of a batch, each image by parameters of its own."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from moco_transfer.config.augmentation import Blur, Jitter

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
