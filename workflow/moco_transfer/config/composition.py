"""Configurations are built of parts: ``uses`` names files of the folder ``config``, which are merged in order below the rest."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from moco_transfer.config.experiment import Config, check
from moco_transfer.errors import UserError

PARTS = Path(__file__).resolve().parents[3] / "config"
"""The folder of the parts, in a checkout of the repository."""
DEFAULT = ["config.yaml"]
"""What a configuration without a line ``uses`` is built on: the paper's experiment."""


def merge(base: dict[str, Any], overlay: dict[str, Any], whole: str | None = None) -> dict[str, Any]:
    """Return ``base`` with ``overlay`` merged into it: mappings key by key; any other value replaces the one in ``base``.

    A mapping with the key ``whole`` also replaces the one in ``base``.
    """
    both = {}
    for key, value in overlay.items():
        mapped = isinstance(base.get(key), dict) and isinstance(value, dict) and whole not in value
        both[key] = merge(base[key], value, whole) if mapped else value
    return base | both


def composed(raw: dict[str, Any], parts: Path = PARTS) -> dict[str, Any]:
    """Return the mapping ``raw`` of a configuration merged into the parts that it uses.

    A mapping that names an ``encoder`` replaces that of a part, whose other keys belong to another encoder.
    Raises UserError if ``uses`` is no list of files of the folder ``parts`` (or absolute paths), or if one cannot be read.
    """
    return _composed(raw, parts, ())


def _composed(raw: dict[str, Any], parts: Path, above: tuple[str, ...]) -> dict[str, Any]:
    own = {key: value for key, value in raw.items() if key != "uses"}
    names = raw.get("uses", DEFAULT)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(
            f"config: 'uses': expected a list of files of {parts}, such as [protocol.yaml, size/cpu.yaml]"
        )
    base: dict[str, Any] = {}
    for name in names:
        if name in above:
            raise UserError(f"config: 'uses': {name} uses itself; remove it there")
        part = _part(name, parts)
        base = merge(base, _composed(part, parts, (*above, name)) if "uses" in part else part, "encoder")
    return merge(base, own, "encoder")


def _part(name: str, parts: Path) -> dict[str, Any]:
    path = parts / os.path.expanduser(name)  # noqa: PTH111 (Path raises an error for an unknown user)
    if not path.is_file():
        known = ", ".join(sorted(each.relative_to(parts).as_posix() for each in parts.rglob("*.yaml")))
        raise UserError(
            f"config: 'uses': there is no file {name} in {parts}; choose from {known}, or give a full path"
        )
    return read_yaml(path)


def read_yaml(file: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file; raises UserError if it cannot be read, or holds something else."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        return dict(content or {})
    except (yaml.YAMLError, ValueError, TypeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{file}: expected keys and values in YAML ({reason}); correct the file") from None


def read_config(files: Sequence[Path]) -> Config:
    """Return the configuration of ``files``, in the order given; without any, the paper's.

    Raises UserError if a file is missing or is not YAML, or if the configuration is wrong.
    """
    # As Snakemake does: first merge the files, then the parts that they use.
    return check(composed(functools.reduce(merge, map(read_yaml, files), {})))
