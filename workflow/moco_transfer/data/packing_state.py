"""What of a shard is packed already: kept beside its outputs, so that a killed job goes on where it stopped.

Snakemake deletes declared outputs before every attempt, so the state lies in a folder that no rule declares:
``images.npy`` (the array as far as it goes), ``files.csv`` (a line for every image dealt with, stored or not) and
``progress.json``, which is replaced only when the other two are on disk: what they hold beyond it is cut off.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import pandas as pd

from moco_transfer.atomic import replacing, write_parquet, write_text

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
