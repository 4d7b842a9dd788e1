"""One step of MoCo on the processor: DenseNet-121, 16 images of 224 pixels, from two views to new weights and
queue.

The reference is what published code does (MoCo's ``builder.py`` and ``main_moco.py``) on one device:
torchvision's network in float32 and in PyTorch's default memory format, ``torch.optim.SGD``, and a loop over
the key encoder's parameters.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from measure import Measure, best_seconds, measured_as_a_job, print_measures
from torch import Tensor, nn
from torch.nn import functional as F

from moco_transfer.config.encoders import IMAGENET_MEAN, IMAGENET_STD, Network
from moco_transfer.moco import MoCo
from moco_transfer.networks import build_network
from moco_transfer.training.loop import SGD

BATCH, SIZE, CORES = 16, 224, 2
NETWORK = Network(name="densenet121", channels=3, size=SIZE, mean=IMAGENET_MEAN, std=IMAGENET_STD)
DIM, QUEUE, MOMENTUM, TEMPERATURE, LR = 128, 24_576, 0.999, 0.2, 1e-4
WITH_BF16 = ("avx512_bf16", "amx_bf16")


def measure() -> list[Measure]:
    """Return seconds per step; for bf16 only if the processor computes in it."""
    return measured_as_a_job(__file__)


def compare() -> list[Measure]:
    """Return the measures, on ``CORES`` cores of this process."""
    torch.set_num_threads(CORES)
    torch.manual_seed(0)
    views = torch.randn(2, BATCH, 3, SIZE, SIZE).unbind()
    last = [view.contiguous(memory_format=torch.channels_last) for view in views]
    steps = {"float32": _step(last, torch.float32), "reference": _published_step(views)}
    if _computes_in_bf16():
        steps["bf16"] = _step(last, torch.bfloat16)
    else:
        print("a MoCo step in bf16: not measured, this processor has no bf16", file=sys.stderr)
    seconds = dict(zip(steps, best_seconds(*steps.values()), strict=True))
    name, reference = f"DenseNet-121, batch {BATCH}", seconds.pop("reference")
    # In bf16, oneDNN's convolutions take seven tenths of our step. If all else took no time, the ratio would be about 3.
    goals = {"float32": 1.2, "bf16": 2.2}
    return [
        Measure(f"MoCo step in {kind}, {name}", ours, reference, "s", goals[kind])
        for kind, ours in seconds.items()
    ]


def _step(views: list[Tensor], precision: torch.dtype) -> Callable[[], None]:
    network = MoCo(build_network(NETWORK, 1), DIM, QUEUE, MOMENTUM, TEMPERATURE)
    network.to(memory_format=torch.channels_last).train()
    optimizer = SGD(network.query_encoder.parameters(), 0.9, 1e-4)
    images, order = torch.arange(BATCH), torch.randperm(BATCH)

    def step() -> None:
        with torch.autocast("cpu", precision, enabled=precision is not torch.float32):
            loss = network(*views, images, order)["loss"]
        loss.backward()
        optimizer.step(LR)
        network.update_key_encoder()
        loss.item()

    return step


def _published_step(views: tuple[Tensor, ...]) -> Callable[[], None]:
    from torchvision.models import densenet121

    query_encoder = densenet121(num_classes=DIM)
    width = query_encoder.classifier.in_features
    query_encoder.classifier = nn.Sequential(nn.Linear(width, width), nn.ReLU(), query_encoder.classifier)
    key_encoder = copy.deepcopy(query_encoder).requires_grad_(False)
    queue = F.normalize(torch.randn(DIM, QUEUE), dim=0)
    optimizer = torch.optim.SGD(query_encoder.parameters(), LR, momentum=0.9, weight_decay=1e-4)
    criterion, place = nn.CrossEntropyLoss(), 0

    def step() -> None:
        nonlocal place
        q = F.normalize(query_encoder(views[0]), dim=1)
        with torch.no_grad():
            for of_query, of_key in zip(query_encoder.parameters(), key_encoder.parameters(), strict=True):
                of_key.data = of_key.data * MOMENTUM + of_query.data * (1.0 - MOMENTUM)
            k = F.normalize(key_encoder(views[1]), dim=1)
        positive = torch.einsum("nc,nc->n", q, k).unsqueeze(-1)
        negative = torch.einsum("nc,ck->nk", q, queue.clone().detach())
        logits = torch.cat([positive, negative], dim=1) / TEMPERATURE
        queue[:, place : place + BATCH] = k.T
        place = (place + BATCH) % QUEUE
        loss = criterion(logits, torch.zeros(BATCH, dtype=torch.long))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()

    return step


def _computes_in_bf16() -> bool:
    processor = Path("/proc/cpuinfo")
    return processor.exists() and any(name in processor.read_text() for name in WITH_BF16)


if __name__ == "__main__":
    print_measures(compare())
