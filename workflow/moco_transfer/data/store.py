"""The store: every image of a dataset decoded, resized and packed once, then read at random for ever after.

``images.npy`` is one uint8 array, opened as a memory map; ``index.parquet`` says what each of its rows is. An image that
cannot be read is left out and listed in ``quarantine.csv`` with its reason: indexed = stored + quarantined, always.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import numpy as np
import pandas as pd

from moco_transfer.atomic import replacing, write_csv, write_parquet, write_text
from moco_transfer.data.decode import decode, fit
from moco_transfer.data.index import check
from moco_transfer.data.unreadable import UnreadableImage
from moco_transfer.errors import UserError

if TYPE_CHECKING:
    from moco_transfer.config import Store as StoreSettings

# Images handed to the threads at a time: it bounds the memory, and how much is read in vain before packing stops.
BATCH = 512
# Images looked at to see whether a dataset is coloured.
LOOKED_AT = 32

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Store:
    """An open store: ``images`` uint8 [n, size, size] or [n, size, size, 3], mapped read-only, and its ``index``."""

    images: np.ndarray
    index: pd.DataFrame


def open_store(folder: Path) -> Store:
    """Return the store that ``pack`` wrote to ``folder``.

    Raises UserError if a file is missing, or images and index do not have the same number of rows.
    """
    folder = Path(folder)
    for name in ("images.npy", "index.parquet"):
        if not (folder / name).is_file():
            raise UserError(f"{folder / name}: no such file; pack the dataset first")
    images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
    index = pd.read_parquet(folder / "index.parquet")
    if len(images) != len(index):
        raise UserError(
            f"{folder}: images.npy has {len(images)} rows, index.parquet {len(index)}; pack the dataset again"
        )
    return Store(images, index)


def pack(
    index: pd.DataFrame,
    root: Path,
    settings: StoreSettings,
    out: Path,
    colour: bool | Literal["auto"] = "auto",
    workers: int = 1,
) -> None:
    """Decode and fit the images of ``index``, whose paths are relative to ``root``, and write the store to ``out``.

    Writes ``images.npy``, ``index.parquet``, ``quarantine.csv`` (image_id, path, reason) and, last, ``manifest.json``. The
    rows keep the order of ``index``, and the bytes do not depend on ``workers`` (threads: the decoders release the GIL).
    ``colour`` says whether three channels are kept; ``auto`` looks at a few images. Raises UserError if more than
    ``settings.max_quarantined`` of the images cannot be read; the list then lies in ``out``/unreadable.csv, a name that
    no rule declares and Snakemake therefore does not delete.
    """
    root, out = Path(root), Path(out)
    check(index, "index")
    if colour == "auto":
        colour = _is_coloured(index["path"], root, settings)
    unreadable = _write_images(index, root, settings, out, colour, workers)
    kept = index.drop(index.index[list(unreadable)]).reset_index(drop=True)
    write_parquet(kept, out / "index.parquet")
    write_csv(_quarantine(index, unreadable), out / "quarantine.csv")
    (out / "unreadable.csv").unlink(missing_ok=True)
    manifest = {
        "indexed": len(index),
        "stored": len(kept),
        "quarantined": len(unreadable),
        "colour": colour,
        "settings": settings.model_dump(),
        "versions": {name: version(name) for name in ("numpy", "pillow", "pydicom")},
    }
    write_text(out / "manifest.json", json.dumps(manifest, indent=2, sort_keys=True) + "\n")


def _write_images(
    index: pd.DataFrame, root: Path, settings: StoreSettings, out: Path, colour: bool, workers: int
) -> dict[int, str]:
    """Write ``images.npy``; return why an image is not in it, by its row in ``index``."""
    unreadable: dict[int, str] = {}
    stored = 0
    with replacing(out / "images.npy") as temporary, temporary.open("wb") as handle:
        _write_header(handle, len(index), settings.size, colour)
        for row, image in _read_all(index["path"], root, settings, colour, workers):
            if isinstance(image, str):
                unreadable[row] = image
                _stop_if_too_many(unreadable, row, index, root, settings, out)
            else:
                handle.write(image.tobytes())
                stored += 1
        if stored + len(unreadable) != len(index):
            raise AssertionError(f"{len(index)} indexed, {stored} stored, {len(unreadable)} quarantined")
        if stored == 0:
            raise UserError(f"{root}: not one of {len(index)} images could be read; check the dataset's root")
        handle.seek(0)
        _write_header(handle, stored, settings.size, colour)
    return unreadable


def _read_all(
    paths: pd.Series, root: Path, settings: StoreSettings, colour: bool, workers: int
) -> Iterator[tuple[int, np.ndarray | str]]:
    """Yield each row number with its image, uint8 [size, size(, 3)], or with the reason why there is none."""

    def read(path: str) -> np.ndarray | str:
        try:
            image = decode(root / path, settings.max_pixels, settings.size)
        except UnreadableImage as error:
            return str(error)
        return fit(image, settings.size, settings.fit, colour)

    with ThreadPoolExecutor(workers) as threads:
        for start in range(0, len(paths), BATCH):
            batch = paths.iloc[start : start + BATCH]
            yield from enumerate(threads.map(read, batch), start)
            log.info("%d of %d images packed", start + len(batch), len(paths))


def _is_coloured(paths: pd.Series, root: Path, settings: StoreSettings) -> bool:
    """Return whether any of a few images, spread over the dataset, is coloured; unreadable ones do not count."""
    for row in np.unique(np.linspace(0, len(paths) - 1, LOOKED_AT).astype(np.int64)):
        try:
            if decode(root / paths.iloc[row], settings.max_pixels, settings.size).ndim == 3:
                return True
        except UnreadableImage:
            continue
    return False


def _write_header(handle: BinaryIO, rows: int, size: int, colour: bool) -> None:
    """Write the header of the array; NumPy pads it, so that it has one length whatever the number of rows."""
    shape = (rows, size, size, 3) if colour else (rows, size, size)
    np.lib.format.write_array_header_1_0(handle, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _quarantine(index: pd.DataFrame, unreadable: dict[int, str]) -> pd.DataFrame:
    listed = index.iloc[list(unreadable)][["image_id", "path"]]
    return listed.assign(reason=list(unreadable.values()))


def _stop_if_too_many(
    unreadable: dict[int, str], row: int, index: pd.DataFrame, root: Path, settings: StoreSettings, out: Path
) -> None:
    """Raise UserError, after writing the list, as soon as the share of unreadable images cannot be met any more."""
    if len(unreadable) <= settings.max_quarantined * len(index):
        return
    write_csv(_quarantine(index, unreadable), out / "unreadable.csv")
    reasons = ", ".join(
        f"{reason} ({count})" for reason, count in Counter(unreadable.values()).most_common(3)
    )
    raise UserError(
        f"{root}: {len(unreadable)} of the first {row + 1} images (of {len(index)}) cannot be read, more than "
        f"store.max_quarantined = {settings.max_quarantined:g} allows: {reasons}; listed in {out / 'unreadable.csv'}. "
        "Complete the download, or raise max_quarantined"
    )
