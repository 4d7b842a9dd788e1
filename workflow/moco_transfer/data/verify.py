"""Checking a store against its manifest and, if the release is at hand, against the images themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from moco_transfer.data.decode import decode, fit
from moco_transfer.data.store import FILES, file_sha256, package_versions
from moco_transfer.errors import UnreadableImage, UserError


def verify(*, store: Path, root: Path | None = None, sample: int = 100) -> str:
    """Check the store and return one line that says what was found to be sound.

    The checks are hashes of the files, shape of the array, counts, and whether index, sizes and array have equally many
    rows. With ``root``, the folder of the release, ``sample`` images evenly spread over the store are decoded again and
    compared byte by byte. Raises UserError for the first difference; it names an image by its row number.
    """
    manifest = _read_manifest(store)
    for name in FILES:
        if not (store / name).is_file():
            _differs(store, f"{name} is missing")
        if file_sha256(store / name) != manifest["sha256"][name]:
            _differs(
                store, f"{name} is not the file that was packed: its SHA-256 differs from the manifest's"
            )
    images = np.load(store / "images.npy", mmap_mode="r")
    index, sizes = (pd.read_parquet(store / name) for name in ("index.parquet", "sizes.parquet"))
    _check_counts(store, manifest, images, index, sizes)
    summary = f"{store}: sound, {len(images)} images stored, {manifest['quarantined']} quarantined"
    if root is None:
        return summary
    rows = np.unique(np.linspace(0, len(images) - 1, min(sample, len(images))).round().astype(int))
    for row in rows.tolist():
        size = (sizes["height"][row], sizes["width"][row])
        _compare(store, row, Path(root, index["path"][row]), images[row], size, manifest)
    return f"{summary}, {len(rows)} decoded again with the same bytes"


def _read_manifest(store: Path) -> dict[str, Any]:
    path = store / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{store}: no manifest.json, so this is not a store, or it was never finished; pack it again"
        ) from None
    except ValueError:
        raise UserError(f"{path}: not JSON; pack the dataset again") from None
    needed = {"indexed", "stored", "quarantined", "reasons", "settings", "versions", "sha256"}
    if lacking := needed - manifest.keys():  # written by an older version
        raise UserError(f"{path}: it lacks {', '.join(sorted(lacking))}; pack the dataset again")
    return manifest


def _check_counts(
    store: Path, manifest: dict[str, Any], images: np.ndarray, index: pd.DataFrame, sizes: pd.DataFrame
) -> None:
    settings = manifest["settings"]
    shape = (manifest["stored"], settings["size"], settings["size"], *([3] if settings["colour"] else []))
    if images.dtype != np.uint8 or images.shape != shape:
        _differs(store, f"images.npy is {images.dtype} {images.shape}, but uint8 {shape} in the manifest")
    for name, table in (("index.parquet", index), ("sizes.parquet", sizes)):
        if len(table) != len(images):
            _differs(store, f"{name} has {len(table)} rows and images.npy {len(images)}")
    reasons = pd.read_csv(store / "quarantine.csv", dtype=str, keep_default_na=False)["reason"]
    if len(reasons) != manifest["quarantined"] or reasons.value_counts().to_dict() != manifest["reasons"]:
        _differs(store, f"quarantine.csv lists {len(reasons)} images, or other reasons than the manifest")
    if manifest["stored"] + manifest["quarantined"] != manifest["indexed"]:
        _differs(store, "in the manifest, stored and quarantined do not add up to indexed")


def _compare(
    store: Path, row: int, path: Path, packed: np.ndarray, size: tuple[int, int], manifest: dict[str, Any]
) -> None:
    settings = manifest["settings"]
    where = f"image {row + 1} of {manifest['stored']}"
    try:
        decoded = decode(path, settings["max_pixels"], settings["size"])
    except UnreadableImage as error:
        raise UserError(
            f"{store}: {where} cannot be read again ({error}); give the root of the release that was packed"
        ) from None
    if (decoded.height, decoded.width) != size:
        _differs(
            store, f"{where} is {decoded.height} x {decoded.width}, and was {size[0]} x {size[1]} when packed"
        )
    if not np.array_equal(fit(decoded, settings["size"], settings["fit"], settings["colour"]), packed):
        now = package_versions()
        others = [
            f"{name} {version}, now {now.get(name)}"
            for name, version in manifest["versions"].items()
            if now.get(name) != version
        ]
        _differs(
            store,
            f"{where} decodes to other pixels" + (f" (packed with {', '.join(others)})" if others else ""),
        )


def _differs(store: Path, difference: str) -> None:
    raise UserError(f"{store}: {difference}; pack the dataset again")
