"""Augmentation of batches of grey images on the device: one warp for all geometry, then the intensities.

Each image of a batch has parameters of its own. They are drawn in NumPy from a named stream, so that they depend on
neither the device nor the order of jobs. What is done is a preset or a list of operations of the configuration
(``config.augmentation``); ``geometry`` holds turns, flips and crops, ``intensity`` brightness, contrast and blur.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from moco_transfer.augment.geometry import draw_geometry, warp
from moco_transfer.augment.intensity import blur, draw_deviations, draw_factors, jitter
from moco_transfer.config.augmentation import GEOMETRY, Operation, operations_of


def augment(
    images: Tensor, augmentation: str | Sequence[Operation], size: int, random: np.random.Generator
) -> Tensor:
    """Return one augmented view of each image.

    Parameters
    ----------
    images : uint8 or float [n, 1, h, w], values from 0 to 255; h and w at least ``size``
    augmentation : the name of a preset, or a list of operations
    size : side of the views, in pixels
    random : where the parameters are drawn from

    Returns
    -------
    float32 [n, 1, size, size], values from 0 to 255

    Raises UserError where ``augmentation`` is neither a preset nor a list that holds one crop and its geometry first.
    """
    n, _, height, width = images.shape
    operations = operations_of(augmentation)
    geometry = [operation for operation in operations if operation.name in GEOMETRY]
    views = warp(images, size, draw_geometry(geometry, n, height, width, size, random))
    for operation in operations:
        if operation.jitter:
            views = jitter(views, *draw_factors(operation.jitter, n, random))
        elif operation.blur:
            views = blur(views, *draw_deviations(operation.blur, n, size, random))
    return views
