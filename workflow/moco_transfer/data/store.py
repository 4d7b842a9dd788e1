"""The store: every image of a dataset decoded, resized and packed once, then read at random for ever after.

``images.npy`` is one uint8 array, opened as a memory map; ``index.parquet`` says what each of its rows is, and
``sizes.parquet`` how large the image was. An image that cannot be read is left out and listed in ``quarantine.csv`` with
its reason: indexed = stored + quarantined, always. ``manifest.json`` is written last: a folder without one is no store.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from moco_transfer.data.index import check
from moco_transfer.data.manifest import describe, quarantine_of, source_sha256, stop_if_too_many
from moco_transfer.data.packing import header_bytes, shape_of, write_header
from moco_transfer.errors import UserError
from moco_transfer.files import replacing, room_for, write_csv, write_parquet, write_text

if TYPE_CHECKING:
    from moco_transfer.config.datasets import Store as StoreSettings

COPIED_AT_ONCE = 16 * 2**20


def join(index: pd.DataFrame, shards: Sequence[Path], settings: StoreSettings, out: Path) -> None:
    """Join the folders ``shards``, written by ``shard.pack_shard`` for all shards of ``index`` in order, to the store ``out``.

    Row i of ``images.npy`` (uint8 [stored, size, size(, 3)]), ``index.parquet`` and ``sizes.parquet`` (height, width of the
    upright image in the file) is one image, in the order of ``index``; ``quarantine.csv`` has image_id, path, reason. The
    bytes do not depend on the number of shards. A single shard's array is linked, not copied.

    Raises UserError if more images than ``settings.max_quarantined`` allows cannot be read (``out``/unreadable.csv lists
    them), if not one can, if the shards are not those of ``index``, or if the disk is full.
    """
    out = Path(out)
    check(index, "index")
    files = pd.concat([pd.read_parquet(shard / "files.parquet") for shard in shards], ignore_index=True)
    stored = (files["reason"] == "").to_numpy()
    arrays = [np.load(shard / "images.npy", mmap_mode="r") for shard in shards]
    if len(files) != len(index) or sum(map(len, arrays)) != stored.sum():
        raise UserError(
            f"{shards[0].parent}: the shards hold {sum(map(len, arrays))} images and list {len(files)} files, the index "
            f"{len(index)}; remove that folder and pack again"
        )
    reasons = files["reason"][~stored]
    quarantine = quarantine_of(index, dict(zip(np.flatnonzero(~stored), reasons, strict=True)))
    tables = int(index.memory_usage(deep=True).sum())
    needed = tables + (sum(array.nbytes for array in arrays) if len(shards) > 1 else 0)
    with room_for(needed, out):
        # Nothing tells Snakemake that an image has come: it takes finished shards as they are.
        remedy = f"remove {shards[0].parent} and run again"
        stop_if_too_many(quarantine, len(index), len(index), settings.max_quarantined, out, remedy)
        if not stored.any():
            raise UserError(
                f"not one of {len(index)} images could be read; correct the dataset's root, and {remedy}"
            )
        # First: from here to the end the folder is no store, whatever it held before.
        (out / "manifest.json").unlink(missing_ok=True)
        with replacing(out / "images.npy") as temporary:
            _concatenate(shards, (int(stored.sum()), *shape_of(settings)), temporary)
        write_parquet(index[stored].reset_index(drop=True), out / "index.parquet")
        write_parquet(files.loc[stored, ["height", "width"]].reset_index(drop=True), out / "sizes.parquet")
        write_csv(quarantine, out / "quarantine.csv")
        (out / "unreadable.csv").unlink(missing_ok=True)
        source = source_sha256(index, files["file_bytes"])
        manifest = describe(out, settings, len(index), reasons, source)
        write_text(out / "manifest.json", json.dumps(manifest, indent=2, sort_keys=True) + "\n")


def _concatenate(shards: Sequence[Path], shape: tuple[int, ...], path: Path) -> None:
    """Write the arrays of ``shards`` one behind the other, without holding one in memory."""
    if len(shards) == 1:
        try:
            os.link(shards[0] / "images.npy", path)
            return
        except OSError:  # another disk, or one without links
            pass
    with path.open("wb") as joined:
        write_header(joined, shape)
        for shard in shards:
            with (shard / "images.npy").open("rb") as part:
                part.seek(header_bytes(shape[1:]))
                shutil.copyfileobj(part, joined, COPIED_AT_ONCE)
