"""Gray pixels as a viewer shows them: modality LUT, then VOI LUT or window, then the photometric sense.

Stored values mean nothing by themselves: the modality LUT (or rescale slope and intercept) turns them into the device's
units, the VOI LUT or window picks the range of interest, and MONOCHROME1 means that high values are dark. The order is
that of the DICOM standard, PS3.3 C.11 and PS3.4 N.2.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from moco_transfer.data import window
from moco_transfer.data.dicom.attributes import ImagePixels
from moco_transfer.data.unreadable import UnreadableImage

if TYPE_CHECKING:
    from pydicom import Dataset

WINDOWS = {"LINEAR": window.linear, "LINEAR_EXACT": window.linear_exact, "SIGMOID": window.sigmoid}


def display(words: np.ndarray, about: ImagePixels, header: Dataset) -> np.ndarray:
    """Return the stored ``words`` (uint8 or uint16 [rows, columns]) as displayed, uint8 of the same shape.

    Raises UnreadableImage if a LUT or the rescale is unusable.
    """

    def brightness(every_word: np.ndarray, counts: window.Counts) -> np.ndarray:
        values = about.values(every_word)
        padding = _padding(values, about, header)
        units = _modality(values, header)
        shown = np.clip(_voi(units, lambda: np.where(padding, 0, counts()), header), 0, 1)
        return 1 - shown if about.photometric == "MONOCHROME1" else shown

    return window.to_uint8(words, brightness)


def _padding(values: np.ndarray, about: ImagePixels, header: Dataset) -> np.ndarray:
    """Return which ``values`` stand for no image at all: the padding value, or all up to its range limit."""
    first = header.get("PixelPaddingValue")
    if first is None or first == "":
        return np.zeros(len(values), dtype=bool)
    last = header.get("PixelPaddingRangeLimit")
    ends = about.values(np.array([int(first), int(first if last is None or last == "" else last)]))
    return (values >= ends.min()) & (values <= ends.max())


def _modality(values: np.ndarray, header: Dataset) -> np.ndarray:
    """Return stored ``values`` in the device's units."""
    if header.get("ModalityLUTSequence"):
        return _lookup(values, header.ModalityLUTSequence[0], header)[0]
    slope, intercept = _first(header.get("RescaleSlope")), _first(header.get("RescaleIntercept"))
    if slope is None and intercept is None:
        return values
    slope, intercept = 1.0 if slope is None else slope, intercept or 0.0
    # a decimal string may hold what no device means, and what would overflow
    if not 1e-30 < abs(slope) < 1e30 or not abs(intercept) < 1e30:
        raise UnreadableImage(f"a DICOM with rescale slope {slope:g} and intercept {intercept:g}")
    return values * slope + intercept


def _voi(units: np.ndarray, counts: window.Counts, header: Dataset) -> np.ndarray:
    """Return the brightness of ``units`` under the first VOI LUT, else the first window, else a robust one."""
    if header.get("VOILUTSequence"):
        shown, bits = _lookup(units, header.VOILUTSequence[0], header)
        return shown / (2**bits - 1)
    function = WINDOWS.get(header.get("VOILUTFunction") or "LINEAR", window.linear)
    center, width = _first(header.get("WindowCenter")), _first(header.get("WindowWidth"))
    smallest = 1 if function is window.linear else np.finfo(np.float32).tiny
    if center is None or width is None or not math.isfinite(center) or not smallest <= width < math.inf:
        return window.robust(units, counts())
    return function(units, center, width)


def _first(value: object) -> float | None:
    """Return the first of one or several decimal strings as a float, None where there is none."""
    if value is None or value == "":
        return None
    if isinstance(value, (str, float, int)):
        return float(value)
    return float(value[0]) if len(value) else None


def _lookup(values: np.ndarray, item: Dataset, header: Dataset) -> tuple[np.ndarray, int]:
    """Return ``values`` looked up in the LUT of ``item``, and the bits of its entries (PS3.3 C.11.1.1, C.11.2.1.1).

    Values below the table take its first entry, values above it the last.
    """
    length, first, bits = (int(number) for number in item.LUTDescriptor)
    length = length or 1 << 16
    data = item.get("LUTData") or b""
    if not isinstance(data, bytes):
        entries = np.atleast_1d(data)
    elif bits == 8 and len(data) in (length, length + length % 2):
        entries = np.frombuffer(data, np.uint8)  # two entries a word, as some writers have it
    else:
        little_endian = header.original_encoding[1]
        entries = np.frombuffer(data, "<u2" if little_endian else ">u2")
    entries = entries[:length]
    if not 1 <= bits <= 16 or not len(entries):
        raise UnreadableImage(f"a DICOM with a LUT of {len(entries)} entries of {bits} bits")
    position = np.clip(np.rint(values) - first, 0, len(entries) - 1).astype(np.int64)
    return entries[position].astype(np.float64), bits
