"""One image file to one uint8 array, and that array to the square that the store keeps.

Files come from other people: the format is told by the first bytes and not by the name, images beyond a number of
pixels are refused before they are decoded, and whatever goes wrong inside a decoder becomes UnreadableImage with a
reason in one line.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from moco_transfer.data import window
from moco_transfer.data.dicom import read_dicom
from moco_transfer.data.unreadable import UnreadableImage

# Our own limit, max_pixels, is checked before anything is decoded; Pillow's would be a second one beside it.
Image.MAX_IMAGE_PIXELS = None


def decode(path: Path, max_pixels: int, smallest_side: int | None = None) -> np.ndarray:
    """Return the DICOM, JPEG or PNG at ``path`` as displayed: uint8 [height, width], or [height, width, 3] if coloured.

    An image whose three channels agree is gray. A gray image of 16 bits is shown through a robust window. If
    ``smallest_side`` is given, a JPEG may come out smaller than it is stored, though with no side below twice that
    number: its decoder halves at next to no cost. Raises UnreadableImage.
    """
    try:
        with path.open("rb") as handle:
            head = handle.read(132)
        if not head:
            raise UnreadableImage("the file is empty")
        if head[128:] == b"DICM":
            return read_dicom(path, max_pixels)
        return _read_picture(path, max_pixels, smallest_side)
    except (UnreadableImage, MemoryError):
        raise
    except FileNotFoundError:
        raise UnreadableImage("file not found") from None
    except UnidentifiedImageError:
        raise UnreadableImage("neither DICOM, JPEG nor PNG") from None
    except Exception as error:  # a broken file makes decoders raise anything
        raise UnreadableImage(_reason(error, path)) from error


def fit(image: np.ndarray, size: int, how: str, colour: bool) -> np.ndarray:
    """Return ``image`` (uint8 [height, width] or [height, width, 3]) as a square: uint8 [size, size] or [size, size, 3].

    ``how``: ``stretch`` ignores the aspect; ``pad`` scales the longer side to ``size`` and fills with black;
    ``center_crop`` scales the shorter side to ``size`` and keeps the middle. Resampling is bilinear and antialiased.
    """
    picture = Image.fromarray(image).convert("RGB" if colour else "L")
    width, height = picture.size
    if how == "stretch":
        return np.asarray(_resize(picture, (size, size), (0, 0, width, height)))
    if how == "center_crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        return np.asarray(_resize(picture, (size, size), (left, top, left + side, top + side)))
    if how == "pad":
        scale = size / max(width, height)
        inner = (max(1, round(width * scale)), max(1, round(height * scale)))
        square = Image.new(picture.mode, (size, size))
        square.paste(
            _resize(picture, inner, (0, 0, width, height)), ((size - inner[0]) // 2, (size - inner[1]) // 2)
        )
        return np.asarray(square)
    raise ValueError(f"fit is 'stretch', 'pad' or 'center_crop', not {how!r}")


def _resize(
    picture: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float]
) -> Image.Image:
    # With a gap of 3, whole-number box averaging does the bulk of a strong reduction: faster, and as smooth.
    return picture.resize(size, Image.Resampling.BILINEAR, box=box, reducing_gap=3.0)


def _read_picture(path: Path, max_pixels: int, smallest_side: int | None) -> np.ndarray:
    with Image.open(path, formats=("JPEG", "PNG")) as picture:
        width, height = picture.size
        if width * height > max_pixels:
            raise UnreadableImage(f"{width} x {height} pixels, more than max_pixels ({max_pixels})")
        if smallest_side is not None:
            picture.draft(None, (2 * smallest_side, 2 * smallest_side))
        upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I"):
        return window.to_uint8(np.asarray(upright), window.robust)
    if upright.mode in ("1", "L") and not upright.has_transparency_data:
        return np.asarray(upright.convert("L"))
    if upright.has_transparency_data:
        black = Image.new("RGBA", upright.size, (0, 0, 0, 255))
        upright = Image.alpha_composite(black, upright.convert("RGBA"))
    channels = np.asarray(upright.convert("RGB"))
    gray = channels[..., 0]
    if np.array_equal(gray, channels[..., 1]) and np.array_equal(gray, channels[..., 2]):
        return gray.copy()
    return channels


def _reason(error: Exception, path: Path) -> str:
    """Return ``error`` in one line that does not name ``path``."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split()).replace(str(path), "the file").replace(path.name, "the file")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
