"""The same steps in plain PyTorch, as published code has them: torchvision's network, ``torch.optim``, autocast, channels last.

Nothing is held back: cuDNN chooses the fastest algorithms, which need not be deterministic. The images are ready on the device;
nothing is read or augmented. So what this project is slower by is the cost of its images, its augmentation, and its repeatable bytes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from moco_transfer.config import Precision
from moco_transfer.config.training import Moco
from moco_transfer.training.device import autocast

LR, CLASSES = 1e-3, 14


def moco_step(
    network: Callable[..., nn.Module],
    moco: Moco,
    batch: int,
    size: int,
    device: torch.device,
    precision: Precision,
) -> Callable[[], None]:
    """Return one step of MoCo's published code (``builder.py``, ``main_moco.py``) on one device, with its queue."""
    query_encoder = _with_head(network, moco.dim, device)
    key_encoder = copy.deepcopy(query_encoder).requires_grad_(False)
    queue, place = F.normalize(torch.randn(moco.dim, moco.queue, device=device), dim=0), 0
    optimizer = torch.optim.SGD(query_encoder.parameters(), LR, momentum=0.9, weight_decay=1e-4)
    views = [_ready(batch, size, device) for _ in range(2)]
    labels = torch.zeros(batch, dtype=torch.long, device=device)

    def step() -> None:
        nonlocal place
        with autocast(device, precision):
            q = F.normalize(query_encoder(views[0]), dim=1)
            with torch.no_grad():
                for of_query, of_key in zip(
                    query_encoder.parameters(), key_encoder.parameters(), strict=True
                ):
                    of_key.data = of_key.data * moco.momentum + of_query.data * (1.0 - moco.momentum)
                shuffled = torch.randperm(batch, device=device)
                k = F.normalize(key_encoder(views[1][shuffled]), dim=1)[torch.argsort(shuffled)]
            positive = torch.einsum("nc,nc->n", q, k).unsqueeze(-1)
            negative = torch.einsum("nc,ck->nk", q, queue.clone().detach())
            loss = F.cross_entropy(torch.cat([positive, negative], dim=1) / moco.temperature, labels)
        end = min(place + batch, moco.queue)
        queue[:, place:end] = k.T[:, : end - place].to(queue.dtype)
        place = end % moco.queue
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def end_to_end_step(
    network: Callable[..., nn.Module], batch: int, size: int, device: torch.device, precision: Precision
) -> Callable[[], None]:
    """Return one step of a classifier of several classes with Adam."""
    classifier = network(num_classes=CLASSES).to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(classifier.parameters(), LR)
    images, labels = _ready(batch, size, device), torch.zeros(batch, CLASSES, device=device)

    def step() -> None:
        with autocast(device, precision):
            loss = F.binary_cross_entropy_with_logits(classifier(images).float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def _with_head(network: Callable[..., nn.Module], dim: int, device: torch.device) -> nn.Module:
    encoder = network(num_classes=dim)
    width = encoder.classifier.in_features
    encoder.classifier = nn.Sequential(nn.Linear(width, width), nn.ReLU(), encoder.classifier)
    return encoder.to(device, memory_format=torch.channels_last).train()


def _ready(batch: int, size: int, device: torch.device) -> torch.Tensor:
    return torch.randn(batch, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
