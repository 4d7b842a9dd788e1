"""Colour pixels of a DICOM as 8-bit RGB: photographs, screen captures, and gray images that were saved as colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moco_transfer.data.dicom.attributes import ImagePixels

if TYPE_CHECKING:
    from pydicom import Dataset


def from_palette(words: np.ndarray, about: ImagePixels, header: Dataset) -> np.ndarray:
    """Return the colours that ``words`` [rows, columns] stand for, uint8 [rows, columns, 3] (PS3.3 C.7.6.3.1.5)."""
    from pydicom.pixels import apply_color_lut

    every_word = np.arange(np.iinfo(words.dtype).max + 1)
    colours = apply_color_lut(about.values(every_word), header)
    if colours.dtype == np.uint16:
        colours = colours >> 8
    return colours.astype(np.uint8)[words]


def to_eight_bits(channels: np.ndarray, about: ImagePixels) -> np.ndarray:
    """Return RGB ``channels`` (uint8 or uint16 [rows, columns, 3]) as uint8, full scale to full scale."""
    if about.stored == 8:
        return channels.astype(np.uint8)
    return np.rint(about.values(channels) * (255 / (2**about.stored - 1))).astype(np.uint8)
