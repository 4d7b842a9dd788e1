"""What a compressed frame says of itself: its kind and size, read before a decoder sees it.

The decoders allocate what the frame claims, whatever the attributes beside it say, so the claim is read first. Markers
are those of JPEG (ITU-T T.81 B.2.2), JPEG-LS (T.87 C.2.2) and JPEG 2000 (T.800 A.5.1).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from moco_transfer.data.unreadable import UnreadableImage

JPEG_2000 = b"\xff\x4f\xff\x51"
JPEG_LS_FRAME = 0xF7
END_OF_IMAGE = b"\xff\xd9"
# SOF0 to SOF15, without the Huffman tables, the extension and the arithmetic conditioning between them
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class Codestream(NamedTuple):
    """``syntax``: the DICOM transfer syntax that holds such frames; ``precision`` in bits a sample."""

    syntax: str
    height: int
    width: int
    components: int
    precision: int


def read_codestream(frame: bytes) -> Codestream:
    """Return what the JPEG, JPEG-LS or JPEG 2000 ``frame`` says; raises UnreadableImage if it is none of them."""
    try:
        if frame[:2] == b"\xff\xd8":
            return _jpeg(frame)
        # some writers wrap the codestream in the boxes of a JP2 file
        start = frame.find(JPEG_2000, 0, 4096)
        if start >= 0:
            return _jpeg_2000(frame, start + len(JPEG_2000))
    except (struct.error, IndexError):
        raise UnreadableImage("a DICOM whose compressed frame is cut short") from None
    raise UnreadableImage("a DICOM whose compressed frame is neither JPEG, JPEG-LS nor JPEG 2000")


def _jpeg(frame: bytes) -> Codestream:
    from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLSNearLossless

    syntaxes = {0xC0: JPEGBaseline8Bit, 0xC3: JPEGLossless, JPEG_LS_FRAME: JPEGLSNearLossless}
    position = 2
    while True:
        if frame[position] != 0xFF:
            raise UnreadableImage("a DICOM whose JPEG has no frame header")
        marker = frame[position + 1]
        if marker == 0xFF:  # fill bytes
            position += 1
            continue
        if marker in JPEG_FRAMES or marker == JPEG_LS_FRAME:
            # no coded data hold these two bytes; without them libjpeg would make up the rest of the image
            if frame.find(END_OF_IMAGE, position) < 0:
                raise UnreadableImage("a DICOM whose compressed frame is cut short")
            precision, height, width, components = struct.unpack_from(">BHHB", frame, position + 4)
            return Codestream(syntaxes.get(marker, JPEGExtended12Bit), height, width, components, precision)
        (length,) = struct.unpack_from(">H", frame, position + 2)
        position += 2 + length


def _jpeg_2000(frame: bytes, start: int) -> Codestream:
    from pydicom.uid import JPEG2000

    right, lower, left, upper = struct.unpack_from(">4I", frame, start + 4)
    components, depth = struct.unpack_from(">HB", frame, start + 36)
    return Codestream(str(JPEG2000), lower - upper, right - left, components, (depth & 0x7F) + 1)
