"""Folders of small PNGs whose pixels are known, and their index."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from moco_transfer.data.index import build


def write_images(
    folder: Path, count: int, side: int = 16, coloured: bool = False
) -> tuple[pd.DataFrame, np.ndarray]:
    """Write ``count`` square PNGs of ``side`` pixels to ``folder``; return their index and their pixels."""
    shape = (count, side, side, 3) if coloured else (count, side, side)
    pixels = np.random.default_rng(count).integers(0, 256, shape, dtype=np.uint8)
    names = [f"image{number}" for number in range(count)]
    for name, image in zip(names, pixels, strict=True):
        Image.fromarray(image).save(folder / f"{name}.png", compress_level=1)
    columns = {
        "image_id": names,
        "patient_id": names,
        "study_id": names,
        "path": [f"{name}.png" for name in names],
    }
    labels = pd.DataFrame({"finding": np.arange(count) % 2})
    return build(pd.DataFrame(columns), labels, "test"), pixels


def files_in(folder: Path) -> dict[str, bytes]:
    """Return the contents of every file in ``folder``, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
