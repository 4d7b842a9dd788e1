"""What the result of a training depends on, by name: the state of another training must never be taken for this one's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from moco_transfer.errors import UserError


def fingerprint(
    settings: Mapping[str, Any], images: Sequence[Path], files: Mapping[str, Sequence[Path]]
) -> dict[str, str]:
    """Return the values of all ``settings`` and the hashes of all inputs, by name.

    Where files lie and which device trains are no part of it: a moved folder or another GPU is the same training.

    Parameters
    ----------
    settings : of the stage; nested ones are named with dots, ``schedule.lr``
    images : the images.npy of each store that is read; its hash stands in the manifest beside it
    files : other inputs by the name that the log gives them when they have changed

    Raises UserError for a store without its manifest.
    """
    found = dict(_flat("", settings))
    for name, paths in files.items():
        found[name] = " ".join(map(_sha256, paths))
    found["images"] = " ".join(map(_images_sha256, images))
    return found


def changed(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """Return the names whose values differ, or that only one of the two has, sorted."""
    return [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]


def _images_sha256(images: Path) -> str:
    manifest = images.with_name("manifest.json")
    if not manifest.exists():
        raise UserError(
            f"{manifest}: not there, so {images.parent} is no finished store; remove it and run again"
        )
    return json.loads(manifest.read_text(encoding="utf-8"))["sha256"]["images.npy"]


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _flat(prefix: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        return [
            pair
            for key, inner in value.items()
            for pair in _flat(f"{prefix}.{key}" if prefix else key, inner)
        ]
    return [(prefix, json.dumps(value, sort_keys=True))]
