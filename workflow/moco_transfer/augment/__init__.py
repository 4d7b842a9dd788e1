"""Augmentation of batches of grey images on the device: one warp for all geometry, then the intensities.

Each image of a batch has parameters of its own. They are drawn in NumPy from a named stream, so that they depend on
neither the device nor the order of jobs, and apart from the images, so that several processes can draw them for a whole
batch and each apply them to its share. What is done is a preset or a list of operations of the configuration
(``config.augmentation``); ``geometry`` holds turns, flips and crops, ``intensity`` brightness, contrast and blur.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from moco_transfer.augment.geometry import Step, draw_geometry, steps_of, warp
from moco_transfer.augment.intensity import blur, draw_deviations, draw_factors, jitter
from moco_transfer.config.augmentation import GEOMETRY, Operation, operations_of


@dataclass(frozen=True)
class Intensity:
    """A change of brightness, contrast or sharpness: ``change(views, *parameters, **shared)``, ``parameters`` being [n]."""

    change: Callable[..., Tensor]
    parameters: tuple[np.ndarray, ...]
    shared: dict[str, Any]


@dataclass(frozen=True)
class View:
    """The parameters of one view of each of n images."""

    size: int
    steps: list[Step]
    intensities: list[Intensity]

    def rows(self, rows: np.ndarray) -> View:
        """Return the parameters of the images ``rows`` (int [m]) of the n, in that order."""
        intensities = [
            Intensity(each.change, tuple(values[rows] for values in each.parameters), each.shared)
            for each in self.intensities
        ]
        return View(self.size, steps_of(self.steps, rows), intensities)

    def of(self, images: Tensor) -> Tensor:
        """Return the views, float32 [n, 1, size, size], of uint8 or float ``images``, [n, 1, h, w] from 0 to 255."""
        views = warp(images, self.size, self.steps)
        for each in self.intensities:
            views = each.change(views, *each.parameters, **each.shared)
        return views


def draw_view(
    augmentation: str | Sequence[Operation],
    n: int,
    height: int,
    width: int,
    size: int,
    random: np.random.Generator,
) -> View:
    """Draw the parameters of one view of each of ``n`` images of ``height`` x ``width`` pixels.

    Parameters
    ----------
    augmentation : the name of a preset, or a list of operations
    size : side of the views, in pixels; at most ``height`` and ``width``
    random : where the parameters are drawn from

    Raises UserError where ``augmentation`` is neither a preset nor a list that holds one crop and its geometry first.
    """
    operations = operations_of(augmentation)
    geometry = [operation for operation in operations if operation.name in GEOMETRY]
    steps = draw_geometry(geometry, n, height, width, size, random)
    intensities = []
    for operation in operations:
        if operation.jitter:
            intensities.append(Intensity(jitter, draw_factors(operation.jitter, n, random), {}))
        elif operation.blur:
            deviations, largest = draw_deviations(operation.blur, n, size, random)
            intensities.append(Intensity(blur, (deviations,), {"largest": largest}))
    return View(size, steps, intensities)


def augment(
    images: Tensor, augmentation: str | Sequence[Operation], size: int, random: np.random.Generator
) -> Tensor:
    """Return one augmented view of each image, as ``draw_view`` draws it.

    Parameters
    ----------
    images : uint8 or float [n, 1, h, w], values from 0 to 255; h and w at least ``size``

    Returns
    -------
    float32 [n, 1, size, size], values from 0 to 255
    """
    n, _, height, width = images.shape
    return draw_view(augmentation, n, height, width, size, random).of(images)
