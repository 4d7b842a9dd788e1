"""The manifest of a store: what was packed, with which settings and packages, and the hash of each file."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from moco_transfer.errors import UserError

KEYS = ("indexed", "stored", "quarantined", "settings", "versions", "sha256")


def read_manifest(store: Path, needed: Collection[str] = KEYS) -> dict[str, Any]:
    """Return the manifest of the folder ``store``; raises UserError if it is missing, damaged, or lacks a ``needed`` key."""
    path = store / "manifest.json"
    if not path.is_file():
        raise UserError(f"{store}: there is no manifest.json, so this is not a finished store; pack it again")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        missing = set(needed) - manifest.keys()
    except (ValueError, AttributeError):
        raise UserError(f"{path}: it is damaged; pack the dataset again") from None
    if missing:  # an older version wrote it
        raise UserError(f"{path}: it lacks {', '.join(sorted(missing))}; pack the dataset again")
    return manifest


def images_sha256(images: Path) -> str:
    """Return the SHA-256 of a store's file of ``images`` when it was packed; raises UserError as ``read_manifest`` does."""
    hashes = read_manifest(images.parent, ["sha256"])["sha256"]
    if not isinstance(hashes, dict) or images.name not in hashes:
        raise UserError(
            f"{images.parent / 'manifest.json'}: it lacks the hash of {images.name}; pack the dataset again"
        )
    return hashes[images.name]
