"""One image file to one uint8 array as it looks, and that array to the square that the store keeps.

Pictures come out upright, on black if they are transparent; 16 bits are shown through a window. Files come from other
people: the first bytes tell the format, not the name; images of too many pixels are refused before they are decoded; and
whatever goes wrong inside a decoder becomes UnreadableImage with a reason in one line.
"""

from __future__ import annotations

import logging
import math
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from moco_transfer.data import display
from moco_transfer.data.dicom import dataset_start, read_dicom
from moco_transfer.errors import UnreadableImage

# Our own limit, max_pixels, is checked before anything is decoded, so Pillow's is switched off.
Image.MAX_IMAGE_PIXELS = None

# How much larger than needed a reduced JPEG is, so that resampling it still looks like resampling the whole: at 1.2,
# real radiographs differ by 0.5 grey levels on average, at 1 by more than 0.7.
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


def _read_picture(path: Path, max_pixels: int, smallest_side: int | None) -> tuple[np.ndarray, int, int]:
    """Return the JPEG or PNG at ``path``, uint8 [h, w] or [h, w, 3], and the sides of the upright image in the file.

    Raises UnreadableImage for more than ``max_pixels``, and whatever Pillow raises for a broken file.
    """
    with Image.open(path, formats=("JPEG", "PNG")) as picture:
        width, height = picture.size
        if width * height > max_pixels:
            raise UnreadableImage(f"{width} x {height} pixels, more than max_pixels ({max_pixels})")
        orientation = _orientation(picture)
        # not if it is turned: the last row and column, which a reduction may leave half full, would come first
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
    except Exception:  # EXIF holds whatever a camera, or an accident, put there
        return 1
    return orientation if orientation in UPRIGHT else 1


def _eight_bits(picture: Image.Image) -> np.ndarray:
    if picture.mode.startswith("I"):  # 16 bits, as I;16 or, in an older Pillow, as I
        words = np.asarray(picture).astype(np.uint16)
        return display.to_uint8(words, lambda values, counts: display.robust(values, counts()))
    if picture.has_transparency_data:
        black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
        picture = Image.alpha_composite(black, picture.convert("RGBA"))
    gray = picture.mode in ("1", "L")
    return np.asarray(picture if picture.mode in ("L", "RGB") else picture.convert("L" if gray else "RGB"))


# The warnings of the decoders repeat paths and attributes of the file, which may be identifiers. They are silenced for
# the whole process, because images are decoded in threads.
warnings.filterwarnings("ignore", module=r"pydicom|PIL")
for library in ("pydicom", "pylibjpeg", "libjpeg", "openjpeg"):
    logging.getLogger(library).addHandler(logging.NullHandler())
    logging.getLogger(library).propagate = False


class Decoded(NamedTuple):
    """An image as displayed: uint8 [h, w] or [h, w, 3], and the sides of the upright image in its file."""

    pixels: np.ndarray
    height: int
    width: int

    @property
    def extent(self) -> tuple[float, float]:
        """The height and width of the image in ``pixels``: a reduced one may end within its last row or column."""
        stored, shown = (self.height, self.width), self.pixels.shape[:2]
        reduction = next(
            r for r in (1, 2, 4, 8) if all(-(-a // r) == b for a, b in zip(stored, shown, strict=True))
        )
        return self.height / reduction, self.width / reduction


def decode(path: Path, max_pixels: int, smallest_side: int | None = None) -> Decoded:
    """Return the DICOM, JPEG or PNG at ``path`` as displayed: uint8 [height, width], or [height, width, 3] if coloured.

    An image whose three channels agree is gray. A gray PNG of 16 bits is shown through a robust window. Pixels are
    taken as square, whatever a file says of their spacing. If ``smallest_side`` is given, a JPEG may come out 2, 4 or 8
    times smaller than it is stored, but with no side below 1.2 times that number: its decoder averages blocks in the
    frequency domain, which halves the time. Raises UnreadableImage.
    """
    try:
        with path.open("rb") as handle:
            head = handle.read(132)
        if not head:
            raise UnreadableImage("the file is empty")
        start = dataset_start(head)
        if start is None:
            pixels, height, width = _read_picture(path, max_pixels, smallest_side)
        else:
            pixels = read_dicom(path, start, max_pixels)
            height, width = pixels.shape[:2]
        return Decoded(_gray_if_equal(pixels), height, width)
    except (UnreadableImage, MemoryError):
        raise
    except FileNotFoundError:
        raise UnreadableImage("file not found") from None
    except UnidentifiedImageError:
        raise UnreadableImage("neither DICOM, JPEG nor PNG") from None
    except Exception as error:  # a broken file makes decoders raise anything
        raise UnreadableImage(_reason(error, path)) from error


def fit(image: np.ndarray | Decoded, size: int, how: str, colour: bool) -> np.ndarray:
    """Return ``image`` (uint8 [height, width] or [height, width, 3]) as a square: uint8 [size, size] or [size, size, 3].

    ``how``: ``stretch`` ignores the aspect; ``pad`` scales the longer side to ``size`` and fills with black;
    ``center_crop`` scales the shorter side to ``size`` and keeps the middle. Resampling is bilinear and antialiased. A
    ``Decoded`` is resampled by its extent: its pixels alone would shift a reduced image by up to a third of a pixel.
    """
    pixels, (height, width) = (
        (image.pixels, image.extent) if isinstance(image, Decoded) else (image, image.shape[:2])
    )
    picture = Image.fromarray(pixels)
    mode = "RGB" if colour else "L"
    if picture.mode != mode:
        picture = picture.convert(mode)
    if how == "stretch":
        return np.asarray(_resize(picture, (size, size), (0, 0, width, height)))
    if how == "center_crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        return np.asarray(_resize(picture, (size, size), (left, top, left + side, top + side)))
    if how == "pad":
        scale = size / max(width, height)
        inner = (max(1, round(width * scale)), max(1, round(height * scale)))
        square = Image.new(mode, (size, size))
        corner = ((size - inner[0]) // 2, (size - inner[1]) // 2)
        square.paste(_resize(picture, inner, (0, 0, width, height)), corner)
        return np.asarray(square)
    raise ValueError(f"fit is 'stretch', 'pad' or 'center_crop', not {how!r}")


def _resize(
    picture: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float]
) -> Image.Image:
    # With a gap of 3, whole-number box averaging does the bulk of a strong reduction: faster, and as smooth.
    return picture.resize(size, Image.Resampling.BILINEAR, box=box, reducing_gap=3.0)


def _gray_if_equal(pixels: np.ndarray) -> np.ndarray:
    if pixels.ndim == 2:
        return pixels
    red = pixels[..., 0]
    agree = np.array_equal(red, pixels[..., 1]) and np.array_equal(red, pixels[..., 2])
    return red.copy() if agree else pixels


def _reason(error: Exception, path: Path) -> str:
    """Return ``error`` in one line that does not name ``path``."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split()).replace(str(path), "the file").replace(path.name, "the file")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
