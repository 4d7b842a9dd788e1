"""What of a shard is packed already: kept beside its outputs, so that a killed job goes on where it stopped.

Snakemake deletes declared outputs before every attempt, so the state lies in a folder that no rule declares:
``images.npy`` (the array as far as it goes), ``files.csv`` (a line for every image dealt with, stored or not) and
``progress.json``, which is replaced only when the other two are on disk: what they hold beyond it is cut off.


Packing one shard: a run of rows of a dataset's index, decoded and resized by a job of its own.

A cluster packs many shards at once, and a failed one is redone alone; ``store.join`` makes them one array. Shard i of k
holds the rows from (i - 1) n / k to i n / k, so that joining is concatenation and the array is the same for every k.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np
import pandas as pd

from moco_transfer.data.decode import decode, fit
from moco_transfer.data.index import check
from moco_transfer.data.manifest import package_versions, quarantine_of, stop_if_too_many, table_sha256
from moco_transfer.errors import UnreadableImage
from moco_transfer.files import replacing, room_for, write_parquet, write_text

if TYPE_CHECKING:
    from moco_transfer.config.datasets import Store as StoreSettings

log = logging.getLogger(__name__)


class Reading(NamedTuple):
    """One image file as it was found: its square, or the reason why there is none.

    ``height`` and ``width`` are those of the upright image in the file, 0 if it cannot be read; ``file_bytes`` and
    ``modified`` (nanoseconds) are the file's, -1 if it is not there; ``reason`` is empty if ``image`` is there.
    """

    image: np.ndarray | None
    height: int
    width: int
    file_bytes: int
    modified: int
    reason: str


COLUMNS = {"height": "int32", "width": "int32", "file_bytes": "int64", "modified": "int64", "reason": "str"}


def write_header(handle: BinaryIO, shape: tuple[int, ...]) -> None:
    """Write the .npy header of a uint8 array; NumPy pads it, so that its length is the same for any number of rows."""
    np.lib.format.write_array_header_1_0(handle, {"descr": "|u1", "fortran_order": False, "shape": shape})


def header_bytes(image_shape: tuple[int, ...]) -> int:
    """Return the length of the header that ``write_header`` writes for images of ``image_shape``."""
    handle = io.BytesIO()
    write_header(handle, (0, *image_shape))
    return handle.tell()


class PackingState:
    """The images of a shard in the order of its index, as far as they are packed.

    Parameters
    ----------
    folder : where the state lies; made anew unless it holds one with the same fingerprint.
    fingerprint : what the bytes depend on; of another one nothing is kept.
    image_shape : (size, size) or (size, size, 3).
    still_holds : says of a row number and its ``Reading`` (without image) whether reading the file again would find
        the same; the state is kept up to the first row for which it says no.

    Attributes
    ----------
    rows : how many images are dealt with.
    unreadable : the reason of each of them that could not be read, by row.
    """

    def __init__(
        self,
        folder: Path,
        fingerprint: dict[str, str],
        image_shape: tuple[int, ...],
        still_holds: Callable[[int, Reading], bool],
    ) -> None:
        self.folder, self.fingerprint, self.image_shape = folder, fingerprint, image_shape
        self.header_bytes = header_bytes(image_shape)
        self.image_bytes = int(np.prod(image_shape))
        self._start(self._kept(still_holds))

    def add(self, reading: Reading) -> None:
        """Add the next image."""
        if reading.image is None:
            self.unreadable[self.rows] = reading.reason
        else:
            self._images.write(reading.image.tobytes())
        csv.writer(self._files, lineterminator="\n").writerow(reading[1:])
        self.rows += 1

    def save(self) -> None:
        """Bring to disk what was added: from here on it survives a kill."""
        for handle in (self._images, self._files):
            handle.flush()
            os.fsync(handle.fileno())
        self._write_progress()

    def finish(self, out: Path) -> None:
        """Turn the state into ``out``/images.npy and ``out``/files.parquet (``COLUMNS`` but ``modified``)."""
        files = self._read_files(self.rows)
        stored, remainder = divmod(self._images.tell() - self.header_bytes, self.image_bytes)
        if remainder or stored + len(self.unreadable) != self.rows or len(files) != self.rows:
            raise AssertionError(
                f"{self.rows} images read, {stored} stored, {len(self.unreadable)} unreadable"
            )
        self._images.seek(0)
        write_header(self._images, (stored, *self.image_shape))
        self._images.flush()
        os.fsync(self._images.fileno())
        self.close()
        write_parquet(files.drop(columns="modified"), out / "files.parquet")
        (self.folder / "images.npy").replace(out / "images.npy")
        shutil.rmtree(self.folder)

    def close(self) -> None:
        """Close the files; the state stays for the next attempt."""
        try:
            self._images.close()
        finally:  # even if the disk is full
            self._files.close()

    def _kept(self, still_holds: Callable[[int, Reading], bool]) -> pd.DataFrame:
        """Return what ``files.csv`` says of the images that stay packed: one row each, none if all starts anew."""
        nothing = pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in COLUMNS.items()})
        try:
            progress = json.loads((self.folder / "progress.json").read_text(encoding="utf-8"))
            known, rows = dict(progress["fingerprint"]), int(progress["rows"])
            files = self._read_files(rows)
            size = (self.folder / "images.npy").stat().st_size
        except FileNotFoundError:
            return nothing
        except (ValueError, KeyError, TypeError):
            log.info("packing starts anew: what an earlier attempt left cannot be read")
            return nothing
        if known != self.fingerprint:
            changed = [
                name
                for name in sorted({*known, *self.fingerprint})
                if known.get(name) != self.fingerprint.get(name)
            ]
            log.info("packing starts anew: changed since an earlier attempt: %s", ", ".join(changed))
            return nothing
        stored = int((files["reason"] == "").sum())
        if len(files) < rows or size < self.header_bytes + stored * self.image_bytes:
            log.info("packing starts anew: what an earlier attempt left is cut short")
            return nothing
        kept = next(
            (
                row
                for row, file in enumerate(files.itertuples(index=False))
                if not still_holds(row, Reading(None, *file))
            ),
            rows,
        )
        log.info("resuming after %d images", kept)
        if kept < rows:
            log.info(
                "%d packed images are read again: the file of the first of them has changed", rows - kept
            )
        return files.iloc[:kept]

    def _start(self, files: pd.DataFrame) -> None:
        """Open the state so that it holds exactly ``files`` and their images."""
        self.rows = len(files)
        self.unreadable = {row: reason for row, reason in enumerate(files["reason"]) if reason}
        self.folder.mkdir(parents=True, exist_ok=True)
        # First: an attempt killed right behind it finds more than it needs, and never less.
        self._write_progress()
        with replacing(self.folder / "files.csv") as temporary:
            files.to_csv(temporary, index=False, lineterminator="\n")
        path = self.folder / "images.npy"
        path.touch()
        self._images = path.open("r+b")
        write_header(self._images, (0, *self.image_shape))
        self._images.truncate(self.header_bytes + (self.rows - len(self.unreadable)) * self.image_bytes)
        self._images.seek(0, os.SEEK_END)
        self._files = (self.folder / "files.csv").open("a", encoding="utf-8", newline="")

    def _read_files(self, rows: int) -> pd.DataFrame:
        return pd.read_csv(
            self.folder / "files.csv", nrows=rows, dtype=COLUMNS, keep_default_na=False, encoding="utf-8"
        )

    def _write_progress(self) -> None:
        progress = {"rows": self.rows, "fingerprint": self.fingerprint}
        write_text(self.folder / "progress.json", json.dumps(progress, indent=2) + "\n")


# Images between two states on disk: what a kill costs at most.
BATCH = 256


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
