"""Images for a network: rows of one or more stores as uint8 batches, and the step from uint8 to network input."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from moco_transfer.errors import UserError

# ImageNet's mean and deviation of each channel, for radiographs as well (#19).
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)

# Below this many bytes the chosen rows are read into memory once; above it each batch is read from the mapped file.
IN_MEMORY_BYTES = 2 * 2**30


class ImagePool:
    """Images of several stores, numbered 0 to len - 1 in the order given.

    Parameters
    ----------
    parts : pairs (path of images.npy, rows of it, int [m]); the stores must agree in size and number of channels.
    """

    def __init__(self, parts: Sequence[tuple[Path, np.ndarray]]) -> None:
        # Plain arrays over the maps: indexing a np.memmap costs as much again as the copy.
        stores = [np.asarray(np.load(path, mmap_mode="r")) for path, _ in parts]
        shapes = {store.shape[1:] for store in stores}
        if len(shapes) != 1:
            listed = ", ".join(
                f"{path} {store.shape[1:]}" for (path, _), store in zip(parts, stores, strict=True)
            )
            raise UserError(
                f"images of one pool must have one shape: {listed}; give the datasets the same store.size"
            )
        rows = [np.asarray(rows, dtype=np.int64) for _, rows in parts]
        self.shape = shapes.pop()
        self._offsets = np.cumsum([0, *(len(r) for r in rows)])
        if self._offsets[-1] * int(np.prod(self.shape)) <= IN_MEMORY_BYTES:
            self._images = np.concatenate([store[r] for store, r in zip(stores, rows, strict=True)])
        else:
            self._images = None
        self._stores, self._rows = stores, rows

    def __len__(self) -> int:
        return int(self._offsets[-1])

    def batch(self, numbers: np.ndarray) -> Tensor:
        """Return the images ``numbers`` (int [n]) as uint8 [n, c, h, w], c being 1 (grey) or 3 (colour)."""
        if self._images is not None:
            images = self._images[numbers]
        elif len(self._stores) == 1:
            images = self._stores[0][self._rows[0][numbers]]
        else:
            images = np.empty((len(numbers), *self.shape), dtype=np.uint8)
            part = np.searchsorted(self._offsets, numbers, side="right") - 1
            for i, (p, number) in enumerate(zip(part.tolist(), numbers.tolist(), strict=True)):
                images[i] = self._stores[p][self._rows[p][number - self._offsets[p]]]
        tensor = torch.from_numpy(images)
        return tensor.unsqueeze(1) if tensor.ndim == 3 else tensor.permute(0, 3, 1, 2)


def centre_crop(images: Tensor, size: int) -> Tensor:
    """Return the middle [n, c, size, size] of ``images`` [n, c, h, w]."""
    height, width = images.shape[2:]
    top, left = (height - size) // 2, (width - size) // 2
    return images[:, :, top : top + size, left : left + size]


def normalise(images: Tensor) -> Tensor:
    """Return network input, float32 [n, 3, h, w], of grey or colour images with values from 0 to 255."""
    # Channels last from the start: half the time of turning the result around.
    scaled = images.float().div(255).permute(0, 2, 3, 1)
    mean, deviation = (torch.tensor(values, device=images.device) for values in (MEAN, DEVIATION))
    normalised = scaled.sub(mean).div_(deviation).permute(0, 3, 1, 2)
    return normalised.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def predict(
    network: torch.nn.Module, pool: ImagePool, size: int, device: torch.device, batch: int = 256
) -> np.ndarray:
    """Return the outputs of ``network`` in evaluation mode for all images of ``pool``, float32 [n, width]."""
    network.eval()
    outputs = []
    for start in range(0, len(pool), batch):
        images = pool.batch(np.arange(start, min(start + batch, len(pool)))).to(device)
        outputs.append(network(normalise(centre_crop(images, size))).float().cpu().numpy())
    return np.concatenate(outputs)
