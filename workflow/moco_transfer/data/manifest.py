"""The manifest of a store: what was packed from what, with which settings and packages, and the hash of each file.

It holds counts and hashes alone, no identifier and no path, so that it can be shown where the images may not.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from moco_transfer.errors import UserError
from moco_transfer.files import write_csv

if TYPE_CHECKING:
    from moco_transfer.config.datasets import Store as StoreSettings

FILES = ("images.npy", "index.parquet", "sizes.parquet", "quarantine.csv")
# What a pixel's value depends on.
PACKAGES = ("numpy", "numba", "pillow", "pydicom", "pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg")


def describe(
    store: Path, settings: StoreSettings, indexed: int, reasons: pd.Series, source: str
) -> dict[str, Any]:
    """Return the manifest of the files in ``store``.

    ``reasons`` holds why each quarantined image is, ``source`` the fingerprint that ``source_sha256`` gives. The number
    of shards is left out of the settings: it does not change a byte.
    """
    return {
        "indexed": indexed,
        "stored": indexed - len(reasons),
        "quarantined": len(reasons),
        "reasons": {reason: int(count) for reason, count in reasons.value_counts().items()},
        "source_sha256": source,
        "settings": settings.model_dump(exclude={"shards"}),
        "versions": package_versions(),
        "sha256": {name: file_sha256(store / name) for name in FILES},
    }


def source_sha256(index: pd.DataFrame, file_bytes: pd.Series) -> str:
    """Return a fingerprint of a release: its index, and the size of each file in bytes (-1: not there).

    Times of change are no part of it: a copy of a release is the same release.
    """
    return table_sha256(index.assign(file_bytes=file_bytes.to_numpy()))


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that the pixels depend on."""
    return {name: version(name) for name in PACKAGES}


def table_sha256(frame: pd.DataFrame) -> str:
    """Return the SHA-256 of ``frame`` as CSV, made in pieces so that a large table is never text as a whole."""
    digest = hashlib.sha256()
    for start in range(0, max(len(frame), 1), 10_000):
        text = frame.iloc[start : start + 10_000].to_csv(index=False, header=start == 0, lineterminator="\n")
        digest.update(text.encode())
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def quarantine_of(index: pd.DataFrame, unreadable: dict[int, str]) -> pd.DataFrame:
    """Return image_id, path and reason of the images ``unreadable`` (row number in ``index``: reason)."""
    listed = index.iloc[list(unreadable)][["image_id", "path"]]
    return listed.assign(reason=list(unreadable.values()))


def stop_if_too_many(
    quarantine: pd.DataFrame, read: int, indexed: int, max_quarantined: float, folder: Path, remedy: str
) -> None:
    """Raise UserError if ``quarantine`` is more than the share ``max_quarantined`` of all ``indexed`` images.

    ``read`` is how many were tried so far, ``remedy`` what to do once the files are there. The list is left in
    ``folder``/unreadable.csv, a name that no rule declares and Snakemake therefore does not delete.
    """
    if len(quarantine) <= max_quarantined * indexed:
        return
    path = folder / "unreadable.csv"
    write_csv(quarantine, path)
    reasons = ", ".join(
        f"{reason} ({count})" for reason, count in Counter(quarantine["reason"]).most_common(3)
    )
    raise UserError(
        f"{len(quarantine)} of the {read} images read so far (of {indexed}) cannot be read, more than "
        f"store.max_quarantined = {max_quarantined:g} allows: {reasons}; listed in {path}. Complete the download or "
        f"correct the dataset's root, and {remedy}; or raise max_quarantined"
    )
