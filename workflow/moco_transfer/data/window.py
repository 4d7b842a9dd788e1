"""From stored values to the 8 bits of a display: DICOM's window functions, and a window for images that name none.

Between the stored pixels of a radiograph and what is looked at stand functions of a single value. So they are worked
out once for every word that 8 or 16 bits can hold, and the picture is then a table lookup: the same result as on
millions of pixels, in a fraction of the time.
"""

from __future__ import annotations

from collections.abc import Callable

import numba
import numpy as np

# How often each word occurs in an image, int64 [words]; counted when called, because most windows do not need it.
Counts = Callable[[], np.ndarray]

# The tails that the robust window leaves out: collimator edges, burnt-in markers, dead pixels.
PERCENTILES = (0.5, 99.5)


def to_uint8(words: np.ndarray, brightness: Callable[[np.ndarray, Counts], np.ndarray]) -> np.ndarray:
    """Return ``words`` (uint8 or uint16, any shape) as uint8 of the same shape.

    ``brightness(every_word, counts)`` gets every word that the type can hold, in ascending order (int64), and returns
    their brightness, 0 (black) to 1 (white).
    """
    flat = words.ravel()
    every_word = np.arange(np.iinfo(words.dtype).max + 1)
    shown = brightness(every_word, lambda: _histogram(flat, len(every_word)))
    table = np.rint(255 * np.clip(shown, 0, 1)).astype(np.uint8)
    return _lookup(flat, table).reshape(words.shape)


@numba.njit(cache=True, nogil=True)
def _histogram(words: np.ndarray, length: int) -> np.ndarray:
    counts = np.zeros(length, np.int64)
    for word in words:
        counts[word] += 1
    return counts


@numba.njit(cache=True, nogil=True)
def _lookup(words: np.ndarray, table: np.ndarray) -> np.ndarray:
    # NumPy's own lookup makes 8-byte indices of all words first: five times as slow
    shown = np.empty(len(words), np.uint8)
    for position, word in enumerate(words):
        shown[position] = table[word]
    return shown


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
    the extremes; an image of one value, or of padding alone, is black.
    """
    occurring = counts > 0
    if not occurring.any():
        return np.zeros(len(values))
    order = np.argsort(values[occurring], kind="stable")
    ascending = values[occurring][order]
    cumulated = np.cumsum(counts[occurring][order])
    low, high = ascending[np.searchsorted(cumulated, np.array(PERCENTILES) / 100 * cumulated[-1])]
    if low == high:
        low, high = ascending[0], ascending[-1]
    if low == high:
        return np.zeros(len(values))
    return (values - low) / (high - low)
