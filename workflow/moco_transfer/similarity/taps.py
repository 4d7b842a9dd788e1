"""Taps: the named layers of an encoder whose outputs are compared to measure the similarity of datasets.

A tap is the path of a module, as ``named_modules`` gives it. An encoder's configuration may choose them. Otherwise they are the
first convolution and the last block at each resolution, by timm's description of the network (``feature_info``); in a DenseNet,
these are the layers of figure 3.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from torch import Tensor, nn

from moco_transfer.errors import UserError

# The layers of figure 3: the first convolution and the output of each dense block.
DENSENET_TAPS = {"CV1": "features.conv0"} | {f"DB{i}": f"features.denseblock{i}" for i in range(1, 5)}


def choose_taps(encoder: nn.Module, configured: Mapping[str, str] | None) -> dict[str, str]:
    """Return the taps of ``encoder``, name to path, in the figures' order: the usual ones if none are ``configured``.

    Raises UserError for a configured path that does not exist, with the paths nearest to it.
    """
    if configured is None:
        return _usual_taps(encoder)
    paths = [path for path, _ in encoder.named_modules() if path]
    for tap, path in configured.items():
        if path not in paths:
            near = ", ".join(difflib.get_close_matches(path, paths, n=3, cutoff=0.4))
            hint = f"near it are {near}" if near else f"there are {', '.join(paths[:5])}, ..."
            raise UserError(
                f"taps.{tap} is '{path}', a layer that {encoder.network.name} does not have; {hint}; "
                "taps: null uses the usual layers"
            )
    return dict(configured)


def _usual_taps(encoder: nn.Module) -> dict[str, str]:
    if type(encoder).__name__ == "DenseNet":
        return DENSENET_TAPS
    order = [path for path, _ in encoder.named_modules()]
    convolutions = [path for path, module in encoder.named_modules() if isinstance(module, nn.Conv2d)]
    stages = getattr(encoder, "feature_info", None) or []
    if len({stage["reduction"] for stage in stages}) > 1:
        paths = list({stage["reduction"]: stage["module"] for stage in stages}.values())
    else:
        # All blocks of a vision transformer have the same resolution, so the taps are those at each quarter of its depth.
        paths = [stages[len(stages) * quarter // 4 - 1]["module"] for quarter in (1, 2, 3, 4) if stages]
    first, second = [*convolutions, None, None][:2]
    if first and not any(f"{first}.".startswith(f"{path}.") for path in paths):
        if second and order.index(paths[0]) < order.index(second) and not second.startswith(f"{paths[0]}."):
            paths = paths[1:]  # the normalisation or activation of the first convolution
        paths = [first, *paths]
    return {path: path for path in paths}


def channel_means(output: Tensor) -> Tensor:
    """Return the means over positions, [n, channels], of a layer's output for square images.

    Accepts [n, channels], [n, tokens, channels], and maps [n, channels, side, side] or [n, side, side, channels], which are
    told apart by which two lengths are equal; if all are equal, channels come first.
    """
    if output.ndim == 4:
        return output.mean(dim=(2, 3) if output.shape[2] == output.shape[3] else (1, 2))
    return output.mean(dim=1) if output.ndim == 3 else output
