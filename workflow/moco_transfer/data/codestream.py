"""Read what a compressed frame says about itself, before a decoder allocates it.

A decoder allocates what the frame claims, whatever the DICOM around it says. So the claim that is checked must
be the one that the decoder follows: wrappers and bytes after the end are cut off, and a frame with two headers
is refused.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

import numpy as np
from libjpeg import decode_pixel_data as decode_jpeg
from openjpeg import decode_pixel_data as decode_jpeg_2000

from moco_transfer.errors import UnreadableImage

EXCESS = "bytes after the pixels were cut"
SCAN = "the scan header of a JPEG was corrected"
CUT_SHORT = "a DICOM whose compressed frame is cut short"
# Of the JPEG markers (ITU-T T.81 B.1.1.3, T.87 C.1.1): frame headers SOF0 to SOF15 and SOF55, without the tables
# between them; those of sequential DCT; and segments that say nothing about the size.
FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
SEQUENTIAL = {0xC0, 0xC1, 0xC9}
OTHERS = {0xC4, 0xCC, 0xDB, 0xDD, 0xF8, *range(0xE0, 0xF0), 0xFE}
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
# Coded data contain no other marker than restarts (0xD0 to 0xD7).
MARKER = re.compile(rb"\xff+([\xc0-\xcf\xd8-\xfe])")
JP2 = b"\0\0\0\x0cjP  \r\n\x87\n"
END = b"\xff\xd9"


class Codestream(NamedTuple):
    """A compressed frame: its encoding, its size, the bits of a sample, and the bytes to decode.

    ``signed`` says whether decoded samples are signed numbers. ``colours`` is RGB or YBR_FULL if the frame says
    which, else None. ``repairs`` says in which respects ``data`` differ from the frame.
    """

    encoding: str
    height: int
    width: int
    components: int
    precision: int
    signed: bool
    colours: str | None
    data: bytes
    repairs: tuple[str, ...]

    def words(self) -> np.ndarray:
        """Return the decoded samples, uint8 or uint16 [height, width] or [height, width, components].

        Raises UnreadableImage if the decoder refuses the frame.
        """
        decoder = decode_jpeg_2000 if self.encoding == "JPEG 2000" else decode_jpeg
        try:
            decoded = decoder(self.data, version=2)
        except RuntimeError:
            raise UnreadableImage(
                f"a DICOM whose {self.encoding} frame of {self.precision} bits cannot be decoded; if a viewer shows "
                "it, convert it to an uncompressed one with gdcmconv --raw or dcmdjpeg"
            ) from None
        words = np.frombuffer(decoded, np.uint8 if self.precision <= 8 else np.dtype("<u2"))
        if self.signed:  # without the copies of the sign in front of it
            words = words & ((1 << self.precision) - 1)
        shape = (self.height, self.width)
        return words.reshape(shape if self.components == 1 else (*shape, self.components))


def read_codestream(frame: bytes) -> Codestream:
    """Return what the header of a compressed ``frame`` says.

    Raises UnreadableImage if it is neither JPEG, JPEG-LS nor JPEG 2000, is cut short, or has two headers.
    """
    try:
        if frame[:2] == b"\xff\xd8":
            return _jpeg(frame)
        stream = _unwrapped(frame) if frame[: len(JP2)] == JP2 else frame
        if stream[:4] == b"\xff\x4f\xff\x51":
            return _jpeg_2000(stream)
    except (struct.error, IndexError):
        raise UnreadableImage(CUT_SHORT) from None
    raise UnreadableImage("a DICOM whose compressed frame is neither JPEG, JPEG-LS nor JPEG 2000")


def _jpeg(frame: bytes) -> Codestream:
    """Walk through the markers of a JPEG or JPEG-LS (T.81 B.1 and B.2, T.87 C.2)."""
    header, marker, jfif = None, 0, False
    data, repairs = bytearray(frame), []
    position = 2
    while found := MARKER.match(frame, position):
        code, position = found[1][0], found.end()
        if code == END_OF_IMAGE:
            break
        (length,) = struct.unpack_from(">H", frame, position)
        content = frame[position + 2 : position + length]
        position += length
        if code in FRAMES:
            if header is not None:
                raise UnreadableImage("a DICOM whose JPEG has two frame headers")
            header, marker = content, code
        elif code == START_OF_SCAN:
            if header is None:
                raise UnreadableImage("a DICOM whose JPEG has no frame header")
            # some old archives say that a scan ends with its first coefficient; only progressive ones may
            if marker in SEQUENTIAL and content[-3:] != b"\0\x3f\0":
                data[position - 3 : position] = b"\0\x3f\0"
                repairs.append(SCAN)
            following = MARKER.search(frame, position)
            if following is None:
                raise UnreadableImage(CUT_SHORT)
            position = following.start()
        elif code not in OTHERS:
            raise UnreadableImage("a DICOM whose JPEG contains a marker that does not belong there")
        jfif |= code == 0xE0 and content[:4] == b"JFIF"
    if header is None or found is None:
        # without its end marker libjpeg would invent the rest of the image
        raise UnreadableImage(CUT_SHORT)
    if len(frame) > position + 1:
        repairs.append(EXCESS)
    precision, height, width, components = struct.unpack_from(">BHHB", header)
    rgb = header[6:15:3] in (b"RGB", b"rgb")
    return Codestream(
        "JPEG-LS" if marker == 0xF7 else "JPEG lossless" if marker == 0xC3 else "JPEG",
        height, width, components, precision,
        signed=False,
        colours="RGB" if rgb else "YBR_FULL" if jfif else None,
        data=bytes(data[:position]),
        repairs=tuple(dict.fromkeys(repairs)),
    )  # fmt: skip


def _unwrapped(frame: bytes) -> bytes:
    """Return the first codestream among the boxes of a JP2 file (T.800 I.4)."""
    position = 0
    while True:
        length, kind = struct.unpack_from(">I4s", frame, position)
        start = position + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", frame, start)
            start += 8
        end = position + length if length else len(frame)
        if end < start:
            raise UnreadableImage(CUT_SHORT)
        if kind == b"jp2c":
            return frame[start:end]
        position = end


def _jpeg_2000(stream: bytes) -> Codestream:
    """Read the SIZ segment of a JPEG 2000 (T.800 A.5.1), the first after its start."""
    right, lower, left, upper = struct.unpack_from(">4I", stream, 8)
    (components,) = struct.unpack_from(">H", stream, 40)
    depths = {stream[42 + 3 * component] for component in range(components)}
    if len(depths) != 1:
        raise UnreadableImage("a DICOM whose JPEG 2000 has channels of different bits")
    depth = depths.pop()
    last = stream.rfind(END) + len(END)
    excess = len(END) < last < len(stream) - 1
    return Codestream(
        "JPEG 2000", lower - upper, right - left, components,
        precision=(depth & 0x7F) + 1,
        signed=bool(depth & 0x80),
        colours=None,
        data=stream[:last] if excess else stream,
        repairs=(EXCESS,) if excess else (),
    )  # fmt: skip
