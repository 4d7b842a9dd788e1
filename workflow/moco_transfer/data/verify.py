"""Check a store against its manifest and, if the release is available, against the original images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from moco_transfer.checksums import file_sha256
from moco_transfer.data.decode import decode, fit
from moco_transfer.data.manifest import read_manifest
from moco_transfer.data.store import FILES, package_versions
from moco_transfer.errors import UnreadableImage, UserError


def verify(*, store: Path, root: Path | None = None, sample: int = 100) -> str:
    """Check the store and return one line that says what was checked.

    Compares the hashes of the files and the counts. With ``root``, the folder of the release, ``sample``
    images evenly spread over the store are decoded again and compared byte by byte. Raises UserError for the
    first difference; it names an image by its row number.
    """
    manifest = read_manifest(store)
    for name in FILES:
        if not (store / name).is_file():
            raise UserError(f"{store}: {name} is missing; pack the dataset again")
        if file_sha256(store / name) != manifest["sha256"][name]:
            raise UserError(
                f"{store}: {name} is not the file that was packed: its SHA-256 differs from the manifest's; "
                "pack the dataset again"
            )
    images = np.load(store / "images.npy", mmap_mode="r")
    index, sizes = (pd.read_parquet(store / name) for name in ("index.parquet", "sizes.parquet"))
    quarantined = len(pd.read_csv(store / "quarantine.csv"))
    stored = {len(images), len(index), len(sizes), manifest["stored"], manifest["indexed"] - quarantined}
    if len(stored) > 1 or quarantined != manifest["quarantined"]:
        raise UserError(
            f"{store}: images.npy contains {len(images)} images, index.parquet {len(index)}, sizes.parquet "
            f"{len(sizes)} and quarantine.csv {quarantined}, which does not agree with manifest.json; "
            "pack the dataset again"
        )
    summary = f"{store}: sound, {len(images)} images stored, {quarantined} quarantined"
    if root is None:
        return summary
    rows = np.unique(np.linspace(0, len(images) - 1, min(sample, len(images))).round().astype(int)).tolist()
    for row in rows:
        size = (sizes["height"][row], sizes["width"][row])
        difference = _compare(root / index["path"][row], images[row], size, manifest)
        if difference:
            raise UserError(f"{store}: image {row + 1} of {len(images)} {difference}")
    return f"{summary}, {len(rows)} decoded again with the same bytes"


def _compare(path: Path, packed: np.ndarray, size: tuple[int, int], manifest: dict[str, Any]) -> str:
    """Return how the image at ``path`` differs from ``packed`` and ``size``, and the cure; empty if equal."""
    settings = manifest["settings"]
    try:
        decoded = decode(path, settings["max_pixels"], settings["size"])
    except UnreadableImage as error:
        return f"cannot be read again ({error}); give the root of the release that was packed"
    if (decoded.height, decoded.width) != size:
        return (
            f"is {decoded.height} x {decoded.width}, but was {size[0]} x {size[1]} when packed; "
            "pack the dataset again"
        )
    if np.array_equal(fit(decoded, settings["size"], settings["fit"], settings["colour"]), packed):
        return ""
    now = package_versions()
    changed = [
        f"{name} {version}, now {now.get(name)}"
        for name, version in manifest["versions"].items()
        if now.get(name) != version
    ]
    packages = f" (packed with {', '.join(changed)})" if changed else ""
    return f"decodes to other pixels{packages}; pack the dataset again"
