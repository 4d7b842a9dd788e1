"""Write small PNGs with known pixels and their index; pack a store in one call."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from PIL import Image

from moco_transfer.config import stages
from moco_transfer.config.datasets import Store
from moco_transfer.data import packing
from moco_transfer.data.index import build
from moco_transfer.data.packing import LOCK
from moco_transfer.data.store import join_shards


def write_images(
    folder: Path, count: int, side: int = 16, coloured: bool = False
) -> tuple[pd.DataFrame, np.ndarray]:
    """Write ``count`` square PNGs of ``side`` pixels to ``folder``; return their index and their pixels."""
    shape = (count, side, side, 3) if coloured else (count, side, side)
    pixels = np.random.default_rng(count).integers(0, 256, shape, dtype=np.uint8)
    names = [f"image{number}" for number in range(count)]
    for name, image in zip(names, pixels, strict=True):
        Image.fromarray(image).save(folder / f"{name}.png", compress_level=1)
    columns = dict.fromkeys(("image_id", "patient_id", "study_id"), names)
    columns["path"] = [f"{name}.png" for name in names]
    labels = pd.DataFrame({"finding": np.arange(count) % 2})
    return build(pd.DataFrame(columns), labels, "test"), pixels


def files_in(folder: Path) -> dict[str, bytes]:
    """Return the contents of every file in ``folder`` but the lock, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != LOCK}


def pack_shard(
    index: pd.DataFrame,
    root: Path,
    store: Store,
    out: Path,
    shard: int = 1,
    shards: int = 1,
    workers: int = 1,
) -> None:
    """Pack one shard of ``index`` into ``out``."""
    with written(index) as path:
        settings = stages.Pack(store=store, shard=shard, shards=shards)
        limits = {"max_quarantined": store.max_quarantined, "workers": workers}
        packing.pack(settings, index=path, root=root, packed=out, **limits)


def join(index: pd.DataFrame, shards: list[Path], store: Store, out: Path) -> None:
    """Join ``shards`` of ``index`` in ``out``."""
    with written(index) as path:
        settings = stages.JoinShards(store=store)
        join_shards(settings, index=path, shards=shards, store=out, max_quarantined=store.max_quarantined)


@contextmanager
def written(index: pd.DataFrame) -> Iterator[Path]:
    """Yield the path of a temporary file with ``index``."""
    with TemporaryDirectory() as folder:
        index.to_parquet(Path(folder, "index.parquet"))
        yield Path(folder, "index.parquet")


def pack(index: pd.DataFrame, root: Path, store: Store, out: Path, workers: int = 1) -> None:
    """Pack all shards of ``index`` one after another, join them in ``out``, and remove ``out``/shards on
    success."""
    folders = [out / "shards" / str(shard) for shard in range(1, store.shards + 1)]
    for shard, folder in enumerate(folders, start=1):
        pack_shard(index, root, store, folder, shard, store.shards, workers)
    join(index, folders, store, out)
    shutil.rmtree(out / "shards")
