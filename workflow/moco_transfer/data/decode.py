"""Decode an image file to a uint8 array as a viewer shows it, and fit it to the square of the store.

Pictures are turned upright, and transparent ones are shown on black; 16 bits are shown through a window.
Files come from other people: the first bytes tell the format, not the name; images with too many pixels are
refused before they are decoded; and whatever goes wrong inside a decoder becomes UnreadableImage with a
one-line reason.
"""

from __future__ import annotations

import logging
import math
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from moco_transfer.errors import UnreadableImage

# Our own limit, max_pixels, is checked before anything is decoded, so Pillow's is switched off.
Image.MAX_IMAGE_PIXELS = None
# The warnings of the decoders repeat paths and attributes of the file, which may be identifiers. They are
# silenced for the whole process, because images are decoded in threads.
warnings.filterwarnings("ignore", module=r"pydicom|PIL")
for library in ("pydicom", "pylibjpeg", "libjpeg", "openjpeg"):
    logging.getLogger(library).addHandler(logging.NullHandler())
    logging.getLogger(library).propagate = False

# How much larger than needed a reduced JPEG is, so that resampling it still looks like resampling the whole:
# at 1.2, real radiographs differ by 0.5 grey levels on average, at 1 by more than 0.7.
SPARE = 1.2
ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Decoded(NamedTuple):
    """An image as displayed: uint8 [h, w] or [h, w, 3], and the sides of the upright image in its file."""

    pixels: np.ndarray
    height: int
    width: int

    @property
    def extent(self) -> tuple[float, float]:
        """Height and width of the image in ``pixels``: a reduced one may end within its last row or
        column."""
        for reduction in (1, 2, 4, 8):
            if (-(-self.height // reduction), -(-self.width // reduction)) == self.pixels.shape[:2]:
                break
        return self.height / reduction, self.width / reduction


def decode(path: Path, max_pixels: int, smallest_side: int | None = None) -> Decoded:
    """Return the DICOM, JPEG or PNG at ``path`` as displayed, in grey or colour.

    The pixels are uint8 [height, width], or [height, width, 3] if the channels differ. A grey PNG of 16 bits
    is shown through a robust window. Pixels are treated as square, whatever the file says about their
    spacing. If ``smallest_side`` is given, a JPEG may be returned 2, 4 or 8 times smaller than it is stored,
    but no side smaller than 1.2 times that number: its decoder averages blocks in the frequency domain, which
    halves the time. Raises UnreadableImage.
    """
    try:
        with path.open("rb") as handle:
            head = handle.read(132)
        if not head:
            raise UnreadableImage("the file is empty")
        start = _dataset_start(head)
        if start is None:
            pixels, height, width = _read_picture(path, max_pixels, smallest_side)
        else:
            # importing pydicom takes 1.5 s, and most datasets contain no DICOM
            from moco_transfer.data.dicom import read_dicom

            with path.open("rb") as handle:
                pixels, _ = read_dicom(handle, start, max_pixels)
            height, width = pixels.shape[:2]
        if pixels.ndim == 3 and (pixels == pixels[..., :1]).all():
            pixels = pixels[..., 0].copy()
        return Decoded(pixels, height, width)
    except (UnreadableImage, MemoryError):
        raise
    except FileNotFoundError:
        raise UnreadableImage("file not found") from None
    except UnidentifiedImageError:
        raise UnreadableImage("neither DICOM, JPEG nor PNG") from None
    except Exception as error:  # a broken file can make decoders raise anything
        raise UnreadableImage(_reason(error, path)) from error


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


def _dataset_start(head: bytes) -> int | None:
    """Return where the data elements start in a file that begins with ``head``; None for other formats."""
    if head[128:] == b"DICM":
        return 132
    # without preamble: the first element is of group 2 (file meta) or 8, in either byte order
    return 0 if head[:2] in (b"\x02\x00", b"\x08\x00", b"\x00\x08") else None


def _read_picture(path: Path, max_pixels: int, smallest_side: int | None) -> tuple[np.ndarray, int, int]:
    """Return the JPEG or PNG at ``path``, uint8 [h, w] or [h, w, 3], and the upright image's sides.

    Raises UnreadableImage for more than ``max_pixels``, and whatever Pillow raises for a broken file.
    """
    with Image.open(path, formats=("JPEG", "PNG")) as picture:
        width, height = picture.size
        if width * height > max_pixels:
            raise UnreadableImage(f"{width} x {height} pixels, more than max_pixels ({max_pixels})")
        orientation = _orientation(picture)
        # A turned image is not reduced: its last row and column, which may be half full, would come first.
        if smallest_side is not None and orientation == 1:
            enough = math.ceil(SPARE * smallest_side)
            picture.draft(None, (enough, enough))
        picture.load()
        upright = picture.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else picture
        pixels = _eight_bits(upright)
    return (pixels, width, height) if orientation >= 5 else (pixels, height, width)


def _orientation(picture: Image.Image) -> int:
    """Return the EXIF orientation of ``picture``, 1 (upright) to 8; broken EXIF data count as 1."""
    try:
        orientation = picture.getexif().get(ORIENTATION, 1)
    except Exception:  # EXIF may contain anything
        return 1
    return orientation if orientation in UPRIGHT else 1


def _eight_bits(picture: Image.Image) -> np.ndarray:
    if picture.mode.startswith("I"):  # 16 bits, as I;16 or, in an older Pillow, as I
        from moco_transfer.data import display

        words = np.asarray(picture).astype(np.uint16)
        return display.to_uint8(words, lambda values, counts: display.robust(values, counts()))
    if picture.has_transparency_data:
        black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
        picture = Image.alpha_composite(black, picture.convert("RGBA"))
    gray = picture.mode in ("1", "L")
    return np.asarray(picture if picture.mode in ("L", "RGB") else picture.convert("L" if gray else "RGB"))


def _reason(error: Exception, path: Path) -> str:
    """Return ``error`` in one line that does not name ``path``."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split()).replace(str(path), "the file").replace(path.name, "the file")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
