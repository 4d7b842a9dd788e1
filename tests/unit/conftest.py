"""What tests of several trainers share."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "workflow" / "scripts"))


@pytest.fixture(scope="module")
def one_thread():
    """Let PyTorch compute with one thread, which is faster for small networks and repeats every bit."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def stores(tmp_path):
    """A folder with the stores a (two labels, three splits), b and colour, subset.parquet of a, and initial.safetensors."""
    from made_up_settings import NETWORK
    from made_up_stores import write_store, write_subset

    from moco_transfer.networks import build_network, save_encoder

    folder = tmp_path / "stores"
    labels = {"one": np.tile([0.0, 1.0], 10), "two": np.tile([1.0, -1.0, 0.0, np.nan], 5)}
    write_store(folder / "a", (20, 36, 36), labels, splits=(10, 4, 6), seed=1)
    write_store(folder / "b", (12, 36, 36), seed=2)
    write_store(folder / "colour", (6, 36, 36, 3), seed=3)
    write_subset(folder / "subset.parquet", [3, 0, 9])
    save_encoder(build_network(NETWORK, 1), folder / "initial.safetensors")
    return folder
