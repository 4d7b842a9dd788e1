"""Named arrays in safetensors files, with a checksum and what is known about them. PyTorch is not imported."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from moco_transfer.checksums import PLACE, check, damaged
from moco_transfer.files import replacing


def write_tensors(path: str | Path, tensors: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Write ``tensors`` to ``path``, whole or not at all; ``about`` goes as JSON into the file's metadata."""
    # In one entry, because Safetensors writes several in random order.
    entry = json.dumps({**about, "checksum": PLACE})
    # Safetensors writes the memory of an array as it lies.
    arrays = {name: np.asarray(values, order="C") for name, values in tensors.items()}
    with replacing(path, sealed=True) as temporary:
        # save_file is not used, because it makes files that only their owner can read.
        temporary.write_bytes(save(arrays, {"about": entry}))


def read_tensors(path: str | Path, prefix: str = "") -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return what ``write_tensors`` wrote: the tensors whose names begin with ``prefix``, without it, and what is known of them.

    Raises UserError if the file is damaged.
    """
    check(path, required=True)
    try:
        with safe_open(path, framework="np") as file:
            about = json.loads(file.metadata()["about"])
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118 (not a mapping)
            return {name.removeprefix(prefix): file.get_tensor(name) for name in names}, about
    except (SafetensorError, ValueError):
        raise damaged(path) from None
