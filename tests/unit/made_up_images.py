"""Folders of small PNGs whose pixels are known, their index, and a store packed in one call."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from moco_transfer.config.datasets import Store
from moco_transfer.data.index import build
from moco_transfer.data.packing import pack_shard
from moco_transfer.data.store import join


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


def pack(index: pd.DataFrame, root: Path, settings: Store, out: Path, workers: int = 1) -> None:
    """Pack all shards of ``index`` one after another and join them in ``out``; ``out``/shards goes when all is well."""
    folders = [out / "shards" / str(shard) for shard in range(1, settings.shards + 1)]
    for shard, folder in enumerate(folders, start=1):
        pack_shard(index, root, settings, folder, shard, settings.shards, workers)
    join(index, folders, settings, out)
    shutil.rmtree(out / "shards")
