"""What tests of several trainers share."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "workflow" / "scripts"))


@pytest.fixture
def stores(tmp_path):
    """A folder with stores a.npy, b.npy and colour.npy of random images, and initial.safetensors."""
    from moco_transfer.networks import build_backbone, save_weights

    random = np.random.default_rng(0)
    for name, n in (("a", 20), ("b", 12)):
        np.save(tmp_path / f"{name}.npy", random.integers(0, 256, (n, 36, 36), dtype=np.uint8))
    np.save(tmp_path / "colour.npy", random.integers(0, 256, (6, 36, 36, 3), dtype=np.uint8))
    save_weights(build_backbone("densenet_small", 1), tmp_path / "initial.safetensors")
    return tmp_path
