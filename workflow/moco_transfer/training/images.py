"""Images for a network: rows of one or more stores as uint8 batches on its device, and their conversion to network input.

The images of a pool stay in GPU memory if they fit. Otherwise a thread reads the next batches while the network computes.
Only the speed depends on this.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from moco_transfer.config.encoders import Network
from moco_transfer.files import map_array
from moco_transfer.intensities import luminance

# A pool up to this many bytes is read into memory once; the batches of a larger one are read from the mapped files.
IN_MEMORY_BYTES = 2 * 2**30

# Batches that a thread reads ahead of the network.
AHEAD = 2
UPLOADED_AT_ONCE = 1024

Delivery = Literal["resident", "pinned", "ahead", "plain"]


class ImagePool:
    """Images of several stores, numbered from 0 in the given order.

    If one of the stores has colour images, all images get three channels: grey is repeated.

    Parameters
    ----------
    parts : pairs (path of images.npy, rows of it, int [m]); the stores must agree in size
    """

    def __init__(self, parts: Sequence[tuple[Path, np.ndarray]]) -> None:
        # Plain arrays over the maps, because indexing an np.memmap takes twice as long.
        stores = [np.asarray(map_array(path)) for path, _ in parts]
        rows = [np.asarray(rows, dtype=np.int64) for _, rows in parts]
        self.shape = max((store.shape[1:] for store in stores), key=len)
        self._offsets = np.cumsum([0, *(len(r) for r in rows)])
        if self._offsets[-1] * int(np.prod(self.shape)) <= IN_MEMORY_BYTES:
            stores = [np.concatenate([self._shaped(s[r]) for s, r in zip(stores, rows, strict=True)])]
            rows = [np.arange(len(self))]
        self._stores, self._rows = stores, rows
        self._delivered: dict[torch.device, tuple[Delivery, Tensor | None]] = {}

    def __len__(self) -> int:
        return int(self._offsets[-1])

    def batch(self, numbers: np.ndarray) -> Tensor:
        """Return the images ``numbers`` (int [n]) as uint8 [n, c, h, w], c being 1 (grey) or 3 (colour)."""
        return channels_first(self._read(numbers))

    def batches(
        self, batches: Sequence[np.ndarray], device: torch.device
    ) -> Iterator[tuple[np.ndarray, Tensor]]:
        """Yield each of ``batches`` (int [n]) with its images on ``device``, the images that ``batch`` returns.

        The first call decides how they get there (``delivery``). A thread that reads ahead ends with the iterator.
        """
        if not batches:
            return
        if device not in self._delivered:
            free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
            way = delivery(len(self) * int(np.prod(self.shape)), device.type, free)
            self._delivered[device] = way, self._upload(device) if way == "resident" else None
        way, resident = self._delivered[device]
        if resident is not None:
            # One copy for all numbers, because a copy in every step would wait for the previous step.
            parts = torch.from_numpy(np.concatenate(batches)).to(device).split([len(b) for b in batches])
            images = (resident.index_select(0, numbers) for numbers in parts)
        elif way == "plain":
            images = (self._read(numbers) for numbers in batches)
        else:
            images = read_ahead(self._read, batches, pin=way == "pinned")
        for numbers, found in zip(batches, images, strict=True):
            # From pinned memory, this copy runs in the background; PyTorch keeps the memory until it is done.
            yield numbers, channels_first(found.to(device, non_blocking=True))

    def _read(self, numbers: np.ndarray) -> Tensor:
        """Return the images ``numbers`` as they are stored, uint8 [n, h, w] or [n, h, w, 3]."""
        if len(self._stores) == 1:
            return torch.from_numpy(self._stores[0][self._rows[0][numbers]])
        images = np.empty((len(numbers), *self.shape), dtype=np.uint8)
        parts = np.searchsorted(self._offsets, numbers, side="right") - 1
        for part, (store, rows) in enumerate(zip(self._stores, self._rows, strict=True)):
            chosen = parts == part
            images[chosen] = self._shaped(store[rows[numbers[chosen] - self._offsets[part]]])
        return torch.from_numpy(images)

    def _shaped(self, images: np.ndarray) -> np.ndarray:
        """Return ``images`` of one store in the shape of all; grey is repeated without a copy."""
        if images.ndim - 1 == len(self.shape):
            return images
        return np.broadcast_to(images[..., None], (len(images), *self.shape))

    def _upload(self, device: torch.device) -> Tensor:
        """Return all images as they are stored, on ``device``."""
        images = torch.empty((len(self), *self.shape), dtype=torch.uint8, device=device)
        for start in range(0, len(self), UPLOADED_AT_ONCE):
            numbers = np.arange(start, min(start + UPLOADED_AT_ONCE, len(self)))
            images[start : start + len(numbers)] = self._read(numbers).to(device)
        return images


def delivery(size: int, device: str, free: int) -> Delivery:
    """Return how a pool of ``size`` bytes gets to a device of type ``device``, which for a GPU has ``free`` bytes of memory.

    - resident: the GPU holds all images, which take at most half of its free memory.
    - pinned: a thread reads ahead into page-locked memory, from which the GPU copies in the background.
    - ahead: a thread reads ahead from mapped files.
    - plain: batches are read in turn from memory, because a copy within memory costs less than a thread.
    """
    if device == "cuda":
        return "resident" if size <= free // 2 else "pinned"
    return "plain" if size <= IN_MEMORY_BYTES else "ahead"


def read_ahead(
    read: Callable[[np.ndarray], Tensor], batches: Sequence[np.ndarray], pin: bool
) -> Iterator[Tensor]:
    """Yield ``read(batch)`` for each batch in order, read by one thread that is ``AHEAD`` batches ahead.

    ``pin`` puts them into page-locked memory. An error in ``read`` is raised when its batch is due. Closing the iterator
    waits for the batch that is being read; no other is read after it.
    """

    def fetch(batch: np.ndarray) -> Tensor:
        images = read(batch)
        return images.pin_memory() if pin else images

    reader = ThreadPoolExecutor(1, thread_name_prefix="read_ahead")
    try:
        waiting = deque(reader.submit(fetch, batch) for batch in batches[:AHEAD])
        for number in range(len(batches)):
            images = waiting.popleft().result()
            if number + AHEAD < len(batches):
                waiting.append(reader.submit(fetch, batches[number + AHEAD]))
            yield images
    finally:
        reader.shutdown(cancel_futures=True)


def channels_first(images: Tensor) -> Tensor:
    """Return stored ``images``, [n, h, w] or [n, h, w, 3], as [n, c, h, w]."""
    return images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)


def centre_crop(images: Tensor, size: int) -> Tensor:
    """Return the middle [n, c, size, size] of ``images`` [n, c, h, w]."""
    height, width = images.shape[2:]
    top, left = (height - size) // 2, (width - size) // 2
    return images[:, :, top : top + size, left : left + size]


@dataclass(frozen=True)
class View:
    """How images become the input of a network: the middle of ``crop`` pixels, in the network's size, channels and scale."""

    crop: int
    network: Network

    def of(self, images: Tensor) -> Tensor:
        """Return network input of stored ``images``, uint8 [n, c, h, w]: that of their middle."""
        return self.prepare(centre_crop(images, self.crop))

    def prepare(self, views: Tensor) -> Tensor:
        """Return network input, float32 [n, channels, size, size], of grey or colour ``views`` with values from 0 to 255."""
        size, channels = self.network.size, self.network.channels
        if channels == 1 and views.shape[1] == 3:
            views = luminance(views)
        if views.shape[2:] != (size, size):
            views = F.interpolate(
                views.float(), (size, size), mode="bilinear", align_corners=False, antialias=True
            )
        n, _, height, width = views.shape
        # With channels last, one operation in place on rows of all channels takes a third of the time of broadcasting.
        scaled = torch.empty(n, height, width, channels, device=views.device)
        scaled.copy_(views.permute(0, 2, 3, 1))
        mean, deviation = (
            values.repeat(width)
            for values in _on_device(tuple(self.network.mean), tuple(self.network.std), views.device)
        )
        rows = scaled.view(n, height, channels * width)
        torch.addcmul(-mean / deviation, rows, 1 / (255 * deviation), out=rows)
        return scaled.permute(0, 3, 1, 2)


@cache
def _on_device(
    mean: tuple[float, ...], deviation: tuple[float, ...], device: torch.device
) -> tuple[Tensor, Tensor]:
    # Cached, because a copy to a GPU waits for all its earlier work.
    return torch.tensor(mean, device=device), torch.tensor(deviation, device=device)


@torch.no_grad()
def predict(
    network: torch.nn.Module, pool: ImagePool, view: View, device: torch.device, batch: int = 256
) -> np.ndarray:
    """Return the outputs of ``network`` in evaluation mode for all images of ``pool``, float32 [n, width]."""
    network.eval()
    outputs = []
    numbers = np.array_split(np.arange(len(pool)), range(batch, len(pool), batch))
    for _, images in pool.batches(numbers, device):
        outputs.append(network(view.of(images)).float().cpu().numpy())
    return np.concatenate(outputs)
