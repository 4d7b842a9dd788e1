"""Pack one shard: decode and resize a run of rows of a dataset's index.

A cluster packs many shards at once, and a failed one is redone alone; ``store.join_shards`` makes them one
array. Shard i of k contains the rows from (i - 1) n / k to i n / k, so joining is concatenation and the array
is the same for every k.

A shard is complete or absent. If packing is killed, it starts its shard again and keeps the finished ones, so
a large dataset should have many. One process at a time packs a shard. An unreadable image does not stop a
shard: it is listed with its reason, until there are more of them than the dataset may have. An error that is
not the image's fault stops it.
"""

from __future__ import annotations

import logging
import math
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import pandas as pd

from moco_transfer.config import stages
from moco_transfer.config.datasets import Store
from moco_transfer.data.decode import decode, fit
from moco_transfer.data.image_file import MACHINE_ERRORS, cannot_be_read, open_image
from moco_transfer.data.index import check
from moco_transfer.errors import UnreadableImage, UserError
from moco_transfer.files import locked, read_parquet, replacing, room_for, write_csv, write_parquet

COLUMNS = {"height": "int32", "width": "int32", "file_bytes": "int64", "reason": "str", "repairs": "str"}
LOCK = ".lock"
SEPARATOR = "; "

log = logging.getLogger(__name__)


class Reading(NamedTuple):
    """One image file: its square ``image``, or the ``reason`` why there is none (else empty).

    ``height`` and ``width`` are those of the upright image in the file, 0 if it is unreadable; ``file_bytes``
    is the size of the file, -1 if it is missing. ``repairs`` lists the faults that were mended, separated by
    semicolons.
    """

    image: np.ndarray | None
    height: int
    width: int
    file_bytes: int
    reason: str
    repairs: str = ""


def pack(
    settings: stages.Pack, *, index: Path, root: Path, packed: Path, max_quarantined: float, workers: int
) -> None:
    """Decode and resize one shard of the images of a release.

    The paths in ``index`` are relative to ``root``. Writes to the folder ``packed``: ``images.npy``, uint8
    [stored, size, size(, 3)], and ``files.parquet``, one row per image of the shard, stored or not (height,
    width, file_bytes, reason, repairs). The bytes do not depend on ``workers`` (threads: the decoders release the
    GIL). A shard may be empty.

    Raises UserError if more images are unreadable than a share ``max_quarantined`` of the whole dataset, if
    the machine fails to read one, or if the disk is full.
    """
    table = read_parquet(index)
    check(table, "index")
    try:
        _pack(settings, table, root, packed, max_quarantined, workers)
    except FileNotFoundError:  # not an image: that would be in quarantine
        raise UserError(
            f"{packed}: a file that was being written is gone, probably because another run has joined these images; "
            "run again"
        ) from None


def _pack(
    settings: stages.Pack, table: pd.DataFrame, root: Path, packed: Path, max_quarantined: float, workers: int
) -> None:
    shape = shape_of(settings.store)
    start, end = (number * len(table) // settings.shards for number in (settings.shard - 1, settings.shard))
    rows = table.iloc[start:end]
    files: list[tuple] = []
    with (
        room_for(len(rows) * math.prod(shape), packed),
        locked(packed / LOCK, "packing these images"),
    ):
        for left_by_a_kill in packed.glob(".images.*.npy"):
            left_by_a_kill.unlink(missing_ok=True)
        with replacing(packed / "images.npy") as temporary, temporary.open("w+b") as images:
            write_header(images, (0, *shape))
            stored = 0
            named = ((f"image {row + 1} of the index", path) for row, path in rows["path"].items())
            for reading in read_all(named, root, settings.store, workers):
                files.append(reading[1:])
                if reading.image is not None:
                    images.write(reading.image.tobytes())
                    stored += 1
                elif len(files) - stored > max_quarantined * len(table):
                    reasons = [reason for *_, reason, _ in files]
                    quarantine = quarantine_of(rows.head(len(files)), reasons)
                    raise too_many(quarantine, len(files), len(table), max_quarantined, packed, "run again")
                if len(files) % 1000 == 0 or len(files) == len(rows):
                    log.info("%d of %d images packed", len(files), len(rows))
            images.seek(0)
            write_header(images, (stored, *shape))
        write_parquet(pd.DataFrame(files, columns=list(COLUMNS)).astype(COLUMNS), packed / "files.parquet")
        (packed / "unreadable.csv").unlink(missing_ok=True)


def shape_of(store: Store) -> tuple[int, ...]:
    """Return the shape of one stored image."""
    return (store.size, store.size, 3) if store.colour else (store.size, store.size)


def write_header(handle: BinaryIO, shape: tuple[int, ...]) -> None:
    """Write the .npy header of a uint8 array; NumPy pads it to the same length for any number of rows."""
    np.lib.format.write_array_header_1_0(handle, {"descr": "|u1", "fortran_order": False, "shape": shape})


def quarantine_of(index: pd.DataFrame, reasons: list[str]) -> pd.DataFrame:
    """Return image_id, path and reason of the rows of ``index`` with a reason (empty if stored)."""
    table = index[["image_id", "path"]].assign(reason=reasons)
    return table[table["reason"] != ""]


def too_many(
    quarantine: pd.DataFrame, read: int, indexed: int, max_quarantined: float, folder: Path, remedy: str
) -> UserError:
    """List the ``quarantine`` in ``folder``/unreadable.csv and return the error that stops packing.

    ``read`` of the ``indexed`` images were tried so far; ``remedy`` is what to do once the files are there.
    No rule declares the list as an output, so Snakemake does not delete it.
    """
    path = folder / "unreadable.csv"
    write_csv(quarantine, path)
    counts = quarantine["reason"].value_counts().head(3)
    reasons = ", ".join(f"{reason} ({count})" for reason, count in counts.items())
    return UserError(
        f"{len(quarantine)} of the {read} images read so far (of {indexed}) are unreadable, more than "
        f"store.max_quarantined = {max_quarantined:g} allows: {reasons}; listed in {path}. Complete the "
        f"download or correct the dataset's root, and {remedy}; or raise max_quarantined"
    )


def read_all(named: Iterable[tuple[str, str]], root: Path, store: Store, workers: int) -> Iterator[Reading]:
    """Yield ``read_image`` of each (name, path) of ``named`` in order, read by ``workers`` threads.

    Only a few are in progress at once, so that memory stays bounded.
    """
    root = root.resolve()
    with ThreadPoolExecutor(workers) as threads:
        in_progress: deque[Future[Reading]] = deque()
        try:
            for name, path in named:
                in_progress.append(threads.submit(read_image, root, path, name, store))
                if len(in_progress) > 2 * workers:
                    yield in_progress.popleft().result()
            while in_progress:
                yield in_progress.popleft().result()
        finally:
            threads.shutdown(cancel_futures=True)


def read_image(root: Path, path: str, name: str, store: Store) -> Reading:
    """Return the image at ``path`` in ``root``, which has no links.

    Raises UserError, which calls the image ``name``, if the machine fails or a link leads out of ``root``.
    """
    file_bytes = -1
    try:
        with open_image(root / path, root) as handle:
            file_bytes = os.fstat(handle.fileno()).st_size
            decoded = decode(handle, store.max_pixels, store.size)
        square = fit(decoded, store.size, store.fit, store.colour)
    except UnreadableImage as error:
        return Reading(None, 0, 0, file_bytes, str(error))
    except MACHINE_ERRORS as error:
        raise cannot_be_read(error, name) from error
    return Reading(square, decoded.height, decoded.width, file_bytes, "", SEPARATOR.join(decoded.repairs))
