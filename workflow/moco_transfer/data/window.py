"""From stored values to the 8 bits of a display: DICOM's window functions, and a window for images that name none.

Between the stored pixels of a radiograph and what is looked at stand functions of a single value. So they are worked
out once for every value between the darkest and the brightest pixel, at most 65,536 of them, and the picture is then a
table lookup: the same result as on millions of pixels, in a fraction of the time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from moco_transfer.data.unreadable import UnreadableImage

# The tails that the robust window leaves out: collimator edges, burnt-in markers, dead pixels.
PERCENTILES = (0.5, 99.5)


def to_uint8(pixels: np.ndarray, brightness: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """Return ``pixels`` (integers, any shape) as uint8 of the same shape.

    ``brightness(values, counts)`` gets every integer between the extremes of ``pixels`` and how often each occurs, and
    returns their brightness, 0 (black) to 1 (white). Raises UnreadableImage if the values span more than 16 bits.
    """
    lowest, highest = int(pixels.min()), int(pixels.max())
    if highest - lowest >= 1 << 16:
        raise UnreadableImage(f"its values run from {lowest} to {highest}, more than 16 bits")
    above = pixels.astype(np.int32) - lowest
    counts = np.bincount(above.ravel(), minlength=highest - lowest + 1)
    shown = brightness(np.arange(lowest, highest + 1), counts)
    return np.rint(255 * np.clip(shown, 0, 1)).astype(np.uint8)[above]


def linear(values: np.ndarray, center: float, width: float) -> np.ndarray:
    """Return the brightness of ``values`` under the VOI function LINEAR (DICOM PS3.3 C.11.2.1.2.1); ``width`` >= 1."""
    if width == 1:
        return (values > center - 0.5).astype(np.float64)
    return (values - (center - 0.5)) / (width - 1) + 0.5


def linear_exact(values: np.ndarray, center: float, width: float) -> np.ndarray:
    """Return the brightness of ``values`` under LINEAR_EXACT (DICOM PS3.3 C.11.2.1.3.2); ``width`` > 0."""
    return (values - center) / width + 0.5


def sigmoid(values: np.ndarray, center: float, width: float) -> np.ndarray:
    """Return the brightness of ``values`` under SIGMOID (DICOM PS3.3 C.11.2.1.3.1); ``width`` > 0."""
    # tanh is the same function, without an overflow in exp far below the window
    return 0.5 + 0.5 * np.tanh(2 * (values - center) / width)


def robust(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the brightness of ``values`` under the window between two percentiles of the image itself.

    ``counts`` says how often each value occurs. Where the percentiles meet (most pixels are equal) the window spans
    the extremes; an image of one value is black.
    """
    occurring = counts > 0
    order = np.argsort(values[occurring], kind="stable")
    ascending = values[occurring][order]
    cumulated = np.cumsum(counts[occurring][order])
    low, high = ascending[np.searchsorted(cumulated, np.array(PERCENTILES) / 100 * cumulated[-1])]
    if low == high:
        low, high = ascending[0], ascending[-1]
    if low == high:
        return np.zeros(len(values))
    return (values - low) / (high - low)
