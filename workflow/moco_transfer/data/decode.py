"""Decode an image file to a uint8 array as a viewer shows it, and fit it to the square of the store.

Pictures are turned upright, and transparent ones are shown on black; 16 bits are shown through a window.
Files come from other people: the first bytes tell the format, not the name; images with too many pixels are
refused before they are decoded; and whatever goes wrong inside a decoder becomes UnreadableImage with a
one-line reason.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from moco_transfer.data.image_file import dataset_start, is_of_the_machine, open_image
from moco_transfer.data.picture import read_picture
from moco_transfer.errors import UnreadableImage

# The warnings of the decoders repeat paths and attributes of the file, which may be identifiers. They are
# silenced for the whole process, because images are decoded in threads.
warnings.filterwarnings("ignore", module=r"pydicom|PIL")
for library in ("pydicom", "pylibjpeg", "libjpeg", "openjpeg"):
    logging.getLogger(library).addHandler(logging.NullHandler())
    logging.getLogger(library).propagate = False


class Decoded(NamedTuple):
    """An image as displayed: uint8 [h, w] or [h, w, 3], and the sides of the upright image in its file.

    ``repairs`` describes the faults of the file that were mended, without repeating anything from it.
    """

    pixels: np.ndarray
    height: int
    width: int
    repairs: tuple[str, ...] = ()

    @property
    def extent(self) -> tuple[float, float]:
        """Height and width of the image in ``pixels``: a reduced one may end within its last row or
        column."""
        for reduction in (1, 2, 4, 8):
            if (-(-self.height // reduction), -(-self.width // reduction)) == self.pixels.shape[:2]:
                break
        return self.height / reduction, self.width / reduction


def decode(file: Path | BinaryIO, max_pixels: int, smallest_side: int | None = None) -> Decoded:
    """Return the DICOM, JPEG or PNG in ``file``, a path or an open file, as displayed, in grey or colour.

    The pixels are uint8 [height, width], or [height, width, 3] if the channels differ. A PNG of 16 bits is
    shown through a robust window. Pixels are treated as square, whatever the file says about their spacing.
    If ``smallest_side`` is given, a JPEG may be returned 2, 4 or 8 times smaller than it is stored, but no
    side smaller than 1.2 times that number: its decoder averages blocks in the frequency domain, which halves
    the time. Raises UnreadableImage; OSError, MemoryError and ImportError if the machine fails.
    """
    if isinstance(file, Path):
        with open_image(file) as handle:
            return decode(handle, max_pixels, smallest_side)
    try:
        head = file.read(132)
        if not head:
            raise UnreadableImage("the file is empty")
        start = dataset_start(head)
        if start is None:
            pixels, height, width, repairs = read_picture(file, max_pixels, smallest_side)
        else:
            # importing pydicom takes 1.5 s, and most datasets contain no DICOM
            from moco_transfer.data.dicom import read_dicom

            pixels, repairs = read_dicom(file, start, max_pixels)
            height, width = pixels.shape[:2]
    except UnreadableImage:
        raise
    except Exception as error:  # a broken file can make decoders raise anything
        if is_of_the_machine(error):
            raise
        raise UnreadableImage(_reason(error)) from error
    if pixels.ndim == 3 and (pixels == pixels[..., :1]).all():
        pixels = pixels[..., 0].copy()
    return Decoded(pixels, height, width, repairs)


def fit(image: Decoded, size: int, how: str, colour: bool) -> np.ndarray:
    """Return ``image`` as a square: uint8 [size, size] or, if ``colour``, [size, size, 3].

    ``how``: ``stretch`` ignores the aspect ratio; ``pad`` scales the longer side to ``size`` and fills with
    black; ``center_crop`` scales the shorter side to ``size`` and keeps the middle. Resampling is bilinear
    and antialiased. It uses the extent: the pixels alone would shift a reduced image by a third of a pixel.
    """
    height, width = image.extent
    picture = Image.fromarray(image.pixels)
    mode = "RGB" if colour else "L"
    if picture.mode != mode:
        picture = picture.convert(mode)

    def resized(shape: tuple[int, int], box: tuple[float, float, float, float]) -> Image.Image:
        # With a gap of 3, whole-number box averaging does most of a strong reduction: faster, and as smooth.
        return picture.resize(shape, Image.Resampling.BILINEAR, box=box, reducing_gap=3.0)

    if how == "center_crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        return np.asarray(resized((size, size), (left, top, left + side, top + side)))
    whole = (0, 0, width, height)
    if how == "stretch":
        return np.asarray(resized((size, size), whole))
    scale = size / max(width, height)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    square = Image.new(mode, (size, size))
    square.paste(resized(inner, whole), ((size - inner[0]) // 2, (size - inner[1]) // 2))
    return np.asarray(square)


def _reason(error: Exception) -> str:
    """Return ``error`` in one line; decoders that are given an open file do not know its path."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
