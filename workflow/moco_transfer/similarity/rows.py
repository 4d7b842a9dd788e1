"""Rows of activations, one image each: what every measure asks of them before it starts, and how they are centred."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from moco_transfer.errors import UserError

FEWEST_IMAGES = 4


def check_rows(name: str, layer: str, rows: NDArray) -> None:
    """Raise UserError unless ``rows`` [images, channels] are finite and of at least 4 images.

    ``name`` is the dataset or the source that they belong to. Halves need two images each, the unbiased CKA needs four.
    """
    if len(rows) < FEWEST_IMAGES:
        raise UserError(
            f"similarity: {name} has {len(rows)} images; at least {FEWEST_IMAGES} are needed: add images to it, or leave "
            "it out of the comparison"
        )
    if not np.isfinite(rows).all():
        raise UserError(
            f"similarity: {name} {layer} holds a value that is not finite; "
            "train its network again, with a lower learning rate"
        )


def centred(activations: NDArray) -> NDArray[np.float64]:
    """Return activations [images, channels] less their mean over images, in float64.

    Less the first row before: a channel that is constant is exactly 0 then, not rounding, however far from 0 it lies, and
    equal channels stay equal.
    """
    rows = np.asarray(activations, dtype=np.float64)
    rows = rows - rows[0]
    rows -= rows.mean(axis=0)
    return rows
