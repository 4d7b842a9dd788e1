"""Natural pictures in the layout of ImageNet: a folder of colour JPEGs for each class."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from moco_transfer.data.phantom.crew import in_order
from moco_transfer.data.phantom.dead_leaves import class_names, picture


def write_natural_release(
    root: Path, *, images: int, size: int, seed: int, classes: int = 10, workers: int = 2
) -> None:
    """Write ``images`` dead-leaves pictures under ``root``, in folders of ``classes`` classes (at most 50) by turns.

    ``size`` is about the longer side in pixels. Equal arguments give equal bytes, whatever the number of ``workers``
    (processes). Raises ValueError for too many classes.
    """
    names = class_names(classes)
    root = Path(root)
    for name in names:
        (root / name).mkdir(parents=True, exist_ok=True)
    jobs = [
        (root / names[n % classes] / f"{n // classes:05d}.jpg", seed, n, n % classes, size)
        for n in range(images)
    ]
    for _ in in_order(_write_picture, jobs, workers):
        pass


def _write_picture(path: Path, seed: int, number: int, label: int, size: int) -> None:
    Image.fromarray(picture(seed, number, label, size)).save(path, quality=90)
