"""Read a JPEG or PNG with Pillow, and refuse one that has lost a part of its pixels.

Pillow and libjpeg fill what is missing in a damaged file with grey or black, and often say nothing. Therefore
the checksums of a PNG are compared, and a JPEG whose last pixel looks made up is decoded twice (``_lost``).
"""

from __future__ import annotations

import io
import itertools
import math
import re
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

# Pillow would import the plugins at the first image, and count any error of the machine as one of the image.
from PIL import Image, JpegImagePlugin, MpoImagePlugin, PngImagePlugin  # noqa: F401

from moco_transfer.data.image_file import is_of_the_machine
from moco_transfer.errors import UnreadableImage

# Our own limit, max_pixels, is checked before anything is decoded, so Pillow's is switched off.
Image.MAX_IMAGE_PIXELS = None
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
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
# How Pillow unpacks PNGs of 16 bits in several channels. It keeps the upper bytes only. Read as if the bytes
# were swapped, it keeps the lower ones; grey with alpha fits, byte by byte, into four channels.
BYTES_OF_WORDS = {
    "RGB;16B": ("RGB;16B", "RGB;16L"),
    "RGBA;16B": ("RGBA;16B", "RGBA;16L"),
    "LA;16B": ("RGBA",),
}
# Pillow spreads grey of 2 and 4 bits over 8, but not the grey value that is transparent.
SPREAD = {"L;2": 85, "L;4": 17}
END_OF_IMAGE = b"\xff\xd9"
# A JPEG marker that is neither a stuffed byte nor a restart: coded data end here.
MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
ARITHMETIC = (0xC9, 0xCA, 0xCB)
START_OF_SCAN = 0xDA
# Each scan of a progressive JPEG goes over the whole image: a few bytes more, and a decoder is busy for hours. Encoders
# write 6 to 20.
MOST_SCANS = 100
# As many as a decoder may not need: they are fewer than its buffer of bits.
LAST_BYTES = 8
# Bytes that mean something as coded data, but are no marker.
ANYTHING = bytes(range(255))
MIDDLE_GRAY = range(127, 130)


def read_picture(
    handle: BinaryIO, max_pixels: int, smallest_side: int | None
) -> tuple[np.ndarray, int, int, tuple[str, ...]]:
    """Return a JPEG or PNG, uint8 [h, w] or [h, w, 3], the upright image's sides, and what was repaired.

    Raises UnreadableImage for more than ``max_pixels`` or a damaged file, and whatever else Pillow raises.
    """
    try:
        return _read(handle, max_pixels, smallest_side)
    except (OSError, SyntaxError) as error:  # from loading the pixels
        if is_of_the_machine(error):
            raise
        handle.seek(0)
        is_png = handle.read(8) == PNG_SIGNATURE
        if share := _lost_png(handle) if is_png else _lost(_jpeg_content(handle, max_pixels)):
            raise _damaged(share) from error
        raise


def _open(handle: BinaryIO) -> Image.Image:
    """Return the JPEG or PNG in ``handle``, with its header read; raises UnreadableImage if there is none."""
    handle.seek(0)
    signature = handle.read(8)
    handle.seek(0)
    try:
        picture = Image.open(handle, formats=("JPEG", "PNG"))
        if picture.tile:
            return picture
    except (OSError, SyntaxError) as error:
        if is_of_the_machine(error):
            raise
    for start, name in ((b"\xff\xd8\xff", "JPEG"), (PNG_SIGNATURE, "PNG")):
        if signature.startswith(start):
            raise UnreadableImage(f"a {name} whose header is cut or damaged")
    raise UnreadableImage("neither DICOM, JPEG nor PNG")


def _read(
    handle: BinaryIO, max_pixels: int, smallest_side: int | None
) -> tuple[np.ndarray, int, int, tuple[str, ...]]:
    with _open(handle) as picture:
        width, height = picture.size
        if width * height > max_pixels:
            raise UnreadableImage(f"{width} x {height} pixels, more than max_pixels ({max_pixels})")
        is_png = picture.format == "PNG"
        rawmode = picture.tile[0][3] if is_png else ""
        if picture.info.get("progressive") and _scans(_jpeg_content(handle, max_pixels)) > MOST_SCANS:
            raise UnreadableImage(f"a progressive JPEG of more than {MOST_SCANS} scans")
        if is_png:
            _check_png(handle)
            picture.load()  # the orientation may follow the pixels
            if _may_lack_rows(picture) and (share := _lost_png(handle)):
                raise _damaged(share)
        elif not _has_end(handle, max_pixels):
            content = _jpeg_content(handle, max_pixels)
            _check_last_bytes(content)
            mended = io.BytesIO(content + END_OF_IMAGE)
            return *_read(mended, max_pixels, smallest_side)[:3], ("a JPEG without an end marker",)
        orientation = _orientation(picture)
        # A turned image is not reduced: its last row and column, which may be half full, would come first.
        if smallest_side is not None and orientation == 1:
            enough = math.ceil(SPARE * smallest_side)
            picture.draft(None, (enough, enough))
        picture.load()
        if not is_png and _may_be_cut(picture) and (share := _lost(_jpeg_content(handle, max_pixels))):
            raise _damaged(share)
        if rawmode in BYTES_OF_WORDS:
            words = [_unpacked(handle, rawmode) for rawmode in BYTES_OF_WORDS[rawmode]]
            pixels = _sixteen_bits(*_channels(words), picture.info.get("transparency"))
        elif picture.mode.startswith("I"):  # 16 bits, as I;16 or, in an older Pillow, as I
            words = np.asarray(picture).astype(np.uint16)
            pixels = _sixteen_bits(words, None, picture.info.get("transparency"))
        else:
            if "transparency" in picture.info and rawmode in SPREAD:
                picture.info["transparency"] *= SPREAD[rawmode]
            pixels = _eight_bits(picture)
    if orientation in UPRIGHT:
        pixels = np.asarray(Image.fromarray(pixels).transpose(UPRIGHT[orientation]))
    return (pixels, width, height, ()) if orientation >= 5 else (pixels, height, width, ())


def _orientation(picture: Image.Image) -> int:
    """Return the EXIF orientation of ``picture``, 1 (upright) to 8; broken EXIF data count as 1."""
    try:
        orientation = picture.getexif().get(ORIENTATION, 1)
    except Exception:  # EXIF may contain anything
        return 1
    return orientation if orientation in UPRIGHT else 1


def _eight_bits(picture: Image.Image) -> np.ndarray:
    if picture.has_transparency_data:
        black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
        picture = Image.alpha_composite(black, picture.convert("RGBA"))
    gray = picture.mode in ("1", "L")
    return np.asarray(picture if picture.mode in ("L", "RGB") else picture.convert("L" if gray else "RGB"))


def _unpacked(handle: BinaryIO, rawmode: str) -> np.ndarray:
    """Return the bytes of a PNG that Pillow unpacks by ``rawmode``, uint8 [h, w, channels]."""
    handle.seek(0)
    with Image.open(handle, formats=("PNG",)) as picture:
        codec, box, offset, _ = picture.tile[0]
        picture.tile = [(codec, box, offset, rawmode)]
        return np.asarray(picture)


def _channels(parts: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the words (uint16) of the colours or the grey, and those of alpha if there is one."""
    if len(parts) == 1:
        words = parts[0].view(">u2").astype(np.uint16)
        return words[..., 0], words[..., 1]
    words = parts[0].astype(np.uint16) << 8 | parts[1]
    return words[..., :3], words[..., 3] if words.shape[2] == 4 else None


def _sixteen_bits(
    words: np.ndarray, alpha: np.ndarray | None, transparent: int | tuple[int, ...] | None
) -> np.ndarray:
    """Return ``words`` (uint16 [h, w] or [h, w, 3]) through the robust window of what is visible, over black.

    ``alpha`` is uint16 [h, w]; ``transparent`` is a grey value or colour.
    """
    from moco_transfer.data.display import robust, to_uint8, white

    if transparent is not None:
        differs = words != np.array(transparent)
        alpha = np.where(differs if words.ndim == 2 else differs.any(axis=2), np.uint16(0xFFFF), np.uint16(0))
    opaque = 0xFFFF if alpha is None else white(int(alpha.max()), 16)
    if alpha is None or (alpha == opaque).all():
        return to_uint8(words, lambda values, counts: robust(values, counts()))
    visible = words[alpha > 0].ravel()
    shown = to_uint8(words, lambda values, _: robust(values, np.bincount(visible, minlength=len(values))))
    share = alpha / np.float32(opaque)
    return np.rint(shown * (share if words.ndim == 2 else share[..., None])).astype(np.uint8)


def _damaged(share: float) -> UnreadableImage:
    """Return the reason if a ``share`` of the rows is lost."""
    return UnreadableImage(f"damaged: {max(1, round(100 * share))}% of the rows are missing or wrong")


def _pixel_chunks(handle: BinaryIO) -> Iterator[bytes | None]:
    """Yield the pixel data of a PNG, chunk by chunk; None instead of a chunk with a wrong checksum."""
    handle.seek(len(PNG_SIGNATURE))
    while len(head := handle.read(8)) == 8:
        length, kind = struct.unpack(">L4s", head)
        if kind == b"IDAT":
            content, checksum = handle.read(length), handle.read(4)
            right = zlib.crc32(content, zlib.crc32(kind)).to_bytes(4, "big").startswith(checksum)
            yield content if right or len(content) < length else None
        elif kind == b"IEND":
            return
        else:
            handle.seek(length + 4, io.SEEK_CUR)


def _check_png(handle: BinaryIO) -> None:
    """Raise UnreadableImage if pixels of the PNG in ``handle``, which keeps its position, are damaged."""
    position = handle.tell()
    if any(chunk is None for chunk in _pixel_chunks(handle)) and (share := _lost_png(handle)):
        raise _damaged(share)
    handle.seek(position)


def _may_lack_rows(picture: Image.Image) -> bool:
    """Return whether the last rows of a loaded PNG may be missing: Pillow then leaves them 0, without a word.

    Interlaced, each second row comes last.
    """
    last = picture.crop((0, max(0, picture.height - 2), picture.width, picture.height))
    return not np.asarray(last).reshape(last.height, -1).any(axis=1).all()


def _lost_png(handle: BinaryIO) -> float:
    """Return the share of the rows of a PNG from the first chunk that is damaged, or from where the data end."""
    handle.seek(0)
    width, height, depth, colours = struct.unpack(">LLBB", handle.read(26)[16:])
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colours]
    expected = height * (1 + (width * channels * depth + 7) // 8)
    stream, found = zlib.decompressobj(), 0
    try:
        for content in itertools.takewhile(lambda chunk: chunk is not None, _pixel_chunks(handle)):
            while content and found < expected:
                found += len(stream.decompress(content, 1 << 20))
                content = stream.unconsumed_tail
    except zlib.error:
        pass
    return max(0.0, 1 - found / expected)


def _jpeg_content(handle: BinaryIO, max_pixels: int) -> bytes:
    handle.seek(0)
    return handle.read(8 * max_pixels + (16 << 20))  # more than any JPEG of so many pixels needs


def _has_end(handle: BinaryIO, max_pixels: int) -> bool:
    """Return whether a JPEG has an end marker; after it, the file may contain anything."""
    handle.seek(-2, io.SEEK_END)
    if handle.read(2) == END_OF_IMAGE:
        return True
    content = _jpeg_content(handle, max_pixels)
    return _end_of_image(content)[0] < len(content)


def _check_last_bytes(content: bytes) -> None:
    """Raise UnreadableImage unless a JPEG without an end marker ends where its image ends.

    A copy that fails may leave zeros in place of the end, which libjpeg takes for an image.
    """
    if share := _lost(content):
        raise _damaged(share)
    if not _lost(content[:-LAST_BYTES]):
        raise UnreadableImage("damaged: the end of the image is not the end of its data")


def _may_be_cut(picture: Image.Image) -> bool:
    """Return whether the last pixels of a loaded JPEG may be made up by libjpeg, without a word.

    If coded data end too early, libjpeg fills the rest with middle grey. The rest of a progressive JPEG or of
    inks may look like anything.
    """
    if picture.info.get("progressive") or picture.mode not in ("L", "RGB"):
        return True
    last = picture.crop((picture.width - 1, picture.height - 1, picture.width, picture.height))
    return last.convert("L").getpixel((0, 0)) in MIDDLE_GRAY


def _lost(content: bytes) -> float:
    """Return the share of the rows of a JPEG that its coded data lack, from the first such row to the last.

    What follows complete coded data does not matter: libjpeg skips it. If it changes pixels, they were made
    up. An arithmetic coder may leave out bytes at the end, so this finds nothing in its files.
    """
    end, arithmetic = _end_of_image(content)
    if arithmetic:
        return 0.0
    one, other = (_quarter(content[:end] + tail + END_OF_IMAGE) for tail in (b"", ANYTHING))
    rows = np.flatnonzero((one != other).reshape(len(one), -1).any(axis=1))
    return 1 - rows[0] / len(one) if len(rows) else 0.0


def _end_of_image(content: bytes) -> tuple[int, bool]:
    """Return where the end marker of a JPEG is (or should be), and whether its coding is arithmetic."""
    arithmetic = False
    for position, marker in _markers(content):
        if marker == END_OF_IMAGE[1]:
            return position, arithmetic
        arithmetic |= marker in ARITHMETIC
    return len(content), arithmetic


def _scans(content: bytes) -> int:
    return sum(marker == START_OF_SCAN for _, marker in _markers(content))


def _markers(content: bytes) -> Iterator[tuple[int, int]]:
    """Yield the position and the code of each marker of a JPEG, up to its end marker."""
    position, marker = 2, 0
    while marker != END_OF_IMAGE[1] and (found := MARKER.search(content, position)):
        marker = content[found.start() + 1]
        yield found.start(), marker
        position = found.end() + int.from_bytes(content[found.end() : found.end() + 2], "big")


def _quarter(content: bytes) -> np.ndarray:
    """Return a JPEG at a quarter of its size, which shows every part of the coded data."""
    with Image.open(io.BytesIO(content), formats=("JPEG",)) as picture:
        picture.draft(None, (max(1, picture.width // 4), max(1, picture.height // 4)))
        return np.asarray(picture)
