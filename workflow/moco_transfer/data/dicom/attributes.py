"""The Image Pixel attributes of a DICOM (PS3.3 C.7.6.3), read and checked before its pixels are."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from moco_transfer.data.unreadable import UnreadableImage

if TYPE_CHECKING:
    from pydicom import Dataset

GRAY = ("MONOCHROME1", "MONOCHROME2")
PALETTE = "PALETTE COLOR"
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
# Photometric interpretations of the standard that are refused; any other text might be anything, and is not repeated.
REFUSED = ("YBR_PARTIAL_422", "YBR_PARTIAL_420", "HSV", "ARGB", "CMYK", "XYB")


class ImagePixels(NamedTuple):
    """How the pixels of an image are stored; ``stored`` of the ``allocated`` bits count, ``high_bit`` the uppermost."""

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
        """Return the values (int64) of stored ``words``: bits beside the stored ones may hold overlays, and are cut."""
        kept = (words.astype(np.int64) >> (self.high_bit + 1 - self.stored)) & ((1 << self.stored) - 1)
        return kept - ((kept >> (self.stored - 1)) << self.stored) if self.signed else kept


def image_pixels(header: Dataset, max_pixels: int) -> ImagePixels:
    """Return the attributes in ``header``; raises UnreadableImage for an image that is not one frame to display."""
    rows, columns = int(header.get("Rows") or 0), int(header.get("Columns") or 0)
    frames = int(header.get("NumberOfFrames") or 1)
    samples = int(header.get("SamplesPerPixel") or 1)
    allocated = int(header.get("BitsAllocated") or 0)
    stored = _or(header.get("BitsStored"), allocated)
    high_bit = _or(header.get("HighBit"), stored - 1)
    photometric = str(header.get("PhotometricInterpretation") or "")
    if frames > 1:
        raise UnreadableImage(f"a multi-frame DICOM ({frames} frames)")
    if photometric not in (*GRAY, PALETTE, *COLOUR):
        named = photometric if photometric in REFUSED else "an unknown photometric interpretation"
        raise UnreadableImage(f"a DICOM in {named}, which cannot be shown")
    if samples != (3 if photometric in COLOUR else 1):
        raise UnreadableImage(f"a DICOM in {photometric} with {samples} samples a pixel")
    if allocated not in (8, 16):
        raise UnreadableImage(f"a DICOM of {allocated} bits a pixel, not 8 or 16")
    if not 1 <= stored <= allocated:
        raise UnreadableImage(f"a DICOM with {stored} of {allocated} bits stored")
    if not stored <= high_bit + 1 <= allocated:
        raise UnreadableImage(f"a DICOM with {stored} of {allocated} bits stored, the highest bit {high_bit}")
    if rows < 1 or columns < 1:
        raise UnreadableImage(f"a DICOM of {columns} x {rows} pixels")
    if rows * columns > max_pixels:
        raise UnreadableImage(f"{columns} x {rows} pixels, more than max_pixels ({max_pixels})")
    signed = bool(header.get("PixelRepresentation") or 0)
    planar = int(header.get("PlanarConfiguration") or 0)
    return ImagePixels(rows, columns, samples, photometric, allocated, stored, high_bit, signed, planar)


def _or(value: object, default: int) -> int:
    return default if value is None or value == "" else int(value)
