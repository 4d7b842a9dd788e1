"""Taps: the named layers of a network whose outputs are compared to measure the similarity of datasets.

A tap is the path of a module, as ``named_modules`` gives it. The configuration may choose them. Otherwise a
DenseNet has those of figure 3, and other networks have the corresponding layers: the first convolution, and
the last block at each resolution.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from moco_transfer.errors import UserError
from moco_transfer.networks import TAPS, DenseNet


def choose_taps(network: nn.Module, configured: Mapping[str, str] | None, size: int) -> dict[str, str]:
    """Return the taps of ``network`` for images of ``size`` pixels, name to path, in the figures' order.

    If ``configured`` is None, these are the default taps. Raises UserError for a path that does not exist,
    with the paths nearest to it.
    """
    if configured is None:
        return _default_taps(network, size)
    paths = [path for path, _ in network.named_modules() if path]
    for tap, path in configured.items():
        if path not in paths:
            near = ", ".join(difflib.get_close_matches(path, paths, n=3, cutoff=0.4))
            hint = f"near it are {near}" if near else f"there are {', '.join(paths[:5])}, ..."
            raise UserError(
                f"config: model.taps.{tap} is '{path}', a layer that the network does not have; {hint}; "
                "model.taps: null uses the usual layers"
            )
    return dict(configured)


def channel_means(output: Tensor, channels_last: bool = False) -> Tensor:
    """Return the means over positions, [n, channels], of a layer's output for square images.

    Accepts [n, channels], [n, tokens, channels], and maps [n, channels, side, side] or [n, side, side,
    channels], which are told apart by which two lengths are equal. If all three are equal, ``channels_last``
    decides.
    """
    if output.ndim == 4:
        return output.mean(dim=(1, 2) if _ends_in_channels(output, channels_last) else (2, 3))
    return output.mean(dim=1) if output.ndim == 3 else output


def has_channels_last(network: nn.Module) -> bool:
    """Return whether the maps of ``network`` end in channels, as those of torchvision's Swin transformers do."""
    return type(network).__name__ == "SwinTransformer"


def _ends_in_channels(output: Tensor, channels_last: bool) -> bool:
    _, first, second, third = output.shape
    if first == second == third:
        return channels_last
    return first == second


def _default_taps(network: nn.Module, size: int) -> dict[str, str]:
    if isinstance(network, DenseNet):
        return dict(TAPS)
    convolution = next(path for path, module in network.named_modules() if isinstance(module, nn.Conv2d))
    if type(network).__name__ == "VisionTransformer":
        # All its blocks have the same resolution, so the taps are the blocks at each quarter of its depth.
        blocks = [f"encoder.layers.{name}" for name, _ in network.encoder.layers.named_children()]
        ends = [len(blocks) * quarter // 4 for quarter in (1, 2, 3, 4)]
        return {convolution: convolution, **{f"block{end}": blocks[end - 1] for end in ends}}
    sides = _map_sides(network, size)
    classifier = network.left_out[0].split(".")[0]
    stages = [
        path
        for path in _stages("", network, sides)
        if not path.startswith(classifier)
        and not isinstance(network.get_submodule(path), nn.MaxPool2d | nn.AvgPool2d | nn.AdaptiveAvgPool2d)
    ]
    # If a network has blocks, the single layers between them are no taps. AlexNet and VGG have no blocks.
    blocks = [path for path in stages if any(network.get_submodule(path).children())] or stages
    last = {sides[path]: path for path in blocks}.values()
    if not any(convolution.startswith(f"{path}.") for path in last):
        last = [convolution, *last]
    return {path: path for path in last}


def _stages(path: str, module: nn.Module, sides: Mapping[str, int]) -> Iterator[str]:
    """Yield the parts of a network in order; a sequence of three or more resolutions is taken apart."""
    for name, child in module.named_children():
        inner = f"{path}.{name}" if path else name
        within = {sides.get(f"{inner}.{part}") for part, _ in child.named_children()} - {None}
        if isinstance(child, nn.Sequential | nn.ModuleList) and len(within) > 2:
            yield from _stages(inner, child, sides)
        elif inner in sides:
            yield inner


@torch.no_grad()
def _map_sides(network: nn.Module, size: int) -> dict[str, int]:
    """Return the side of the map of each module that returns one for an image of ``size`` pixels."""
    sides: dict[str, int] = {}
    channels_last = has_channels_last(network)

    def record(path: str, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4:
            sides[path] = output.shape[1 if _ends_in_channels(output, channels_last) else 2]

    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, path=path: record(path, output))
        for path, module in network.named_modules()
    ]
    training = network.training
    network.eval()
    network(torch.zeros(1, 3, size, size, device=next(network.parameters()).device))
    network.train(training)
    for hook in hooks:
        hook.remove()
    return sides
