"""Turn stored values into the 8 bits of a display.

A stored value of a DICOM means nothing by itself. The modality LUT (or rescale slope and intercept) turns it
into the device's units, the VOI LUT or window picks the range of interest, and MONOCHROME1 says that high
values are dark. That is the order of the DICOM standard (PS3.3 C.11 and PS3.4 N.2). All of these are
functions of one value, so they are computed once for each of the 256 or 65,536 possible stored words, and the
image is then a table lookup. The result is the same as if each of millions of pixels were computed, in a
fraction of the time.

pydicom applies windows. LUTs are looked up here, because pydicom wraps values beyond the end of a table, and
rejects tables with padding, with two entries per word, or (as modality LUT) with other than 8 or 16 bits.

What the attributes say about ranges is often wrong: they may give the size of a container instead of the bits
in use. Viewers believe the data then, and so does this module.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from pydicom import Dataset
from pydicom.pixels import apply_windowing, convert_color_space

from moco_transfer.compiled import compiled
from moco_transfer.data.lut import look_up, read_lut, read_palette
from moco_transfer.errors import UnreadableImage

# Returns how often each word occurs in an image, int64 [words]; most windows do not need to call it.
Counts = Callable[[], np.ndarray]
# The robust window leaves out the tails: collimator edges, burnt-in markers, dead pixels.
PERCENTILES = (0.5, 99.5)
# The VOI functions (PS3.3 C.11.2.1), and the smallest width that each can have.
TINY = np.finfo(np.float32).tiny
SMALLEST_WIDTH = {"LINEAR": 1.0, "LINEAR_EXACT": TINY, "SIGMOID": TINY}


class ImagePixels(NamedTuple):
    """How pixels are stored (PS3.3 C.7.6.3): ``stored`` of ``allocated`` bits, up to ``high_bit``."""

    rows: int
    columns: int
    samples: int
    photometric: str
    allocated: int
    stored: int
    high_bit: int
    signed: bool
    planar: int

    def values(self, words: np.ndarray) -> np.ndarray:
        """Return the values (int64) of stored ``words``, without other bits, which may be overlays."""
        kept = (words.astype(np.int64) >> (self.high_bit + 1 - self.stored)) & ((1 << self.stored) - 1)
        return kept - ((kept >> (self.stored - 1)) << self.stored) if self.signed else kept


def to_uint8(words: np.ndarray, brightness: Callable[[np.ndarray, Counts], np.ndarray]) -> np.ndarray:
    """Return ``words`` (uint8 or uint16, any shape) as uint8 of the same shape.

    ``brightness(every_word, counts)`` gets every word that the type can hold, in ascending order (int64), and
    returns their brightness, 0 (black) to 1 (white).
    """
    flat = words.ravel()
    every_word = np.arange(np.iinfo(words.dtype).max + 1)
    shown = brightness(every_word, lambda: _histogram(flat, len(every_word)))
    table = np.rint(255 * np.clip(shown, 0, 1)).astype(np.uint8)
    return _lookup(flat, table).reshape(words.shape)


# np.bincount and NumPy's indexing first convert words to 8 bytes, which takes several times as long.
@compiled
def _histogram(words: np.ndarray, length: int) -> np.ndarray:
    counts = np.zeros(length, np.int64)
    for word in words:
        counts[word] += 1
    return counts


@compiled
def _lookup(words: np.ndarray, table: np.ndarray) -> np.ndarray:
    shown = np.empty(len(words), np.uint8)
    for position, word in enumerate(words):
        shown[position] = table[word]
    return shown


def robust(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the brightness of ``values`` in the window between two percentiles of the image itself.

    ``counts`` says how often each value occurs. If both percentiles are the same value, the window spans the
    extremes. An image with only one value, or only padding, is black.
    """
    occurring = counts > 0
    if not occurring.any():
        return np.zeros(len(values))
    order = np.argsort(values[occurring], kind="stable")
    ascending = values[occurring][order]
    cumulative = np.cumsum(counts[occurring][order])
    low, high = ascending[np.searchsorted(cumulative, np.array(PERCENTILES) / 100 * cumulative[-1])]
    if low == high:
        low, high = ascending[0], ascending[-1]
    if low == high:
        return np.zeros(len(values))
    return (values - low) / (high - low)


def show_gray(words: np.ndarray, about: ImagePixels, header: Dataset) -> np.ndarray:
    """Return the stored ``words`` (uint8 or uint16 [rows, columns]) as displayed, uint8 of the same shape.

    Raises UnreadableImage if a LUT or the rescale is unusable.
    """

    def brightness(every_word: np.ndarray, counts: Counts) -> np.ndarray:
        values = about.values(every_word)
        padding = _is_padding(every_word, about, header)
        units = _in_units(values, header)
        shown = np.clip(_brightness(units, lambda: np.where(padding, 0, counts()), header), 0, 1)
        return 1 - shown if about.photometric == "MONOCHROME1" else shown

    return to_uint8(words, brightness)


def show_palette(words: np.ndarray, about: ImagePixels, header: Dataset) -> np.ndarray:
    """Return the palette's colours for ``words`` [rows, columns] (PS3.3 C.7.6.3.1.5): uint8 [..., 3]."""
    values = about.values(np.arange(np.iinfo(words.dtype).max + 1))
    colours = np.stack([look_up(values, lut) for lut in read_palette(header)], axis=-1)
    if colours.dtype == np.uint16:
        brightest = white(int(colours.max()), 16)
        colours = colours >> 8 if brightest == 65535 else np.rint(colours * (255 / brightest))
    return colours.astype(np.uint8)[words]


def show_colour(words: np.ndarray, about: ImagePixels) -> np.ndarray:
    """Return the channels ``words`` (uint8 or uint16 [rows, columns, 3]), RGB or YBR, as RGB in uint8."""
    if about.allocated == about.stored == 8:
        shown = words
    else:
        values = about._replace(signed=False).values(words)
        shown = np.rint(values * (255 / white(int(values.max()), about.stored))).astype(np.uint8)
    ybr = about.photometric in ("YBR_FULL", "YBR_FULL_422")
    return convert_color_space(shown, "YBR_FULL", "RGB") if ybr else shown


def white(largest: int, bits: int) -> int:
    """Return which value is white, or opaque, in colours of ``bits`` whose ``largest`` value is given.

    That is the largest possible one. If all values are below an eighth of it, they have fewer bits than stated.
    """
    used = max(8, largest.bit_length())
    return 2 ** (bits if used > bits - 3 else used) - 1


def _is_padding(every_word: np.ndarray, about: ImagePixels, header: Dataset) -> np.ndarray:
    """Return which words are padding: the padding value, or all between it and its range limit.

    A padding value beyond the stored bits is compared with whole words.
    """
    first, last = _first(header.get("PixelPaddingValue")), _first(header.get("PixelPaddingRangeLimit"))
    if first is None:
        return np.zeros(len(every_word), dtype=bool)
    # as 16 bits, signed as the pixels are, whatever value representation the file gives
    whole = about._replace(allocated=16, stored=16, high_bit=15)
    ends = whole.values(np.array([int(first), int(first if last is None else last)]))
    padding = np.zeros(len(every_word), dtype=bool)
    for numbers in (about.values(every_word), whole.values(every_word)):
        padding |= (numbers >= ends.min()) & (numbers <= ends.max())
    return padding


def _in_units(values: np.ndarray, header: Dataset) -> np.ndarray:
    """Return stored ``values`` in the device's units."""
    if header.get("ModalityLUTSequence"):
        return look_up(values, read_lut(header.ModalityLUTSequence[0], header)).astype(np.float64)
    slope, intercept = _first(header.get("RescaleSlope")), _first(header.get("RescaleIntercept"))
    if slope is None and intercept is None:
        return values
    slope, intercept = 1.0 if slope is None else slope, intercept or 0.0
    # a decimal string may contain numbers that no device means and that would overflow
    if not 1e-30 < abs(slope) < 1e30 or not abs(intercept) < 1e30:
        raise UnreadableImage(f"a DICOM with rescale slope {slope:g} and intercept {intercept:g}")
    return values * slope + intercept


def _brightness(units: np.ndarray, counts: Counts, header: Dataset) -> np.ndarray:
    """Return the brightness of ``units`` by the first VOI LUT, else the first window, else a robust one."""
    if header.get("VOILUTSequence"):
        lut = read_lut(header.VOILUTSequence[0], header)
        # the descriptor may give the bits of the container, so the largest entry is white
        return look_up(units, lut) / max(1, int(lut.entries.max()))
    function = str(header.get("VOILUTFunction") or "LINEAR")
    function = function if function in SMALLEST_WIDTH else "LINEAR"
    center, width = _first(header.get("WindowCenter")), _first(header.get("WindowWidth"))
    usable = center is not None and width is not None and math.isfinite(center)
    if not usable or not SMALLEST_WIDTH[function] <= width < math.inf:
        return robust(units, counts())
    window = Dataset()
    window.PhotometricInterpretation, window.VOILUTFunction = "MONOCHROME2", function
    window.BitsStored, window.PixelRepresentation = 1, 0  # brightness from 0 to 1
    window.WindowCenter, window.WindowWidth = center, width
    with np.errstate(over="ignore"):  # far below a sigmoid window
        return apply_windowing(units, window)


def _first(value: object) -> float | None:
    """Return the first of one or several numbers as a float, or None if there is none."""
    if value is None or value == "":
        return None
    if isinstance(value, (str, float, int)):
        return float(value)
    return float(value[0]) if len(value) else None
