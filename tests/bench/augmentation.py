"""Two augmented views of each image, ready for a network: a batch of tensors on two cores, against Pillow image by image.

The reference is what published code does, from files already resized to 256 pixels: decode a JPEG to RGB, transform it
twice by Pillow as torchvision's transforms do, turn it into normalised float32. It is timed on one core and counted
twice, as two workers at their best that hand over for nothing. Ours starts from the rows of a store.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
from measure import Measure, best_seconds
from PIL import Image, ImageEnhance, ImageFilter

from moco_transfer.augment import augment
from moco_transfer.seeds import stream
from moco_transfer.training.images import DEVIATION, MEAN, normalise

BATCH, STORED, SIZE, CORES = 64, 256, 224, 2
Transform = Callable[[Image.Image, np.random.Generator], Image.Image]


def measure() -> list[Measure]:
    """Return images a second, two views each, of the fastest repeat."""
    images = radiographs()
    files = []
    for image in images:
        files.append(io.BytesIO())
        Image.fromarray(image).save(files[-1], "JPEG", quality=95)
    before = torch.get_num_threads()
    torch.set_num_threads(CORES)
    try:
        return [
            _compare("moco_cxr", moco_cxr, images, files),
            _compare("moco_v2", moco_v2, images, files),
        ]
    finally:
        torch.set_num_threads(before)


def _compare(preset: str, transform: Transform, images: np.ndarray, files: list[io.BytesIO]) -> Measure:
    random = stream(0, "bench", preset)

    def ours() -> list[torch.Tensor]:
        batch = torch.from_numpy(images)[:, None]
        return [normalise(augment(batch, preset, SIZE, random)) for _ in range(2)]

    def reference() -> np.ndarray:
        return np.stack([two_views(file, transform, random) for file in files])

    seconds, theirs = best_seconds(ours, reference)
    name = f"two views of {SIZE} x {SIZE}, {preset}"
    return Measure(name, BATCH / seconds, CORES * BATCH / theirs, "images/s", 3, larger_is_better=True)


def radiographs() -> np.ndarray:
    """Return made-up radiographs as a store holds them, uint8 [BATCH, STORED, STORED]: shadows, and some noise."""
    random = stream(0, "bench", "radiographs")
    images = random.normal(128, 4, (BATCH, STORED, STORED))
    for image in images:
        for cells in (4, 16, 64):
            coarse = Image.fromarray(random.normal(0, 60 / np.sqrt(cells), (cells, cells)).astype(np.float32))
            image += np.asarray(coarse.resize((STORED, STORED), Image.Resampling.BICUBIC))
    return images.clip(0, 255).astype(np.uint8)


def two_views(file: io.BytesIO, transform: Transform, random: np.random.Generator) -> np.ndarray:
    """Return two views of the JPEG ``file`` as a network takes them, float32 [2, 3, SIZE, SIZE]."""
    image = Image.open(file).convert("RGB")
    views = np.stack([np.asarray(transform(image, random), np.float32) for _ in range(2)]) / 255
    normalised = (views - np.float32(MEAN)) / np.float32(DEVIATION)
    return np.ascontiguousarray(normalised.transpose(0, 3, 1, 2))


def moco_cxr(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Return the image turned, cropped and flipped, as MoCo-CXR's transforms do."""
    left, top = (int(edge) for edge in random.integers(0, STORED - SIZE + 1, 2))
    turned = image.rotate(random.uniform(-10, 10), Image.Resampling.BILINEAR)
    return flipped(turned.crop((left, top, left + SIZE, top + SIZE)), random)


def moco_v2(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Return the image cut out, resized, its colours changed, blurred and flipped, as MoCo v2's transforms do."""
    side = int(STORED * np.sqrt(random.uniform(0.2, 1)))
    left, top = (int(edge) for edge in random.integers(0, STORED - side + 1, 2))
    view = image.crop((left, top, left + side, top + side)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    if random.random() < 0.8:
        for enhancer in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            view = enhancer(view).enhance(random.uniform(0.6, 1.4))
        view = hue_shifted(view, random.uniform(-0.1, 0.1))
    if random.random() < 0.2:
        view = view.convert("L").convert("RGB")
    if random.random() < 0.5:
        view = view.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2)))
    return flipped(view, random)


def hue_shifted(image: Image.Image, share: float) -> Image.Image:
    """Return the image with its hues moved by ``share`` of the circle, as torchvision's ``adjust_hue`` does."""
    hue, saturation, value = image.convert("HSV").split()
    moved = Image.fromarray((np.asarray(hue).astype(np.int16) + int(share * 255)).astype(np.uint8))
    return Image.merge("HSV", (moved, saturation, value)).convert("RGB")


def flipped(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Return the image, mirrored with probability one half."""
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else image
