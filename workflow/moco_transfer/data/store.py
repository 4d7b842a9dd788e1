"""The store: every image of a dataset decoded, resized and packed once, and read at random from then on.

``images.npy`` is one uint8 array, opened as a memory map; ``index.parquet`` says what each of its rows is, and
``sizes.parquet`` how large the image was. An image that cannot be read is left out and listed in ``quarantine.csv`` with
its reason: indexed = stored + quarantined, always. ``manifest.json`` is written last: a folder without one is no store.
It says what was packed from what, with which settings and packages, and holds the hash of each file: counts and hashes
alone, no identifier and no path, so that it can be shown where the images may not.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from moco_transfer.config import stages
from moco_transfer.config.datasets import Store as StoreSettings
from moco_transfer.data.index import check
from moco_transfer.data.packing import quarantine_of, shape_of, stop_if_too_many, write_header
from moco_transfer.errors import UserError
from moco_transfer.files import replacing, room_for, write_csv, write_parquet, write_text

FILES = ("images.npy", "index.parquet", "sizes.parquet", "quarantine.csv")
# What a pixel's value depends on.
PACKAGES = ("numpy", "numba", "pillow", "pydicom", "pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg")
COPIED_AT_ONCE = 16 * 2**20


def join_shards(
    settings: stages.JoinShards, *, index: Path, shards: list[Path], store: Path, max_quarantined: float
) -> None:
    """Join the packed shards of a release into one array."""
    allowed = settings.store.model_copy(update={"max_quarantined": max_quarantined})
    join(pd.read_parquet(index), shards, allowed, store)


def join(index: pd.DataFrame, shards: Sequence[Path], settings: StoreSettings, out: Path) -> None:
    """Join the folders ``shards``, which ``pack_shard`` wrote for all shards of ``index`` in order, to the store ``out``.

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
    unreadable = files["reason"][~stored]
    tables = int(index.memory_usage(deep=True).sum())
    needed = tables + (sum(array.nbytes for array in arrays) if len(shards) > 1 else 0)
    with room_for(needed, out):
        # Snakemake does not notice that a missing image has arrived: it takes finished shards as they are.
        remedy = f"remove {shards[0].parent} and run again"
        stop_if_too_many(index, unreadable.to_dict(), len(index), len(index), settings, out, remedy)
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
        write_csv(quarantine_of(index, unreadable.to_dict()), out / "quarantine.csv")
        (out / "unreadable.csv").unlink(missing_ok=True)
        manifest = {
            "indexed": len(index),
            "stored": int(stored.sum()),
            "quarantined": len(unreadable),
            "reasons": {reason: int(count) for reason, count in unreadable.value_counts().items()},
            # A fingerprint of the release: its index and the size of each file, -1 if it is not there. Times of change
            # are no part of it, because a copy of a release is the same release.
            "source_sha256": _table_sha256(index.assign(file_bytes=files["file_bytes"].to_numpy())),
            "settings": settings.model_dump(exclude={"shards"}),  # shards do not change a byte
            "versions": package_versions(),
            "sha256": {name: file_sha256(out / name) for name in FILES},
        }
        write_text(out / "manifest.json", json.dumps(manifest, indent=2, sort_keys=True) + "\n")


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that the pixels depend on."""
    return {name: version(name) for name in PACKAGES}


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _table_sha256(frame: pd.DataFrame) -> str:
    """Return the SHA-256 of ``frame`` as CSV, made in pieces so that a large table is never text as a whole."""
    digest = hashlib.sha256()
    for start in range(0, len(frame), 10_000):
        text = frame.iloc[start : start + 10_000].to_csv(index=False, header=start == 0, lineterminator="\n")
        digest.update(text.encode())
    return digest.hexdigest()


def _concatenate(shards: Sequence[Path], shape: tuple[int, ...], path: Path) -> None:
    """Write the arrays of ``shards`` one after the other, without holding one in memory."""
    if len(shards) == 1:
        try:
            os.link(shards[0] / "images.npy", path)
            return
        except OSError:  # another disk, or one without links
            pass
    with path.open("wb") as joined:
        write_header(joined, shape)
        start = joined.tell()  # the header is as long in every shard
        for shard in shards:
            with (shard / "images.npy").open("rb") as part:
                part.seek(start)
                shutil.copyfileobj(part, joined, COPIED_AT_ONCE)
