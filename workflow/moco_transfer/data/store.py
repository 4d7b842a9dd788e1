"""The store: every image of a dataset, decoded, resized and packed once, and then read in any order.

``images.npy`` is one uint8 array, opened as a memory map; ``index.parquet`` describes each of its rows, and
``sizes.parquet`` gives the original size. Unreadable images are left out and listed in ``quarantine.csv``
with the reason: indexed = stored + quarantined, always. ``manifest.json`` is written last: a folder without
one is not a store. It says what was packed, with which settings and packages, and the hash of each file, but
no identifier or path, so it may be shown even if the images may not.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from moco_transfer.checksums import file_sha256
from moco_transfer.config import stages
from moco_transfer.config.datasets import Store
from moco_transfer.data.index import check
from moco_transfer.data.packing import LOCK, SEPARATOR, quarantine_of, shape_of, too_many, write_header
from moco_transfer.errors import UserError
from moco_transfer.files import (
    locked,
    map_array,
    read_parquet,
    replacing,
    room_for,
    write_csv,
    write_parquet,
    write_text,
)

FILES = ("images.npy", "index.parquet", "sizes.parquet", "quarantine.csv")
# The packages that the pixels depend on.
PACKAGES = ("numpy", "numba", "pillow", "pydicom", "pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg")
COPIED_AT_ONCE = 16 * 2**20


def join_shards(
    settings: stages.JoinShards, *, index: Path, shards: list[Path], store: Path, max_quarantined: float
) -> None:
    """Join the packed shards of a release into one array.

    ``shards`` are the folders that ``pack`` wrote for all shards of ``index``, in order. Row i of
    ``images.npy`` (uint8 [stored, size, size(, 3)]), ``index.parquet`` and ``sizes.parquet`` (height, width
    of the upright image in the file) is one image, in the order of ``index``; ``quarantine.csv`` has
    image_id, path and reason. The bytes do not depend on the number of shards. The array of a single shard is
    linked, not copied.

    Raises UserError if more images than a share ``max_quarantined`` are unreadable (``unreadable.csv`` lists
    them), if none is readable, if the shards are not those of ``index``, or if the disk is full.
    """
    table = read_parquet(index)
    check(table, "index")
    try:
        # First the lock: a run in another folder that shares the store may be joining the same shards.
        with room_for(0, store), locked(store / LOCK, "joining these images"):
            _join(settings.store, table, shards, store, max_quarantined)
    except FileNotFoundError:
        if all((shard / name).exists() for shard in shards for name in ("files.parquet", "images.npy")):
            raise
        raise UserError(
            f"{shards[0].parent}: packed images are gone, probably because another run has joined them; run again"
        ) from None


def _join(
    settings: Store, table: pd.DataFrame, shards: list[Path], store: Path, max_quarantined: float
) -> None:
    files = pd.concat([read_parquet(shard / "files.parquet") for shard in shards], ignore_index=True)
    arrays = [map_array(shard / "images.npy") for shard in shards]
    readable = (files["reason"] == "").to_numpy()
    stored = int(readable.sum())
    packed = sum(map(len, arrays))
    if len(files) != len(table) or packed != stored:
        raise UserError(
            f"{shards[0].parent}: the shards contain {packed} images and list {len(files)} files, but the "
            f"index lists {len(table)}; remove that folder and pack again"
        )
    quarantine = quarantine_of(table, files["reason"].tolist())
    needed = int(table.memory_usage(deep=True).sum())
    needed += sum(array.nbytes for array in arrays) if len(shards) > 1 else 0
    with room_for(needed, store):
        # Snakemake does not notice that a missing image has arrived: it reuses finished shards.
        remedy = f"remove {shards[0].parent} and run again"
        if len(quarantine) > max_quarantined * len(table):
            raise too_many(quarantine, len(table), len(table), max_quarantined, store, remedy)
        if stored == 0:
            raise UserError(
                f"none of the {len(table)} images is readable; correct the dataset's root, and {remedy}"
            )
        # The manifest goes first: from here to the end, the folder is not a store, whatever it was before.
        (store / "manifest.json").unlink(missing_ok=True)
        with replacing(store / "images.npy") as temporary:
            _concatenate(shards, (stored, *shape_of(settings)), temporary)
        write_parquet(table[readable], store / "index.parquet")
        write_parquet(files.loc[readable, ["height", "width"]], store / "sizes.parquet")
        write_csv(quarantine, store / "quarantine.csv")
        (store / "unreadable.csv").unlink(missing_ok=True)
        manifest = {
            "indexed": len(table),
            "stored": stored,
            "quarantined": len(quarantine),
            "reasons": quarantine["reason"].value_counts().to_dict(),
            "repairs": Counter(
                repair for text in files["repairs"] for repair in text.split(SEPARATOR) if repair
            ),
            # A fingerprint of the release: its index and the size of each file, -1 if it is missing.
            # Modification times are not included, because a copy of a release is the same release.
            "source_sha256": _table_sha256(table.assign(file_bytes=files["file_bytes"].to_numpy())),
            # The number of shards changes no byte.
            "settings": settings.model_dump(exclude={"shards"}) | {"max_quarantined": max_quarantined},
            "versions": package_versions(),
            "sha256": {name: file_sha256(store / name) for name in FILES},
        }
        write_text(store / "manifest.json", json.dumps(manifest, indent=2, sort_keys=True) + "\n")


def package_versions() -> dict[str, str]:
    return {name: version(name) for name in PACKAGES}


def _table_sha256(frame: pd.DataFrame) -> str:
    """Return the SHA-256 of ``frame`` as CSV, computed in pieces to save memory."""
    digest = hashlib.sha256()
    for start in range(0, len(frame), 10_000):
        text = frame.iloc[start : start + 10_000].to_csv(index=False, header=start == 0, lineterminator="\n")
        digest.update(text.encode())
    return digest.hexdigest()


def _concatenate(shards: Sequence[Path], shape: tuple[int, ...], path: Path) -> None:
    """Write the arrays of ``shards`` one after the other, without loading one into memory."""
    if len(shards) == 1:
        try:
            os.link(shards[0] / "images.npy", path)
            return
        except OSError:  # another disk, or one without links
            pass
    with path.open("wb") as joined:
        write_header(joined, shape)
        start = joined.tell()  # the headers of all shards have this length
        for shard in shards:
            with (shard / "images.npy").open("rb") as part:
                part.seek(start)
                shutil.copyfileobj(part, joined, COPIED_AT_ONCE)
