"""Images that augmentations are tried on: smooth, noisy, and real radiographs where the machine has them."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

SIDE = 96
REAL = os.environ.get("MOCO_TRANSFER_REAL_DATA")


def batch_of(kind: str) -> Tensor:
    """Return six images, float32 [6, 1, SIDE, SIDE], values from 0 to 255; skips where real ones are not there."""
    generator = torch.Generator().manual_seed(0)
    if kind == "noisy":
        return torch.rand(6, 1, SIDE, SIDE, generator=generator) * 255
    if kind == "smooth":
        coarse = torch.rand(6, 1, 8, 8, generator=generator) * 255
        return torch.nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic").clamp(0, 255)
    if REAL is None:
        pytest.skip("MOCO_TRANSFER_REAL_DATA names no folder with NIH ChestX-ray14")
    radiographs = [Image.open(path).convert("L") for path in sorted(Path(REAL).rglob("*.png"))[:6]]
    small = [np.asarray(each.resize((SIDE, SIDE), Image.Resampling.BOX), np.float32) for each in radiographs]
    return torch.from_numpy(np.stack(small)[:, None])
