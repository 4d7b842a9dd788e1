"""Radiographs in DICOM, shown as a viewer shows them: modality LUT, then VOI LUT or window, then the photometric sense.

Stored values mean nothing by themselves: the modality LUT (or rescale slope and intercept) turns them into the device's
units, the VOI LUT or window picks the range of interest, and MONOCHROME1 means that high values are dark. The order is
that of the DICOM standard, PS3.3 C.11 and PS3.4 N.2.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from moco_transfer.data import window
from moco_transfer.data.unreadable import UnreadableImage

if TYPE_CHECKING:
    from pydicom import Dataset

WINDOWS = {"LINEAR": window.linear, "LINEAR_EXACT": window.linear_exact, "SIGMOID": window.sigmoid}


def read_dicom(path: Path, max_pixels: int) -> np.ndarray:
    """Return the single grayscale frame at ``path`` as displayed, uint8 [height, width].

    Raises UnreadableImage for colour, several frames, more than 16 bits or more than ``max_pixels``, and whatever
    pydicom raises for a file that is broken.
    """
    import pydicom  # takes 1.5 s, and most datasets hold no DICOM

    dataset = pydicom.dcmread(path)
    _refuse_unknown(dataset, max_pixels)
    inverted = dataset.PhotometricInterpretation == "MONOCHROME1"

    def brightness(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
        shown = np.clip(_voi(_modality(values, dataset), counts, dataset), 0, 1)
        return 1 - shown if inverted else shown

    return window.to_uint8(dataset.pixel_array, brightness)


def _refuse_unknown(dataset: Dataset, max_pixels: int) -> None:
    if "PixelData" not in dataset:
        raise UnreadableImage("a DICOM without pixel data")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise UnreadableImage(f"a multi-frame DICOM ({frames} frames)")
    if dataset.PhotometricInterpretation not in ("MONOCHROME1", "MONOCHROME2"):
        raise UnreadableImage(f"a DICOM in {dataset.PhotometricInterpretation}, not in grayscale")
    if dataset.BitsAllocated not in (8, 16):
        raise UnreadableImage(f"a DICOM of {dataset.BitsAllocated} bits a pixel, not 8 or 16")
    pixels = int(dataset.Rows) * int(dataset.Columns)
    if pixels > max_pixels:
        raise UnreadableImage(
            f"{dataset.Columns} x {dataset.Rows} pixels, more than max_pixels ({max_pixels})"
        )


def _modality(values: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Return stored ``values`` in the device's units."""
    if dataset.get("ModalityLUTSequence"):
        return _lookup(values, dataset.ModalityLUTSequence[0], dataset)[0]
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    if slope is None or intercept is None:
        return values
    return values * float(slope) + float(intercept)


def _voi(values: np.ndarray, counts: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Return the brightness of ``values`` under the first VOI LUT, else the first window, else a robust one."""
    if dataset.get("VOILUTSequence"):
        shown, bits = _lookup(values, dataset.VOILUTSequence[0], dataset)
        return shown / (2**bits - 1)
    function = WINDOWS.get(dataset.get("VOILUTFunction") or "LINEAR", window.linear)
    center, width = _first(dataset.get("WindowCenter")), _first(dataset.get("WindowWidth"))
    if center is None or width is None or not (width >= 1 if function is window.linear else width > 0):
        return window.robust(values, counts)
    return function(values, center, width)


def _first(value: object) -> float | None:
    """Return the first of one or several decimal strings as a float, None where there is none."""
    if value is None or value == "":
        return None
    if isinstance(value, (str, float, int)):
        return float(value)
    return float(value[0]) if len(value) else None


def _lookup(values: np.ndarray, item: Dataset, dataset: Dataset) -> tuple[np.ndarray, int]:
    """Return ``values`` looked up in the LUT of ``item``, and the bits of its entries (PS3.3 C.11.1.1, C.11.2.1.1).

    Values below the table take its first entry, values above it the last.
    """
    _, first, bits = (int(number) for number in item.LUTDescriptor)
    data = item.LUTData
    if isinstance(data, bytes):
        little_endian = dataset.original_encoding[1]
        entries = np.frombuffer(data, "<u2" if little_endian else ">u2")
    else:
        entries = np.asarray(data)
    position = np.clip(np.rint(values).astype(np.int64) - first, 0, len(entries) - 1)
    return entries[position].astype(np.float64), bits
