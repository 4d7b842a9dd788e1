"""One DICOM file to the image that a viewer shows: file, attributes, pixels, display, in that order."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from moco_transfer.data.dicom.attributes import COLOUR, PALETTE, image_pixels
from moco_transfer.data.dicom.colour import from_palette, to_eight_bits
from moco_transfer.data.dicom.file import read_until_pixels
from moco_transfer.data.dicom.grayscale import display
from moco_transfer.data.dicom.pixels import read_pixels
from moco_transfer.data.unreadable import UnreadableImage

# Beside its pixels, three channels of 16 bits at most, a file may hold this much.
HEADER_BYTES = 16 << 20


def read_dicom(path: Path, start: int, max_pixels: int) -> np.ndarray:
    """Return the single frame at ``path`` as displayed, uint8 [height, width] or [height, width, 3] if coloured.

    ``start`` is where its elements start, from ``dataset_start``. Raises UnreadableImage for whatever is not one frame
    of at most ``max_pixels``, of 8 or 16 bits, gray, palette or RGB and its kin, and for a file that is broken.
    """
    most_bytes = 6 * max_pixels + HEADER_BYTES
    try:
        with path.open("rb") as handle:
            file = read_until_pixels(handle, start, most_bytes)
            about = image_pixels(file.header, max_pixels)
            pixels, about = read_pixels(file, about, most_bytes)
        if about.photometric == PALETTE:
            return from_palette(pixels, about, file.header)
        if about.photometric in COLOUR:
            return to_eight_bits(pixels, about)
        return display(pixels, about, file.header)
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:
        # what pydicom and its decoders raise repeats attributes of the file, so only its kind is told
        if isinstance(error, OSError) and error.errno:
            raise
        raise UnreadableImage(f"a broken DICOM ({type(error).__name__})") from error
