"""Where a network runs, and how PyTorch is told to give the same bytes every time."""

from __future__ import annotations

import os

import torch

from moco_transfer.errors import UserError


def open_device(name: str) -> torch.device:
    """Return the device ``name`` ('cpu' or 'cuda'), and on a GPU switch PyTorch to deterministic algorithms.

    On the processor what is used here is deterministic as it is, and the switch costs an import of several seconds.
    Raises UserError where a GPU is asked for and none is there: a slow run on the processor would look like a hang.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "config: device is 'cuda' and PyTorch finds no GPU here; check nvidia-smi, or set device: cpu "
            "(snakemake --config device=cpu)"
        )
    if name == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    return torch.device(name)
