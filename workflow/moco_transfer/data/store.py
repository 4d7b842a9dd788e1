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
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

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

log = logging.getLogger(__name__)


def pack(
    index: pd.DataFrame,
    root: Path,
    settings: StoreSettings,
    out: Path,
    workers: int = 1,
) -> None:
    """Decode and fit the images of ``index``, whose paths are relative to ``root``, and write the store to ``out``.

    Writes ``images.npy``, ``index.parquet``, ``quarantine.csv`` (image_id, path, reason) and, last, ``manifest.json``. The
    rows keep the order of ``index``, and the bytes do not depend on ``workers`` (threads: the decoders release the GIL).
    Raises UserError if more than
    ``settings.max_quarantined`` of the images cannot be read; the list then lies in ``out``/unreadable.csv, a name that
    no rule declares and Snakemake therefore does not delete.
    """
    root, out = Path(root), Path(out)
    check(index, "index")
    unreadable = _write_images(index, root, settings, out, workers)
    kept = index.drop(index.index[list(unreadable)]).reset_index(drop=True)
    write_parquet(kept, out / "index.parquet")
    write_csv(_quarantine(index, unreadable), out / "quarantine.csv")
    (out / "unreadable.csv").unlink(missing_ok=True)
    manifest = {
        "indexed": len(index),
        "stored": len(kept),
        "quarantined": len(unreadable),
        "settings": settings.model_dump(),
        "versions": {name: version(name) for name in ("numpy", "pillow", "pydicom")},
    }
    write_text(out / "manifest.json", json.dumps(manifest, indent=2, sort_keys=True) + "\n")


def _write_images(
    index: pd.DataFrame, root: Path, settings: StoreSettings, out: Path, workers: int
) -> dict[int, str]:
    """Write ``images.npy``; return why an image is not in it, by its row in ``index``."""
    unreadable: dict[int, str] = {}
    stored = 0
    with replacing(out / "images.npy") as temporary, temporary.open("wb") as handle:
        _write_header(handle, len(index), settings.size, settings.colour)
        for row, image in _read_all(index["path"], root, settings, workers):
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
        _write_header(handle, stored, settings.size, settings.colour)
    return unreadable


def _read_all(
    paths: pd.Series, root: Path, settings: StoreSettings, workers: int
) -> Iterator[tuple[int, np.ndarray | str]]:
    """Yield each row number with its image, uint8 [size, size(, 3)], or with the reason why there is none."""

    def read(path: str) -> np.ndarray | str:
        try:
            image = decode(root / path, settings.max_pixels, settings.size)
        except UnreadableImage as error:
            return str(error)
        return fit(image, settings.size, settings.fit, settings.colour)

    with ThreadPoolExecutor(workers) as threads:
        for start in range(0, len(paths), BATCH):
            batch = paths.iloc[start : start + BATCH]
            yield from enumerate(threads.map(read, batch), start)
            log.info("%d of %d images packed", start + len(batch), len(paths))


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
