"""Supervised training: the optimisers, and a loop that can stop after any step and resume there.

The loop is a generator: its caller logs, predicts and saves between the steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from moco_transfer.augment import augment
from moco_transfer.config.augmentation import Operation
from moco_transfer.config.stages import Computing
from moco_transfer.config.training import Optimizer
from moco_transfer.errors import UserError
from moco_transfer.seeds import stream
from moco_transfer.training.device import autocast
from moco_transfer.training.images import ImagePool, View
from moco_transfer.training.schedule import all_batches, cosine, epoch_order


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes
    ----------
    section : where the configuration sets the batch and the learning rate, for messages
    operations : the augmentation; an empty list means a centre crop
    view : how images become network input
    stream : first parts of the names of the streams for the order of images and the augmentation
    """

    optimizer: Optimizer
    section: str
    epochs: int
    operations: Sequence[Operation]
    view: View
    computing: Computing
    seed: int
    stream: tuple[str | int, ...]


class Step(NamedTuple):
    """One optimiser step; the last step of an epoch also has the epoch's number, counted from 1, and mean loss."""

    images: int
    lr: float
    epoch: int | None = None
    loss: float | None = None


class SupervisedTraining:
    """Trains ``network`` in place on the images of ``pool``, with one cosine from the first step to the last.

    Parameters
    ----------
    targets : [n, ...], one row per image of the pool; whatever ``loss(outputs, targets)`` takes

    Raises UserError if there are no images, or if a step has only one and the network has batch normalisation.
    """

    def __init__(
        self,
        network: nn.Module,
        pool: ImagePool,
        targets: np.ndarray,
        loss: Callable[[Tensor, Tensor], Tensor],
        recipe: Recipe,
        device: torch.device,
    ) -> None:
        self.network, self.pool, self.loss, self.recipe = network, pool, loss, recipe
        self.device = device
        network.to(device, memory_format=torch.channels_last)
        # Compilation returns a second module with the same weights, so predictions use the plain network.
        self._forward = torch.compile(network) if recipe.computing.compile else network
        settings = recipe.optimizer
        if settings.name == "adam":
            self._optimizer = Adam(network.parameters(), settings.weight_decay)
        else:
            self._optimizer = SGD(network.parameters(), settings.momentum or 0, settings.weight_decay)
        self._targets = torch.from_numpy(targets).to(device)
        steps = all_batches(np.arange(len(pool)), recipe.optimizer.batch)
        fewest = min(map(len, steps), default=0)
        if fewest < (2 if any(isinstance(module, _BatchNorm) for module in network.modules()) else 1):
            cure = f"raise {recipe.section}.batch" if len(pool) > 1 else "raise the percentage, or add images"
            raise UserError(
                f"batch normalisation needs at least two images in each step, and here a step has {fewest} "
                f"(images in all: {len(pool)}); {cure}"
            )
        self._epoch_steps = len(steps)
        self._losses = torch.zeros(self._epoch_steps, device=device)  # of each step of the epoch
        self._step = 0

    def state(self) -> dict[str, Any]:
        """Return what the next step depends on; raises UserError if a loss of this epoch is not finite."""
        self._refuse_nonfinite((self._step - 1) // self._epoch_steps * self._epoch_steps)
        return {
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state(),
            "step": self._step,
            "losses": self._losses,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Resume from what ``state`` returned."""
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state(state["optimizer"])
        self._losses.copy_(state["losses"])
        self._step = state["step"]

    def steps(self) -> Iterator[Step]:
        """Yield after each remaining step; raises UserError with the step if a loss is not finite."""
        recipe, names = self.recipe, (self.recipe.seed, *self.recipe.stream)
        for epoch in range(self._step // self._epoch_steps, recipe.epochs):
            self.network.train()
            batches = all_batches(epoch_order(len(self.pool), *names, epoch), recipe.optimizer.batch)
            for numbers, images in self.pool.batches(batches[self._step % self._epoch_steps :], self.device):
                lr = cosine(recipe.optimizer.lr, self._step, recipe.epochs * self._epoch_steps)
                if recipe.operations:
                    random = stream(*names, "step", self._step)
                    views = recipe.view.prepare(augment(images, recipe.operations, recipe.view.crop, random))
                else:
                    views = recipe.view.of(images)
                with autocast(self.device, recipe.computing.precision):
                    outputs = self._forward(views)
                targets = self._targets[torch.from_numpy(numbers).to(self.device)]
                loss = self.loss(outputs.float(), targets)
                loss.backward()
                self._optimizer.step(lr)
                self._losses[self._step % self._epoch_steps] = loss.detach()
                self._step += 1
                if self._step % self._epoch_steps:
                    yield Step(len(numbers), lr)
                else:
                    self._refuse_nonfinite(epoch * self._epoch_steps)
                    yield Step(len(numbers), lr, epoch + 1, self._losses.mean().item())

    def _refuse_nonfinite(self, first: int) -> None:
        refuse_nonfinite(self._losses, first, f"{self.recipe.section}.lr ({self.recipe.optimizer.lr})")


def refuse_nonfinite(losses: Tensor, first: int, to_lower: str) -> None:
    """Raise UserError if one of ``losses``, whose first is of step ``first``, is not finite."""
    for place in (~losses.isfinite()).nonzero().flatten().tolist():
        raise UserError(f"the loss is {losses[place].item()} at step {first + place}; lower {to_lower}")


class SGD:
    """Stochastic gradient descent with momentum and weight decay, by the function that ``torch.optim.SGD`` calls.

    PyTorch's own class imports its compiler when it is first used, which takes seconds; nothing here needs the compiler.
    """

    def __init__(self, parameters: Iterable[Tensor], momentum: float, weight_decay: float) -> None:
        self.parameters = list(parameters)
        self.momentum, self.weight_decay = momentum, weight_decay
        self.buffers: list[Tensor | None] = [None] * len(self.parameters)

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Move the parameters along their gradients, and clear the gradients."""
        sgd(
            self.parameters,
            _take_gradients(self.parameters),
            self.buffers,
            lr=lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )

    def state(self) -> dict[str, list[Tensor | None]]:
        """Return what the next step depends on, besides the parameters."""
        return {"buffers": list(self.buffers)}

    def load_state(self, state: dict[str, list[Tensor | None]]) -> None:
        """Resume from what ``state`` returned."""
        self.buffers = [
            None if buffer is None else buffer.to(parameter.device)
            for buffer, parameter in zip(state["buffers"], self.parameters, strict=True)
        ]


class Adam:
    """Adam (Kingma and Ba 2015) with PyTorch's defaults: betas 0.9 and 0.999, epsilon 1e-8, decay added to the gradient."""

    def __init__(self, parameters: Iterable[Tensor], weight_decay: float) -> None:
        self.parameters = list(parameters)
        self.weight_decay = weight_decay
        self.means = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.squares = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.steps = [torch.tensor(0.0) for _ in self.parameters]

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Move the parameters along their gradients, and clear the gradients."""
        adam(
            self.parameters,
            _take_gradients(self.parameters),
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

    def state(self) -> dict[str, list[Tensor]]:
        """Return what the next step depends on, besides the parameters."""
        return {"means": self.means, "squares": self.squares, "steps": self.steps}

    def load_state(self, state: dict[str, list[Tensor]]) -> None:
        """Resume from what ``state`` returned."""
        for name, tensors in self.state().items():
            for tensor, saved in zip(tensors, state[name], strict=True):
                tensor.copy_(saved)


def _take_gradients(parameters: list[Tensor]) -> list[Tensor]:
    """Return the gradients of ``parameters``, which lose them."""
    gradients = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    return gradients
