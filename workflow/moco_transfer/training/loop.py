"""SGD and Adam by PyTorch's own update functions.

The update functions are what ``torch.optim.SGD`` and ``torch.optim.Adam`` call. The classes around them import PyTorch's
compiler when they are first made, which takes as long as importing PyTorch itself; nothing here uses it.


The supervised loop: a network, a pool of images with targets, a loss, a number of epochs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from moco_transfer import config
from moco_transfer.augment import augment
from moco_transfer.config.augmentation import operations_of
from moco_transfer.errors import UserError
from moco_transfer.seeds import stream
from moco_transfer.training.device import Precision, autocast
from moco_transfer.training.images import ImagePool, centre_crop, normalise
from moco_transfer.training.schedule import all_batches, cosine, epoch_order


class SGD:
    """Stochastic gradient descent with momentum and weight decay (the first step's buffer is its gradient)."""

    def __init__(self, parameters: Iterable[Tensor], momentum: float, weight_decay: float) -> None:
        self.parameters = list(parameters)
        self.momentum, self.weight_decay = momentum, weight_decay
        self.buffers: list[Tensor | None] = [None] * len(self.parameters)

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Move the parameters along their gradients, which are then forgotten."""
        sgd(
            self.parameters,
            [parameter.grad for parameter in self.parameters],
            self.buffers,
            lr=lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )
        _forget_gradients(self.parameters)

    def state(self) -> dict[str, list[Tensor | None]]:
        """Return what the next step depends on, beside the parameters."""
        return {"buffers": list(self.buffers)}

    def load_state(self, state: dict[str, list[Tensor | None]]) -> None:
        """Go on from what ``state`` returned."""
        self.buffers = [
            None if buffer is None else buffer.to(parameter.device)
            for buffer, parameter in zip(state["buffers"], self.parameters, strict=True)
        ]


class Adam:
    """Adam (Kingma and Ba 2015) with PyTorch's defaults: betas 0.9 and 0.999, epsilon 1e-8; decay into the gradient."""

    def __init__(self, parameters: Iterable[Tensor], weight_decay: float) -> None:
        self.parameters = list(parameters)
        self.weight_decay = weight_decay
        self.means = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.squares = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.steps = [torch.tensor(0.0) for _ in self.parameters]

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Move the parameters along their gradients, which are then forgotten."""
        adam(
            self.parameters,
            [parameter.grad for parameter in self.parameters],
            self.means,
            self.squares,
            [],
            self.steps,
            lr=lr,
            weight_decay=self.weight_decay,
            beta1=0.9,
            beta2=0.999,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )
        _forget_gradients(self.parameters)

    def state(self) -> dict[str, list[Tensor]]:
        """Return what the next step depends on, beside the parameters."""
        return {"means": self.means, "squares": self.squares, "steps": self.steps}

    def load_state(self, state: dict[str, list[Tensor]]) -> None:
        """Go on from what ``state`` returned."""
        for name, own in (("means", self.means), ("squares", self.squares), ("steps", self.steps)):
            for tensor, saved in zip(own, state[name], strict=True):
                tensor.copy_(saved)


def _forget_gradients(parameters: list[Tensor]) -> None:
    for parameter in parameters:
        parameter.grad = None


def train_network(
    network: nn.Module,
    pool: ImagePool,
    targets: np.ndarray,
    *,
    loss: Callable[[Tensor, Tensor], Tensor],
    optimizer: config.Optimizer,
    epochs: int,
    augmentation: str | list[dict[str, Any]],
    input_size: int,
    precision: Precision,
    compiled: bool,
    seed: int,
    stream_name: tuple[str | int, ...],
    device: torch.device,
    seen: Callable[[int], None],
    after_epoch: Callable[[int, float, float], None],
    after_step: Callable[[Callable[[], dict[str, Any]]], None],
    saved: dict[str, Any] | None,
) -> None:
    """Train ``network`` in place for ``epochs`` passes over ``pool``, under a cosine from the first step to the last.

    Parameters
    ----------
    targets : [n, ...], one row for each image of the pool; whatever ``loss(outputs, targets)`` takes
    augmentation : 'none' or a preset of ``augment``
    compiled : whether torch.compile compiles the network for its steps
    stream_name : names the order of images and the augmentation
    seen : called after each step with the number of its images
    after_epoch : called with (epoch counted from 1, mean loss, learning rate)
    after_step : called with a function that returns the state of the training; at the end of an epoch after
        ``after_epoch``
    saved : such a state to go on from, or None

    Raises UserError with the step where the loss is no longer finite, and never gives ``after_step`` such a state.
    """
    network.to(device, memory_format=torch.channels_last)
    # Another module round the same weights: what ``after_epoch`` predicts with stays as it is.
    forward = torch.compile(network) if compiled else network
    update = _open_optimizer(network, optimizer)
    answers = torch.from_numpy(targets).to(device)
    operations = None if augmentation == "none" else operations_of(augmentation)
    epoch_steps = len(all_batches(np.arange(len(pool)), optimizer.batch))
    step, steps = 0, epochs * epoch_steps
    losses = torch.zeros(epoch_steps, device=device)
    if saved is not None:
        network.load_state_dict(saved["network"])
        update.load_state(saved["optimizer"])
        losses.copy_(saved["losses"])
        step = saved["step"]

    def state() -> dict[str, Any]:
        _refuse_nonfinite(losses, epoch * epoch_steps, optimizer.lr)
        return {
            "network": network.state_dict(),
            "optimizer": update.state(),
            "step": step,
            "losses": losses,
        }

    for epoch in range(step // epoch_steps, epochs):
        network.train()
        batches = all_batches(epoch_order(len(pool), seed, *stream_name, epoch), optimizer.batch)
        for numbers, images in pool.batches(batches[step % epoch_steps :], device):
            if operations is None:
                images = centre_crop(images, input_size)
            else:
                images = augment(images, operations, input_size, stream(seed, *stream_name, "step", step))
            rate = cosine(optimizer.lr, step, steps)
            with autocast(device, precision):
                outputs = forward(normalise(images))
            value = loss(outputs.float(), answers[torch.from_numpy(numbers).to(device)])
            value.backward()
            update.step(rate)
            losses[step % epoch_steps] = value.detach()
            seen(len(numbers))
            step += 1
            if step % epoch_steps == 0:
                _refuse_nonfinite(losses, epoch * epoch_steps, optimizer.lr)
                after_epoch(epoch + 1, losses.mean().item(), rate)
            after_step(state)


def _refuse_nonfinite(losses: Tensor, first: int, lr: float) -> None:
    """Raise UserError where one of ``losses``, of the steps from ``first`` on, is not finite."""
    for place in (~losses.isfinite()).nonzero().flatten().tolist():
        raise UserError(
            f"the loss is {losses[place].item()} at step {first + place}; lower the learning rate ({lr})"
        )


def _open_optimizer(network: nn.Module, settings: config.Optimizer) -> SGD | Adam:
    if settings.name == "adam":
        return Adam(network.parameters(), settings.weight_decay)
    return SGD(network.parameters(), settings.momentum or 0, settings.weight_decay)
