"""JPEG and PNG as they look: upright, on black where they are transparent, 16 bits through a window."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image

from moco_transfer.data import window
from moco_transfer.data.unreadable import UnreadableImage

# Our own limit, max_pixels, is checked before anything is decoded; Pillow's would be a second one beside it.
Image.MAX_IMAGE_PIXELS = None

# What a reduced JPEG is larger than needed, so that resampling it still looks like resampling the whole: at 1.2 real
# radiographs differ by 0.5 grey levels on average, at 1 by more than 0.7.
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


def read_picture(path: Path, max_pixels: int, smallest_side: int | None) -> tuple[np.ndarray, int, int]:
    """Return the JPEG or PNG at ``path`` and the height and width of the upright image in the file.

    The pixels are uint8 [h, w] or [h, w, 3]; ``smallest_side`` is that of ``decode``. Raises UnreadableImage for more
    than ``max_pixels``, and whatever Pillow raises for a file that is broken.
    """
    with Image.open(path, formats=("JPEG", "PNG")) as picture:
        width, height = picture.size
        if width * height > max_pixels:
            raise UnreadableImage(f"{width} x {height} pixels, more than max_pixels ({max_pixels})")
        orientation = _orientation(picture)
        # not where it is turned: the last row and column, which a reduction may leave half full, would come first
        if smallest_side is not None and orientation == 1:
            enough = math.ceil(SPARE * smallest_side)
            picture.draft(None, (enough, enough))
        picture.load()
        upright = picture.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else picture
        pixels = _eight_bits(upright)
    return (pixels, width, height) if orientation >= 5 else (pixels, height, width)


def _orientation(picture: Image.Image) -> int:
    """Return the EXIF orientation of ``picture``, 1 (upright) to 8; broken EXIF data say nothing."""
    try:
        orientation = picture.getexif().get(ORIENTATION, 1)
    except Exception:  # EXIF holds whatever a camera, or an accident, put there
        return 1
    return orientation if orientation in UPRIGHT else 1


def _eight_bits(picture: Image.Image) -> np.ndarray:
    if picture.mode.startswith("I"):  # 16 bits, as I;16 or, in an older Pillow, as I
        words = np.asarray(picture).astype(np.uint16)
        return window.to_uint8(words, lambda values, counts: window.robust(values, counts()))
    if picture.has_transparency_data:
        black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
        picture = Image.alpha_composite(black, picture.convert("RGBA"))
    gray = picture.mode in ("1", "L")
    return np.asarray(picture if picture.mode in ("L", "RGB") else picture.convert("L" if gray else "RGB"))
