"""The manifest of a store: what was packed, with which settings and packages, and the hash of each file.

``store.join_shards`` writes it last. Trainings read it, so this module imports no pandas.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from moco_transfer.errors import UserError

KINDS = {
    "indexed": int,
    "stored": int,
    "quarantined": int,
    "settings": dict,
    "versions": dict,
    "sha256": dict,
}


def read_manifest(store: Path, needed: Collection[str] = tuple(KINDS)) -> dict[str, Any]:
    """Return the manifest of the folder ``store``.

    Raises UserError if it is missing or damaged, or if a ``needed`` key is missing or of another type.
    """
    path = store / "manifest.json"
    if not path.is_file():
        raise UserError(
            f"{store}: there is no manifest.json, so this is not a finished store; pack the dataset again"
        )
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise UserError(f"{path}: damaged (it is not JSON in UTF-8); pack the dataset again") from None
    if not isinstance(manifest, dict):
        raise UserError(f"{path}: damaged (it is not a JSON object); pack the dataset again")
    wrong = [key for key in needed if not isinstance(manifest.get(key), KINDS[key])]
    if wrong:
        raise UserError(
            f"{path}: damaged, or written by an older version ({', '.join(wrong)}: missing or of another type); "
            "pack the dataset again"
        )
    return manifest


def images_sha256(images: Path) -> str:
    """Return the SHA-256 of a store's file of ``images`` when it was packed; raises UserError as ``read_manifest`` does."""
    hashes = read_manifest(images.parent, ["sha256"])["sha256"]
    if not isinstance(sha256 := hashes.get(images.name), str):
        raise UserError(
            f"{images.parent / 'manifest.json'}: it lacks the hash of {images.name}; pack the dataset again"
        )
    return sha256
