"""Augmentation of batches of grey images on the device: one warp for all geometry, then the intensities.

Each image of a batch has parameters of its own. They are drawn in NumPy from a named stream, so that they depend on
neither the device nor the order of jobs. Presets: ``moco_cxr`` (Sowrirajan et al. 2021: flip, rotation, crop),
``moco_v2`` (Chen et al. 2020; of its colour operations a grey image feels brightness and contrast alone), and
``chexclusion`` for finetuning (Seyyed-Kalantari et al. 2020: flip, rotation).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def augment(images: Tensor, preset: str, size: int, random: np.random.Generator) -> Tensor:
    """Return one augmented view of each image.

    Parameters
    ----------
    images : uint8 or float [n, 1, h, w], values from 0 to 255
    preset : 'moco_cxr', 'moco_v2' or 'chexclusion'
    size : side of the views, in pixels
    random : where the parameters are drawn from

    Returns
    -------
    float32 [n, 1, size, size], values from 0 to 255
    """
    n, _, height, width = images.shape
    flip = random.random(n) < 0.5
    zero = np.zeros(n)
    if preset == "moco_v2":
        left, top, box_width, box_height = random_resized_crop(n, height, width, random)
        views = warp(images, size, left, top, box_width, box_height, zero, flip)
        return blur(jitter(views, random), random)
    crop = np.full(n, float(size))
    if preset == "moco_cxr":
        left, top = random.integers(0, width - size + 1, n), random.integers(0, height - size + 1, n)
        return warp(images, size, left, top, crop, crop, random.uniform(-10, 10, n), flip)
    left, top = np.full(n, (width - size) // 2), np.full(n, (height - size) // 2)
    return warp(images, size, left, top, crop, crop, random.uniform(-15, 15, n), flip)


def random_resized_crop(
    n: int, height: int, width: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draw boxes (left, top, width, height; each [n], in pixels) as torchvision's RandomResizedCrop(scale=(0.2, 1)).

    The aspect ratio is log-uniform from 3/4 to 4/3; ten tries an image, and the whole image where all of them fail.
    """
    area = random.uniform(0.2, 1.0, (n, 10)) * height * width
    ratio = np.exp(random.uniform(math.log(3 / 4), math.log(4 / 3), (n, 10)))
    box_width, box_height = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
    fits = (box_width <= width) & (box_height <= height) & (box_width > 0) & (box_height > 0)
    first = fits.argmax(axis=1)
    rows = np.arange(n)
    some = fits.any(axis=1)
    box_width = np.where(some, box_width[rows, first], width)
    box_height = np.where(some, box_height[rows, first], height)
    left = np.floor(random.random(n) * (width - box_width + 1))
    top = np.floor(random.random(n) * (height - box_height + 1))
    return left, top, box_width, box_height


def warp(
    images: Tensor,
    size: int,
    left: np.ndarray,
    top: np.ndarray,
    box_width: np.ndarray,
    box_height: np.ndarray,
    degrees: np.ndarray,
    flip: np.ndarray,
) -> Tensor:
    """Rotate each image about its centre, cut its box out, resize it to ``size`` and flip it, in one bilinear step.

    All parameters are [n]: the box in pixels, the angle counter-clockwise in degrees as torchvision's ``rotate`` has
    it, the flip left to right. What falls outside the image is black.

    Returns
    -------
    float32 [n, 1, size, size]
    """
    n, _, height, width = images.shape
    device = images.device

    def column(values: np.ndarray) -> Tensor:
        return torch.as_tensor(np.asarray(values, dtype=np.float32), device=device).view(n, 1, 1)

    steps = (torch.arange(size, device=device, dtype=torch.float32) + 0.5) / size  # pixel centres, 0 to 1
    across = torch.where(column(flip) > 0, 1 - steps.view(1, 1, size), steps.view(1, 1, size))
    x = column(left) + across * column(box_width) - width / 2  # [n, 1, size], from the image's centre
    y = column(top) + steps.view(1, size, 1) * column(box_height) - height / 2  # [n, size, 1]
    cosine, sine = column(np.cos(np.radians(degrees))), column(np.sin(np.radians(degrees)))
    # grid_sample's coordinates run from -1 to 1 between the outer edges of the outer pixels.
    grid = torch.stack(
        [(cosine * x - sine * y) * (2 / width), (sine * x + cosine * y) * (2 / height)], dim=-1
    )
    return F.grid_sample(images.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def jitter(views: Tensor, random: np.random.Generator) -> Tensor:
    """Change brightness and contrast by factors from 0.6 to 1.4, in random order, with probability 0.8."""
    n = len(views)
    changed = random.random(n) < 0.8
    factors = np.where(changed[:, None], random.uniform(0.6, 1.4, (n, 2)), 1.0).astype(np.float32)
    brightness_first = random.random(n) < 0.5
    brightness, contrast = (torch.as_tensor(f, device=views.device).view(n, 1, 1, 1) for f in factors.T)
    first = torch.as_tensor(brightness_first, device=views.device).view(n, 1, 1, 1)

    def brighten(x: Tensor) -> Tensor:
        return (x * brightness).clamp(0, 255)

    def stretch(x: Tensor) -> Tensor:
        mean = x.mean(dim=(1, 2, 3), keepdim=True)
        return ((x - mean) * contrast + mean).clamp(0, 255)

    return torch.where(first, stretch(brighten(views)), brighten(stretch(views)))


def blur(views: Tensor, random: np.random.Generator) -> Tensor:
    """Blur by a Gaussian of 0.1 to 2 pixels, with probability 0.5 (MoCo v2's, whose images are 224 pixels wide)."""
    n, _, _, size = views.shape
    sigma = np.where(random.random(n) < 0.5, random.uniform(0.1, 2.0, n), 1e-3) * size / 224
    radius = max(1, math.ceil(3 * 2.0 * size / 224))
    offsets = np.arange(-radius, radius + 1)
    kernels = np.exp(-0.5 * (offsets / np.maximum(sigma, 1e-3)[:, None]) ** 2)
    kernels = torch.as_tensor(
        (kernels / kernels.sum(1, keepdims=True)).astype(np.float32), device=views.device
    )
    padded = F.pad(
        views.transpose(0, 1), (radius, radius, radius, radius), mode="reflect"
    )  # images as channels
    rows = F.conv2d(padded, kernels.view(n, 1, 1, -1), groups=n)
    return F.conv2d(rows, kernels.view(n, 1, -1, 1), groups=n).transpose(0, 1)
