"""Two augmented views of each image, ready for a network: batches of tensors, against Pillow image by image.

The reference is what published code does (``main_moco.py`` of MoCo v2 and MoCo-CXR): a DataLoader with one
worker per core decodes each image from a JPEG file of 320 pixels and passes it twice through torchvision's
transforms (MoCo-CXR's with ``--img-size 256 --crop 224``). Ours takes rows of a store. Both yield normalised
float32 batches.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import uniform

import numpy as np
import torch
from measure import Measure, best_seconds, measured_as_a_job, print_measures
from PIL import Image, ImageFilter

from moco_transfer.augment import augment
from moco_transfer.config.augmentation import operations_of
from moco_transfer.config.encoders import IMAGENET_MEAN, IMAGENET_STD, Network
from moco_transfer.seeds import stream
from moco_transfer.training.images import ImagePool, View

IMAGES, BATCH, STORED, SIZE, CORES = 256, 64, 256, 224, 2
FILE_SIDE = 320
VIEW = View(SIZE, Network(name="densenet121", channels=3, size=SIZE, mean=IMAGENET_MEAN, std=IMAGENET_STD))


def measure() -> list[Measure]:
    """Return images per second, two views each, of the fastest of several passes."""
    return measured_as_a_job(__file__)


def compare() -> list[Measure]:
    """Return the measures of both presets, on ``CORES`` cores of this process."""
    torch.set_num_threads(CORES)
    with tempfile.TemporaryDirectory() as folder:
        images = radiographs(IMAGES, STORED)
        np.save(Path(folder, "images.npy"), images)
        for number, image in enumerate(images):
            large = Image.fromarray(image).resize((FILE_SIDE, FILE_SIDE), Image.Resampling.BICUBIC)
            large.save(Path(folder, f"{number:04}.jpg"), quality=95)
        return [_compare(preset, Path(folder)) for preset in ("moco_cxr", "moco_v2")]


def _compare(preset: str, folder: Path) -> Measure:
    pool = ImagePool([(folder / "images.npy", np.arange(IMAGES))])
    loader = _published_loader(preset, sorted(folder.glob("*.jpg")))
    random, operations = stream(0, "bench", preset), operations_of(preset)

    def ours() -> None:
        for numbers in random.permutation(IMAGES).reshape(-1, BATCH):
            pixels = pool.batch(numbers)
            for _ in range(2):
                VIEW.prepare(augment(pixels, operations, SIZE, random))

    def reference() -> None:
        for _ in loader:
            pass

    reference()  # starts the workers, which stay
    seconds, theirs = best_seconds(ours, reference)
    name = f"two views of {SIZE} x {SIZE}, {preset}"
    return Measure(name, IMAGES / seconds, IMAGES / theirs, "images/s", 3, larger_is_better=True)


def radiographs(n: int, side: int) -> np.ndarray:
    """Return made-up radiographs as a store holds them, uint8 [n, side, side]: shadows and some noise."""
    random = stream(0, "bench", "radiographs")
    images = random.normal(128, 4, (n, side, side)).astype(np.float32)
    for image in images:
        for cells in (4, 16, 64):
            coarse = Image.fromarray(random.normal(0, 60 / np.sqrt(cells), (cells, cells)).astype(np.float32))
            image += np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))
    return images.clip(0, 255).astype(np.uint8)


def _published_loader(preset: str, files: list[Path]) -> torch.utils.data.DataLoader:
    """Return a loader of two views of the images in ``files``, float32 [BATCH, 3, SIZE, SIZE] each."""
    transform = _published_transform(preset)

    class Views(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, number: int) -> list[torch.Tensor]:
            image = Image.open(files[number]).convert("RGB")
            return [transform(image), transform(image)]

    return torch.utils.data.DataLoader(
        Views(), BATCH, shuffle=True, num_workers=CORES, drop_last=True, persistent_workers=True
    )


def _published_transform(preset: str) -> object:
    from torchvision import transforms

    class GaussianBlur:
        def __call__(self, image: Image.Image) -> Image.Image:
            return image.filter(ImageFilter.GaussianBlur(uniform(0.1, 2)))

    if preset == "moco_v2":
        steps = [
            transforms.RandomResizedCrop(SIZE, scale=(0.2, 1)),
            transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            transforms.RandomGrayscale(p=0.2),
            transforms.RandomApply([GaussianBlur()], p=0.5),
            transforms.RandomHorizontalFlip(),
        ]
    else:
        steps = [
            transforms.Resize(STORED),
            transforms.RandomHorizontalFlip(),
            transforms.RandomRotation(10),
            transforms.RandomCrop(SIZE),
        ]
    return transforms.Compose(
        [*steps, transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    )


if __name__ == "__main__":
    print_measures(compare())
