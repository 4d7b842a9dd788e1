"""A DICOM file up to its pixels: where the data set starts, how it is written, and the attributes that decoding needs.

pydicom parses the elements, and stops before the pixels, so that a file can be refused before anything large is read.
Only the attributes that say how pixels are stored and shown are kept: names and dates of patients are never parsed. A
file that lost its header is read when its first bytes look like a data set.
"""

from __future__ import annotations

import io
import zlib
from functools import cache
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from moco_transfer.data.unreadable import UnreadableImage

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.tag import BaseTag

UNDEFINED_LENGTH = 0xFFFFFFFF
PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA = 0x7FE00010, 0x7FE00008, 0x7FE00009
KEPT = [
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "VOILUTSequence",
]
KEPT += [f"{colour}PaletteColorLookupTableDescriptor" for colour in ("Red", "Green", "Blue")]
KEPT += [f"{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")]
KEPT += [f"Segmented{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")]
# A header of a radiograph has some hundred elements; junk of many megabytes would have millions, and take minutes.
MOST_ELEMENTS = 100_000


class DicomFile(NamedTuple):
    """A data set read up to its pixels; ``body`` stands at their first byte.

    ``syntax`` is the transfer syntax, None where the file does not say. ``length`` is that of the pixel data in bytes,
    UNDEFINED_LENGTH where they are encapsulated (compressed); ``vr`` their value representation, where it is explicit.
    """

    header: Dataset
    syntax: str | None
    little_endian: bool
    body: BinaryIO
    vr: str | None
    length: int


def dataset_start(head: bytes) -> int | None:
    """Return where the data elements start in a file with these first 132 bytes or more, None if it is no DICOM."""
    if head[128:132] == b"DICM":
        return 132
    # without preamble: the first element is of group 2 (file meta) or 8, in either byte order
    return 0 if head[:2] in (b"\x02\x00", b"\x08\x00", b"\x00\x08") else None


def read_until_pixels(handle: BinaryIO, start: int, most_bytes: int) -> DicomFile:
    """Return the data set in ``handle`` up to its pixels; ``start`` is from ``dataset_start``.

    Raises UnreadableImage for a data set without pixels or that inflates to more than ``most_bytes``, and whatever
    pydicom and zlib raise for a file that is broken.
    """
    # importing pydicom takes 1.5 s, and most datasets hold no DICOM
    from pydicom.filereader import read_dataset
    from pydicom.uid import DeflatedExplicitVRLittleEndian
    from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

    handle.seek(start)
    meta = read_dataset(handle, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
    syntax = meta.get("TransferSyntaxUID") or None
    if syntax == DeflatedExplicitVRLittleEndian:
        handle = _inflated(handle, most_bytes)
    implicit, little_endian = _encoding(syntax, handle)

    found: list[tuple[int, str | None, int]] = []
    elements = 0

    def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        nonlocal elements
        elements += 1
        if elements > MOST_ELEMENTS:
            raise UnreadableImage(f"a DICOM of more than {MOST_ELEMENTS} elements")
        if tag in (PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA):
            found.append((tag, vr, length))
        return bool(found)

    header = read_dataset(handle, implicit, little_endian, stop_when=at_pixels, specific_tags=_kept_tags())
    if start == 0 and not (found and "Rows" in header and "Columns" in header):
        raise UnreadableImage("neither DICOM, JPEG nor PNG")
    if not found:
        raise UnreadableImage("a DICOM without pixel data")
    tag, vr, length = found[0]
    if tag != PIXEL_DATA:
        raise UnreadableImage("a DICOM with floating-point pixels")
    # pydicom rewinds to the tag: tag and length take 8 bytes, a VR of long values (OB, OW, UN) 4 more
    handle.seek(12 if vr in EXPLICIT_VR_LENGTH_32 else 8, io.SEEK_CUR)
    return DicomFile(header, syntax, little_endian, handle, vr, length)


@cache
def _kept_tags() -> list[int]:
    from pydicom.datadict import tag_for_keyword

    return [tag_for_keyword(keyword) for keyword in KEPT]


def _inflated(handle: BinaryIO, most_bytes: int) -> BinaryIO:
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    data = stream.decompress(handle.read(most_bytes), most_bytes)
    if stream.unconsumed_tail or len(data) == most_bytes:
        raise UnreadableImage(f"a deflated DICOM that inflates to more than {most_bytes} bytes")
    return io.BytesIO(data)


def _encoding(syntax: str | None, handle: BinaryIO) -> tuple[bool, bool]:
    """Return whether VRs are implicit, and whether bytes are little-endian; where no syntax says, the data tell."""
    from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

    if syntax is not None:
        return syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    first = handle.read(6)
    handle.seek(-len(first), io.SEEK_CUR)
    explicit = first[4:6].isalpha() and first[4:6].isupper()
    return not explicit, not (explicit and first[:2] == b"\x00\x08")
