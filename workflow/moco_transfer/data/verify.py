"""Check a store against its manifest and, if the release is available, against the original images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from moco_transfer.checksums import file_sha256
from moco_transfer.config.datasets import Store
from moco_transfer.data.manifest import read_manifest
from moco_transfer.data.packing import Reading, read_image
from moco_transfer.data.store import FILES, package_versions
from moco_transfer.errors import UserError
from moco_transfer.files import map_array, read_parquet


def verify(*, store: Path, root: Path | None = None, sample: int = 100) -> str:
    """Check a packed dataset, and print one line that says what was checked or the first difference.

    The hashes of the files and the counts are compared. A difference names an image by its row number.

    Parameters
    ----------
    store : the folder of the packed dataset, results/data/DATA/DATASET/store
    root : the folder of the release; if given, some images are decoded again and compared byte by byte
    sample : the number of these images, evenly spread over the store
    """
    manifest = read_manifest(store)
    for name in FILES:
        if not (store / name).is_file():
            raise UserError(f"{store}: {name} is missing; pack the dataset again")
        if file_sha256(store / name) != manifest["sha256"].get(name):
            raise UserError(
                f"{store}: {name} is not the file that was packed: its SHA-256 differs from the manifest's; "
                "pack the dataset again"
            )
    images = map_array(store / "images.npy")
    index, sizes = (read_parquet(store / name) for name in ("index.parquet", "sizes.parquet"))
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
    settings, root = _settings(store, manifest), root.resolve()
    for row in rows:
        name = f"image {row + 1} of {len(images)}"
        reading = read_image(root, index["path"][row], name, settings)
        size = (sizes["height"][row], sizes["width"][row])
        if difference := _difference(reading, images[row], size, manifest["versions"]):
            raise UserError(f"{store}: {name} {difference}")
    return f"{summary}, {len(rows)} decoded again with the same bytes"


def _settings(store: Path, manifest: dict[str, Any]) -> Store:
    try:
        return Store.model_validate(manifest["settings"])
    except ValidationError:
        raise UserError(
            f"{store}: manifest.json has settings of another version; pack the dataset again"
        ) from None


def _difference(
    reading: Reading, packed: np.ndarray, size: tuple[int, int], packed_with: Mapping[str, str]
) -> str:
    """Return how ``reading`` differs from what was packed, and the cure; empty if equal."""
    if reading.image is None:
        return f"cannot be read again ({reading.reason}); give the root of the release that was packed"
    if (reading.height, reading.width) != size:
        return (
            f"is {reading.height} x {reading.width}, but was {size[0]} x {size[1]} when packed; "
            "pack the dataset again"
        )
    if np.array_equal(reading.image, packed):
        return ""
    now = package_versions()
    changed = [
        f"{name} {version}, now {now.get(name)}"
        for name, version in packed_with.items()
        if now.get(name) != version
    ]
    packages = f" (packed with {', '.join(changed)})" if changed else ""
    return f"decodes to other pixels{packages}; pack the dataset again"
