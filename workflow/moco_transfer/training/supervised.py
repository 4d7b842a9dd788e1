"""The supervised loop: a network, a pool of images with targets, a loss, a number of epochs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from moco_transfer import config
from moco_transfer.augment import augment
from moco_transfer.errors import UserError
from moco_transfer.seeds import stream
from moco_transfer.training.images import ImagePool, centre_crop, normalise
from moco_transfer.training.optimizers import SGD, Adam
from moco_transfer.training.schedule import all_batches, cosine, epoch_order


def train_network(
    network: nn.Module,
    pool: ImagePool,
    targets: np.ndarray,
    *,
    loss: Callable[[Tensor, Tensor], Tensor],
    optimizer: config.Optimizer,
    epochs: int,
    augmentation: str,
    input_size: int,
    seed: int,
    stream_name: tuple[str | int, ...],
    device: torch.device,
    after_epoch: Callable[[int, float, float], None],
) -> None:
    """Train ``network`` in place for ``epochs`` passes over ``pool``, under a cosine from the first step to the last.

    Parameters
    ----------
    targets : [n, ...], one row for each image of the pool; whatever ``loss(outputs, targets)`` takes
    augmentation : 'none' or a preset of ``augment``
    stream_name : names the order of images and the augmentation
    after_epoch : called with (epoch counted from 1, mean loss, learning rate)

    Raises UserError where the loss is no longer finite.
    """
    network.to(device, memory_format=torch.channels_last)
    update = _open_optimizer(network, optimizer)
    answers = torch.from_numpy(targets).to(device)
    step, steps = 0, epochs * len(all_batches(np.arange(len(pool)), optimizer.batch))
    for epoch in range(epochs):
        network.train()
        losses = []
        for numbers in all_batches(epoch_order(len(pool), seed, *stream_name, epoch), optimizer.batch):
            images = pool.batch(numbers).to(device)
            if augmentation == "none":
                images = centre_crop(images, input_size)
            else:
                images = augment(images, augmentation, input_size, stream(seed, *stream_name, "step", step))
            rate = cosine(optimizer.lr, step, steps)
            value = loss(network(normalise(images)), answers[torch.from_numpy(numbers).to(device)])
            value.backward()
            update.step(rate)
            losses.append(value.detach())
            step += 1
        mean = torch.stack(losses).mean().item()
        if not np.isfinite(mean):
            raise UserError(
                f"the loss is {mean} in epoch {epoch + 1}; lower the learning rate ({optimizer.lr})"
            )
        after_epoch(epoch + 1, mean, rate)


def _open_optimizer(network: nn.Module, settings: config.Optimizer) -> SGD | Adam:
    if settings.name == "adam":
        return Adam(network.parameters(), settings.weight_decay)
    return SGD(network.parameters(), settings.momentum or 0, settings.weight_decay)
