"""Any classification model of torchvision as a backbone: without its last layer, under torchvision's names.

Two things are changed, because a training draws all its random numbers from named streams and gives the same
bytes every time. Dropout and stochastic depth are off, so that two views differ only by their augmentation in
MoCo. Average pooling to more than one cell (AlexNet, VGG) is computed as two matrix products, because its
gradient on GPUs is not deterministic.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from moco_transfer.config.networks import unknown_network
from moco_transfer.errors import UserError

# The published weights of these networks expect values from -1 to 1; `transform_input` computes them from
# ImageNet's normalisation. The auxiliary classifiers serve only training from scratch, and they change the
# kind of output.
INCEPTIONS = ("googlenet", "inception_v3")
INCEPTION_ARGUMENTS = {"transform_input": True, "aux_logits": False, "init_weights": True}
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")


class AdaptiveAveragePool(nn.AdaptiveAvgPool2d):
    """``nn.AdaptiveAvgPool2d`` by matrix products, [n, c, h, w] to [n, c, *output_size]."""

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = (
            _averaging(before, after).to(x)
            for before, after in zip(x.shape[2:], self.output_size, strict=True)
        )
        return rows @ x @ columns.T


def _averaging(before: int, after: int) -> Tensor:
    """Return the matrix [after, before] that averages the cells from floor(i b / a) to ceil((i + 1) b / a)."""
    matrix = torch.zeros(after, before)
    for i in range(after):
        start, end = i * before // after, -(-(i + 1) * before // after)
        matrix[i, start:end] = 1 / (end - start)
    return matrix


def build_torchvision(name: str, input_size: int | None) -> nn.Module:
    """Return the backbone ``name`` for images of side ``input_size``, with torchvision's random weights.

    If ``input_size`` is None, it is the size that the published weights are for. The weights are drawn from
    PyTorch's global state. Raises UserError if torchvision does not have the name, or if the network cannot
    take images of that size.
    """
    # Imported here, because the import takes seconds and the DenseNets do not need it.
    from torchvision import models

    if name not in models.list_models(module=models):
        raise UserError(f"config: model.name is '{name}', {unknown_network(name)}")
    try:
        network = models.get_model(name, weights=None, **_arguments(name, input_size))
        _cut_classifier(network)
        _make_deterministic(network)
        if input_size is not None:
            _run_blank(network, input_size)
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0][:200]
        raise UserError(
            f"config: model.input_size is {input_size}, which {name} cannot take ({reason}); most networks take 224"
        ) from None
    return network


def _arguments(name: str, input_size: int | None) -> dict[str, Any]:
    """Return what the constructor needs beyond its defaults: two families fix the size of their input."""
    if name in INCEPTIONS:
        return INCEPTION_ARGUMENTS
    if input_size is not None and name.startswith("vit_"):
        return {"image_size": input_size}
    if input_size is not None and name.startswith("maxvit_"):
        return {"input_size": (input_size, input_size)}
    return {}


def _cut_classifier(network: nn.Module) -> None:
    """Replace the last linear layer (SqueezeNet: convolution) by the identity; set `width` and `left_out`."""
    path, layer = [
        (path, module)
        for path, module in network.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    ][-1]
    network.set_submodule(path, nn.Identity())
    network.width = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
    network.left_out = (f"{path}.", *AUXILIARY)


def _make_deterministic(network: nn.Module) -> None:
    from torchvision.ops import StochasticDepth

    for module in network.modules():
        if isinstance(module, nn.Dropout | StochasticDepth):
            module.p = 0.0
        elif isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size not in (1, (1, 1)):
            module.__class__ = AdaptiveAveragePool


@torch.no_grad()
def _run_blank(network: nn.Module, input_size: int) -> None:
    """Pass one blank image, so that a size that is too small is found before the training, not during it."""
    network.eval()
    network(torch.zeros(1, 3, input_size, input_size))
    network.train()
