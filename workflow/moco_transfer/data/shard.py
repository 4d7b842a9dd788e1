"""Packing one shard: a run of rows of a dataset's index, decoded and resized by a job of its own.

A cluster packs many shards at once, and a failed one is redone alone; ``store.join`` makes them one array. Shard i of k
holds the rows from (i - 1) n / k to i n / k, so that joining is concatenation and the array is the same for every k.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from moco_transfer.data.decode import decode, fit
from moco_transfer.data.disk import room_for
from moco_transfer.data.index import check
from moco_transfer.data.manifest import package_versions, table_sha256
from moco_transfer.data.packing_state import PackingState, Reading
from moco_transfer.data.quarantine import quarantine_of, stop_if_too_many
from moco_transfer.data.unreadable import UnreadableImage

if TYPE_CHECKING:
    from moco_transfer.config.datasets import Store as StoreSettings

# Images between two states on disk: what a kill costs at most.
BATCH = 256

log = logging.getLogger(__name__)


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
    ``files.parquet``, a row for each image of the shard, stored or not (height, width, file_bytes, reason). The bytes do
    not depend on ``workers`` (threads: the decoders release the GIL). Killed, it goes on where it stopped when called
    again; the state lies in ``out``/state until then. A shard of fewer images than shards may be empty.

    Raises UserError if more images cannot be read than ``settings.max_quarantined`` allows for the whole dataset (the
    list then lies in ``out``/unreadable.csv, which no rule declares and Snakemake therefore keeps), or if the disk is full.
    """
    root, out = Path(root), Path(out)
    check(index, "index")
    rows = index.iloc[(shard - 1) * len(index) // shards : shard * len(index) // shards]
    image_shape = shape_of(settings)
    with room_for(len(rows) * image_bytes(settings) - _size(out / "state" / "images.npy"), out):
        reader = _Reader(rows["path"].tolist(), root, settings)
        state = PackingState(out / "state", _fingerprint(rows, settings), image_shape, reader.still_holds)
        readings = reader.read_all(state.rows, workers)
        try:
            while True:
                quarantine = quarantine_of(rows, state.unreadable)
                stop_if_too_many(
                    quarantine, state.rows, len(index), settings.max_quarantined, out, "run again"
                )
                if state.rows == len(rows):
                    break
                for reading in islice(readings, BATCH):
                    state.add(reading)
                state.save()
                log.info("%d of %d images packed", state.rows, len(rows))
            state.finish(out)
        finally:
            state.close()
        (out / "unreadable.csv").unlink(missing_ok=True)


def shape_of(settings: StoreSettings) -> tuple[int, ...]:
    """Return the shape of one stored image."""
    return (settings.size, settings.size, 3) if settings.colour else (settings.size, settings.size)


def image_bytes(settings: StoreSettings) -> int:
    """Return the bytes of one stored image."""
    return settings.size**2 * (3 if settings.colour else 1)


class _Reader:
    """Reads the image files of a shard, by row."""

    def __init__(self, paths: list[str], root: Path, settings: StoreSettings) -> None:
        self.paths, self.root, self.settings = paths, root, settings

    def read(self, row: int) -> Reading:
        path, settings = self.root / self.paths[row], self.settings
        file_bytes, modified = _stamp(path)
        try:
            decoded = decode(path, settings.max_pixels, settings.size)
        except UnreadableImage as error:
            return Reading(None, 0, 0, file_bytes, modified, str(error))
        image = fit(decoded, settings.size, settings.fit, settings.colour)
        return Reading(image, decoded.height, decoded.width, file_bytes, modified, "")

    def read_all(self, start: int, workers: int) -> Iterator[Reading]:
        """Yield the readings from row ``start`` on, in order, with few of them under way: memory stays bounded."""
        with ThreadPoolExecutor(workers) as threads:
            under_way: deque[Future[Reading]] = deque()
            try:
                for row in range(start, len(self.paths)):
                    under_way.append(threads.submit(self.read, row))
                    if len(under_way) > 2 * workers:
                        yield under_way.popleft().result()
                while under_way:
                    yield under_way.popleft().result()
            finally:
                for future in under_way:
                    future.cancel()

    def still_holds(self, row: int, earlier: Reading) -> bool:
        """Return whether reading ``row`` again would find the same; an image that could not be read is tried again."""
        if (earlier.file_bytes, earlier.modified) != _stamp(self.root / self.paths[row]):
            return False
        return not earlier.reason or self.read(row).reason == earlier.reason


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except (OSError, ValueError):  # ValueError: a path that no file can have
        return -1, -1
    return status.st_size, status.st_mtime_ns


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _fingerprint(rows: pd.DataFrame, settings: StoreSettings) -> dict[str, str]:
    """Return what the bytes of a shard depend on, each by the name that the log gives it when it has changed."""
    chosen = settings.model_dump(include={"size", "fit", "colour", "max_pixels"})
    return {
        **{f"store.{key}": str(value) for key, value in chosen.items()},
        **package_versions(),
        "the index": table_sha256(rows),
    }
