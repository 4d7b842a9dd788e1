"""Read what a compressed frame says about itself, before a decoder allocates it.

A decoder allocates what the frame claims, whatever the DICOM around it says. So the claim that is checked must
be the one that the decoder follows: wrappers and bytes after the end are cut off, and a frame with two headers
is refused.

libjpeg does not say when coded data end early, but makes up the rest of the image. So data that no whole frame
reads are put at the end of each scan: the image must not depend on them.
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
CUT_SHORT = "a DICOM whose compressed frame is cut short or damaged"
# Frame headers of JPEG (SOF0 to SOF15, ITU-T T.81 B.1.1.3) and JPEG-LS (SOF55, T.87 C.1.1).
FRAMES = dict.fromkeys({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}, "JPEG")
FRAMES |= {0xC0: "JPEG Baseline", 0xC1: "JPEG Extended", 0xC3: "JPEG Lossless", 0xF7: "JPEG-LS"}
SEQUENTIAL = (0xC0, 0xC1, 0xC9)
# Segments that say nothing about the size: tables, restart intervals, applications, comments.
OTHERS = {0xC4, 0xCC, 0xDB, 0xDD, 0xF8, *range(0xE0, 0xF0), 0xFE}
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
# Coded data contain no other marker than restarts (0xD0 to 0xD7).
MARKER = re.compile(rb"\xff+([\xc0-\xcf\xd8-\xfe])")
# All ones are no Huffman code (T.81 C), so that a decoder which reads them stops with an error. JPEG-LS has no
# such code: there, the second of two decoded images shows whether other data are read.
STOP, OTHER = b"\xff\0" * 16, b"\x55" * 64
JP2 = b"\0\0\0\x0cjP  \r\n\x87\n"
JPEG_2000, END = b"\xff\x4f\xff\x51", b"\xff\xd9"
NEXT_JPEG_2000 = re.compile(rb"\xff\xd9\0*\xff\x4f\xff\x51")
# A copy that failed may leave zeros, which a decoder of JPEG 2000 takes for a worse image without a word.
LOST_PAGE = bytes(4096)
# A decoder allocates 9 kB per tile. Real tiles have at least 64 x 64 pixels.
MOST_TILES = 10_000


class Codestream(NamedTuple):
    """A compressed frame: its encoding, its size, the bits of a sample, and the bytes to decode.

    ``signed`` says whether decoded samples are signed numbers. ``colours`` is RGB or YBR_FULL if the frame says
    which, else None. ``repairs`` says in which respects ``data`` differ from the frame. ``probe``, if not empty,
    must decode to the same image.
    """

    encoding: str
    height: int
    width: int
    components: int
    precision: int
    signed: bool
    colours: str | None
    data: bytes
    probe: bytes
    repairs: tuple[str, ...]

    def words(self) -> np.ndarray:
        """Return the decoded samples, uint8 or uint16 [height, width] or [height, width, components].

        Raises UnreadableImage if the decoder refuses the frame, or makes up a part of it.
        """
        decode = decode_jpeg_2000 if self.encoding == "JPEG 2000" else decode_jpeg
        try:
            decoded = decode(self.data, version=2)
            whole = not self.probe or decode(self.probe, version=2) == decoded
        except MemoryError:
            raise
        except Exception:  # a broken frame can make decoders raise anything
            raise UnreadableImage(
                f"a DICOM whose {self.encoding} frame of {self.precision} bits is cut short or cannot be decoded; "
                "if a viewer shows it, decompress it with gdcmconv --raw or dcmdjpeg"
            ) from None
        if not whole:
            raise UnreadableImage(CUT_SHORT)
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
        if stream[: len(JPEG_2000)] == JPEG_2000:
            return _jpeg_2000(stream)
    except (struct.error, IndexError):
        raise UnreadableImage(CUT_SHORT) from None
    raise UnreadableImage("a DICOM whose compressed frame is neither JPEG, JPEG-LS nor JPEG 2000")


def _jpeg(frame: bytes) -> Codestream:
    """Walk through the markers of a JPEG or JPEG-LS (T.81 B.1 and B.2, T.87 C.2)."""
    header, code, jfif, coded = b"", 0, False, 0
    ends, edits = [], []
    position = 2
    while (found := MARKER.match(frame, position)) and (marker := found[1][0]) != END_OF_IMAGE:
        start = found.end() + 2
        (length,) = struct.unpack_from(">H", frame, start - 2)
        position = start + length - 2
        if marker in FRAMES:
            if header:
                raise UnreadableImage("a DICOM whose JPEG has two frame headers")
            header, code = frame[start:position], marker
        elif marker == START_OF_SCAN:
            if not header:
                raise UnreadableImage("a DICOM whose JPEG has no frame header")
            coded += frame[start]
            # some old archives say that a scan ends with its first coefficient; only progressive ones may
            if code in SEQUENTIAL and frame[position - 3 : position] != b"\0\x3f\0":
                edits.append((position - 3, position, b"\0\x3f\0"))
            if not (following := MARKER.search(frame, position)):
                raise UnreadableImage(CUT_SHORT)
            position = following.start()
            ends.append(position)
        elif marker not in OTHERS:
            raise UnreadableImage("a DICOM whose JPEG contains a marker that does not belong there")
        jfif |= marker == 0xE0 and frame[start : start + 4] == b"JFIF"
    precision, height, width, components = struct.unpack_from(">BHHB", header)
    if not found or coded < components:
        raise UnreadableImage(CUT_SHORT)
    stream = frame[: found.end()]
    if b"\xff\xd8\xff" in frame[found.end() :]:
        raise UnreadableImage("a multi-frame DICOM")
    rgb = header[6:15:3] in (b"RGB", b"rgb")
    without = code == 0xF7
    return Codestream(
        FRAMES[code], height, width, components, precision,
        signed=False,
        colours="RGB" if rgb else "YBR_FULL" if jfif else None,
        data=_edited(stream, edits + [(end, end, b"" if without else STOP) for end in ends]),
        probe=_edited(stream, edits + [(end, end, OTHER) for end in ends]) if without else b"",
        repairs=((SCAN,) if edits else ()) + _excess(frame, stream),
    )  # fmt: skip


def _edited(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """Return ``data`` with the bytes from the first to the second number of each edit replaced."""
    pieces, last = [], 0
    for start, end, replacement in sorted(edits):
        pieces += [data[last:start], replacement]
        last = end
    return b"".join([*pieces, data[last:]])


def _excess(frame: bytes, stream: bytes) -> tuple[str, ...]:
    """Return the repair if ``frame`` has more bytes after its ``stream`` than one of padding."""
    return (EXCESS,) if len(frame) > len(stream) + 1 else ()


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
    right, lower, left, upper, tile_width, tile_height, tile_left, tile_top, components = struct.unpack_from(
        ">8IH", stream, 8
    )
    depths = {stream[42 + 3 * component] for component in range(components)}
    if len(depths) != 1:
        raise UnreadableImage("a DICOM whose JPEG 2000 has channels of different bits")
    depth = depths.pop()
    tiles = -(-(right - tile_left) // max(1, tile_width)) * -(-(lower - tile_top) // max(1, tile_height))
    if tiles > MOST_TILES:
        raise UnreadableImage(f"a DICOM whose JPEG 2000 has {tiles} tiles, more than {MOST_TILES}")
    if NEXT_JPEG_2000.search(stream):
        raise UnreadableImage("a multi-frame DICOM")
    if LOST_PAGE in stream:
        raise UnreadableImage(CUT_SHORT)
    data = stream[: stream.rfind(END) + len(END)] if END in stream else stream
    return Codestream(
        "JPEG 2000", lower - upper, right - left, components,
        precision=(depth & 0x7F) + 1,
        signed=bool(depth & 0x80),
        colours=None,
        data=data,
        probe=b"",
        repairs=_excess(stream, data),
    )  # fmt: skip
