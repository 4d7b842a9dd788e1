"""Activations of a dataset's images at the layers of figure 3, averaged over each map."""

from __future__ import annotations

import numpy as np
import torch

from moco_transfer.models import TAPS, DenseNet
from moco_transfer.training.images import ImagePool, centre_crop, normalise


@torch.no_grad()
def layer_activations(
    network: DenseNet, pool: ImagePool, size: int, device: torch.device, batch: int = 128
) -> dict[str, np.ndarray]:
    """Return, for each tap of ``models.TAPS``, the spatial means of its output for all images, float32 [n, channels].

    One pass in evaluation mode. Convolutional maps are averaged because a row of SVCCA is one image (#18).
    """
    network.eval()
    collected: dict[str, list[np.ndarray]] = {tap: [] for tap in TAPS}
    hooks = [
        network.get_submodule(path).register_forward_hook(
            lambda _module, _inputs, output, tap=tap: collected[tap].append(
                output.mean(dim=(2, 3)).cpu().numpy()
            )
        )
        for tap, path in TAPS.items()
    ]
    for start in range(0, len(pool), batch):
        images = pool.batch(np.arange(start, min(start + batch, len(pool)))).to(device)
        network(normalise(centre_crop(images, size)))
    for hook in hooks:
        hook.remove()
    return {tap: np.concatenate(parts) for tap, parts in collected.items()}
