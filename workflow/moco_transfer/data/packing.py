"""Packing one shard: a run of rows of a dataset's index, decoded and resized by a job of its own.

A cluster packs many shards at once, and a failed one is redone alone; ``store.join`` makes them one array. Shard i of k
holds the rows from (i - 1) n / k to i n / k, so joining is concatenation and the array is the same for every k.

A shard is whole or absent. A killed packing starts its shard again and keeps the finished ones, so a large dataset
should have many. An image that cannot be read never stops a shard: it is listed with its reason, until more are
unreadable than the dataset may have.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import pandas as pd

from moco_transfer.config import stages
from moco_transfer.config.datasets import Store as StoreSettings
from moco_transfer.data.decode import decode, fit
from moco_transfer.data.index import check
from moco_transfer.errors import UnreadableImage, UserError
from moco_transfer.files import replacing, room_for, write_csv, write_parquet

log = logging.getLogger(__name__)


def pack(
    settings: stages.Pack, *, index: Path, root: Path, packed: Path, max_quarantined: float, workers: int
) -> None:
    """Decode and resize one shard of the images of a release."""
    pack_shard(
        pd.read_parquet(index),
        root,
        settings.store.model_copy(update={"max_quarantined": max_quarantined}),
        packed,
        shard=settings.shard,
        shards=settings.shards,
        workers=workers,
    )


class Reading(NamedTuple):
    """One image file as it was found: its square, or the reason why there is none.

    ``height`` and ``width`` are those of the upright image in the file, 0 if it cannot be read; ``file_bytes`` is the
    size of the file, -1 if it is not there; ``reason`` is empty if there is an ``image``.
    """

    image: np.ndarray | None
    height: int
    width: int
    file_bytes: int
    reason: str


COLUMNS = {"height": "int32", "width": "int32", "file_bytes": "int64", "reason": "str"}


def pack_shard(
    index: pd.DataFrame,
    root: Path,
    settings: StoreSettings,
    out: Path,
    shard: int = 1,
    shards: int = 1,
    workers: int = 1,
) -> None:
    """Decode and fit shard ``shard`` (from 1) of ``shards`` of the images of the whole dataset's ``index``.

    Paths are relative to ``root``. Writes to ``out``: ``images.npy``, uint8 [stored, size, size(, 3)], and
    ``files.parquet``, one row per image of the shard, stored or not (height, width, file_bytes, reason). The bytes do
    not depend on ``workers`` (threads: the decoders release the GIL). A shard may be empty if there are more shards than
    images.

    Raises UserError if more images cannot be read than ``settings.max_quarantined`` allows for the whole dataset (the
    list then lies in ``out``/unreadable.csv, which no rule declares and Snakemake therefore keeps), or if the disk is
    full.
    """
    root, out = Path(root), Path(out)
    check(index, "index")
    rows = index.iloc[(shard - 1) * len(index) // shards : shard * len(index) // shards]
    files: list[tuple] = []
    unreadable: dict[int, str] = {}
    with room_for(len(rows) * int(np.prod(shape_of(settings))), out):
        for left_by_a_kill in out.glob(".images.*.npy"):
            left_by_a_kill.unlink(missing_ok=True)
        with replacing(out / "images.npy") as temporary, temporary.open("w+b") as images:
            write_header(images, (0, *shape_of(settings)))
            for reading in _read_all(rows["path"].tolist(), root, settings, workers):
                files.append(reading[1:])
                if reading.image is None:
                    unreadable[len(files) - 1] = reading.reason
                    stop_if_too_many(rows, unreadable, len(files), len(index), settings, out)
                else:
                    images.write(reading.image.tobytes())
                if len(files) % 1000 == 0 or len(files) == len(rows):
                    log.info("%d of %d images packed", len(files), len(rows))
            images.seek(0)
            write_header(images, (len(files) - len(unreadable), *shape_of(settings)))
        write_parquet(pd.DataFrame(files, columns=list(COLUMNS)).astype(COLUMNS), out / "files.parquet")
        (out / "unreadable.csv").unlink(missing_ok=True)


def shape_of(settings: StoreSettings) -> tuple[int, ...]:
    """Return the shape of one stored image."""
    return (settings.size, settings.size, 3) if settings.colour else (settings.size, settings.size)


def write_header(handle: BinaryIO, shape: tuple[int, ...]) -> None:
    """Write the .npy header of a uint8 array; NumPy pads it, so its length is the same for any number of rows."""
    np.lib.format.write_array_header_1_0(handle, {"descr": "|u1", "fortran_order": False, "shape": shape})


def quarantine_of(index: pd.DataFrame, unreadable: dict[int, str]) -> pd.DataFrame:
    """Return image_id, path and reason of the images ``unreadable`` (row number in ``index``: reason)."""
    return index.iloc[list(unreadable)][["image_id", "path"]].assign(reason=list(unreadable.values()))


def stop_if_too_many(
    index: pd.DataFrame,
    unreadable: dict[int, str],
    read: int,
    indexed: int,
    settings: StoreSettings,
    folder: Path,
    remedy: str = "run again",
) -> None:
    """Raise UserError if ``unreadable`` are more than ``settings.max_quarantined`` of all ``indexed`` images.

    ``unreadable`` is as in ``quarantine_of``; ``read`` is how many were tried so far, ``remedy`` what to do once the
    files are there. The list is left in ``folder``/unreadable.csv, a name that no rule declares and Snakemake therefore
    does not delete.
    """
    if len(unreadable) <= settings.max_quarantined * indexed:
        return
    path = folder / "unreadable.csv"
    write_csv(quarantine_of(index, unreadable), path)
    reasons = ", ".join(f"{why} ({count})" for why, count in Counter(unreadable.values()).most_common(3))
    raise UserError(
        f"{len(unreadable)} of the {read} images read so far (of {indexed}) cannot be read, more than "
        f"store.max_quarantined = {settings.max_quarantined:g} allows: {reasons}; listed in {path}. Complete the "
        f"download or correct the dataset's root, and {remedy}; or raise max_quarantined"
    )


def _read_all(paths: list[str], root: Path, settings: StoreSettings, workers: int) -> Iterator[Reading]:
    """Yield the readings in order, with few of them under way at once, so that memory stays bounded."""
    with ThreadPoolExecutor(workers) as threads:
        under_way: deque[Future[Reading]] = deque()
        try:
            for path in paths:
                under_way.append(threads.submit(_read, root / path, settings))
                if len(under_way) > 2 * workers:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()


def _read(path: Path, settings: StoreSettings) -> Reading:
    try:
        file_bytes = path.stat().st_size
    except (OSError, ValueError):  # ValueError: a path that no file can have
        file_bytes = -1
    try:
        decoded = decode(path, settings.max_pixels, settings.size)
    except UnreadableImage as error:
        return Reading(None, 0, 0, file_bytes, str(error))
    image = fit(decoded, settings.size, settings.fit, settings.colour)
    return Reading(image, decoded.height, decoded.width, file_bytes, "")
