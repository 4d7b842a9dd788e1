"""SGD and Adam by PyTorch's own update functions.

The update functions are what ``torch.optim.SGD`` and ``torch.optim.Adam`` call. The classes around them import PyTorch's
compiler when they are first made, which takes as long as importing PyTorch itself; nothing here uses it.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd


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
