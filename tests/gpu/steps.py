"""One training step on the device and on the CPU, from the same views and weights.

What is compared: the loss, all gradients and all weights' changes of a step of MoCo and of one end to end, as errors against
float64 on the CPU, relative to the norm. The limits follow from the errors that the CPU itself makes: float32 without TF32 may
be five times as wrong as float32 on the CPU (sums in another order), TF32 half as wrong as bfloat16 on the CPU (it has three
bits more), and bfloat16 twice as wrong. No limit reaches 1, the error of a gradient that is zero. Two steps on the device must be
equal to the last bit. Augmented views are compared in grey levels.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from record import Part, Record
from scale import Files, Scale, moco_settings, paper, scale_of
from torch import Tensor, nn

from moco_transfer import moco
from moco_transfer.augment import draw_view
from moco_transfer.config import Precision
from moco_transfer.config.augmentation import operations_of
from moco_transfer.finetune.end_to_end import masked_bce
from moco_transfer.model import Classifier
from moco_transfer.networks import build_network, seeded
from moco_transfer.seeds import stream
from moco_transfer.training.device import autocast, open_device
from moco_transfer.training.images import ImagePool, View
from moco_transfer.training.loop import SGD, Adam

BATCH, CLASSES, QUEUE, SEED = 16, 14, 64, 1
CPU = torch.device("cpu")
GREY_LEVELS = 0.5  # of 255
LARGEST = 0.9


class Way(NamedTuple):
    """How a step is computed."""

    device: torch.device
    dtype: torch.dtype = torch.float32
    precision: Precision = "float32"
    tf32: bool = True


def run(part: Part, record: Record, work: Path, device: str) -> None:
    """Compare the device with the CPU."""
    scale, pool = scale_of(device), ImagePool([(Files(work).images, np.arange(BATCH))])
    where = open_device(device)
    images = pool.batch(np.arange(BATCH))
    _compare_views(part, images, scale, where)
    view = View(scale.checked, scale.encoder(scale.checked))
    for kind, step in (("MoCo", _moco_step), ("end to end", _end_to_end_step)):
        exact = step(scale, images, view, Way(CPU, torch.float64))
        own = {
            name: _errors(step(scale, images, view, Way(CPU, precision=name)), exact)
            for name in ("float32", "bfloat16")
        }
        # The last number is an error that is allowed even if the CPU's own is smaller by chance.
        for name, way, reference, times, always in (
            ("float32 without TF32", Way(where, tf32=False), "float32", 5, 1e-5),
            ("float32", Way(where), "bfloat16", 0.5, 2e-3),
            ("bfloat16", Way(where, precision="bfloat16"), "bfloat16", 2, 2e-2),
        ):
            found = step(scale, images, view, way)
            for what, error in _errors(found, exact).items():
                part.check(
                    f"{kind}, {name}: {what}", error, min(LARGEST, max(times * own[reference][what], always))
                )
        again = step(scale, images, view, way)
        unequal = sum(not torch.equal(found[what], again[what]) for what in found)
        part.check(f"{kind}, {name}: arrays that differ between two equal steps", unequal, 0)


def _compare_views(part: Part, images: Tensor, scale: Scale, device: torch.device) -> None:
    for name in ("moco_cxr", "moco_v2", "chexclusion"):
        drawn = draw_view(operations_of(name), images.shape, scale.checked, stream(SEED, "views", name))
        difference = (drawn.of(images.to(device)).cpu() - drawn.of(images)).abs().max().item()
        part.check(f"augmentation {name}: grey levels of 255", difference, GREY_LEVELS)


def _moco_step(scale: Scale, images: Tensor, view: View, way: Way) -> dict[str, Tensor]:
    settings = moco_settings(scale, BATCH, way.precision, crop=scale.checked)
    operations = operations_of(settings.moco.augment)
    drawn = [
        draw_view(operations, images.shape, scale.checked, stream(SEED, name)) for name in ("query", "key")
    ]
    views = [_sent(view.prepare(each.of(images)), way) for each in drawn]
    with seeded(SEED):
        network = moco.MoCo(
            build_network(view.network, SEED),
            settings.moco.dim,
            QUEUE,
            settings.moco.momentum,
            settings.moco.temperature,
            settings.schedule.bn_groups,
        )
    network.to(way.device, way.dtype, memory_format=torch.channels_last).train()
    numbers = torch.arange(BATCH, device=way.device)
    optimizer = SGD(
        network.query_encoder.parameters(), settings.moco.sgd_momentum, settings.moco.weight_decay
    )

    def loss() -> Tensor:
        return network(*views, numbers, numbers.flip(0))["loss"]

    found = _step(network.query_encoder, loss, optimizer, settings.schedule.lr, way)
    return found | {"queue": _flat([network.queue])}


def _end_to_end_step(scale: Scale, images: Tensor, view: View, way: Way) -> dict[str, Tensor]:
    with seeded(SEED):
        network = Classifier(build_network(view.network, SEED), CLASSES)
    network.to(way.device, way.dtype, memory_format=torch.channels_last).train()
    settings = paper().finetune.optimizer("chest")
    views = _sent(view.of(images), way)
    labels = _sent(
        torch.from_numpy(stream(SEED, "labels").integers(0, 2, (BATCH, CLASSES)).astype(np.float32)), way
    )

    def loss() -> Tensor:
        outputs = network(views)
        return masked_bce(outputs if way.dtype == torch.float64 else outputs.float(), labels)

    return _step(network, loss, Adam(network.parameters(), settings.weight_decay), settings.lr, way)


def _sent(tensor: Tensor, way: Way) -> Tensor:
    return tensor.to(way.device, way.dtype)


def _step(network: nn.Module, loss, optimizer: SGD | Adam, lr: float, way: Way) -> dict[str, Tensor]:
    """Return the loss, the gradients and the changes of the weights of one step, each as a vector in float64 on the CPU."""
    before = _flat(network.parameters())
    tf32, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, way.tf32
    with autocast(way.device, way.precision):
        value = loss()
    value.backward()
    torch.backends.cudnn.allow_tf32 = tf32
    gradients = _flat(parameter.grad for parameter in network.parameters())
    optimizer.step(lr)
    return {
        "loss": _flat([value]),
        "gradients": gradients,
        "change of weights": _flat(network.parameters()) - before,
    }


def _flat(tensors) -> Tensor:
    return torch.cat([tensor.detach().double().cpu().flatten() for tensor in tensors])


def _errors(found: dict[str, Tensor], exact: dict[str, Tensor]) -> dict[str, float]:
    """Return the relative error of each array of ``found``."""
    return {
        what: ((values - exact[what]).norm() / exact[what].norm()).item() for what, values in found.items()
    }
