"""The Image Pixel attributes of a DICOM (PS3.3 C.7.6.3), read and checked before its pixels are.

What a compressed frame says of itself: its kind and size, read before a decoder sees it.

The decoders allocate what the frame claims, whatever the attributes beside it say, so the claim is read first. Markers
are those of JPEG (ITU-T T.81 B.2.2), JPEG-LS (T.87 C.2.2) and JPEG 2000 (T.800 A.5.1).


Colour pixels of a DICOM as 8-bit RGB: photographs, screen captures, and gray images that were saved as colour.


A DICOM file up to its pixels: where the data set starts, how it is written, and the attributes that decoding needs.

pydicom parses the elements, and stops before the pixels, so that a file can be refused before anything large is read.
Only the attributes that say how pixels are stored and shown are kept: names and dates of patients are never parsed. A
file that lost its header is read when its first bytes look like a data set.


Gray pixels as a viewer shows them: modality LUT, then VOI LUT or window, then the photometric sense.

Stored values mean nothing by themselves: the modality LUT (or rescale slope and intercept) turns them into the device's
units, the VOI LUT or window picks the range of interest, and MONOCHROME1 means that high values are dark. The order is
that of the DICOM standard, PS3.3 C.11 and PS3.4 N.2.


The stored pixels of a DICOM in every encoding: bytes as they lie, or frames that pydicom's decoders take apart.

What comes out are words, unsigned and still uninterpreted; which bits count, and whether they have a sign, is said by
the attributes that come with them.


One DICOM file to the image that a viewer shows: file, attributes, pixels, display, in that order.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from moco_transfer.data import window
from moco_transfer.errors import UnreadableImage

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.tag import BaseTag

GRAY = ("MONOCHROME1", "MONOCHROME2")
PALETTE = "PALETTE COLOR"
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
# Photometric interpretations of the standard that are refused; any other text might be anything, and is not repeated.
REFUSED = ("YBR_PARTIAL_422", "YBR_PARTIAL_420", "HSV", "ARGB", "CMYK", "XYB")


class ImagePixels(NamedTuple):
    """How the pixels of an image are stored; ``stored`` of the ``allocated`` bits count, ``high_bit`` the uppermost."""

    rows: int
    columns: int
    samples: int
    photometric: str
    allocated: int
    stored: int
    high_bit: int
    signed: bool
    planar: int

    def values(self, words: np.ndarray) -> np.ndarray:
        """Return the values (int64) of stored ``words``: bits beside the stored ones may hold overlays, and are cut."""
        kept = (words.astype(np.int64) >> (self.high_bit + 1 - self.stored)) & ((1 << self.stored) - 1)
        return kept - ((kept >> (self.stored - 1)) << self.stored) if self.signed else kept


def image_pixels(header: Dataset, max_pixels: int) -> ImagePixels:
    """Return the attributes in ``header``; raises UnreadableImage for an image that is not one frame to display."""
    rows, columns = int(header.get("Rows") or 0), int(header.get("Columns") or 0)
    frames = int(header.get("NumberOfFrames") or 1)
    samples = int(header.get("SamplesPerPixel") or 1)
    allocated = int(header.get("BitsAllocated") or 0)
    stored = _or(header.get("BitsStored"), allocated)
    high_bit = _or(header.get("HighBit"), stored - 1)
    photometric = str(header.get("PhotometricInterpretation") or "")
    if frames > 1:
        raise UnreadableImage(f"a multi-frame DICOM ({frames} frames)")
    if photometric not in (*GRAY, PALETTE, *COLOUR):
        named = photometric if photometric in REFUSED else "an unknown photometric interpretation"
        raise UnreadableImage(f"a DICOM in {named}, which cannot be shown")
    if samples != (3 if photometric in COLOUR else 1):
        raise UnreadableImage(f"a DICOM in {photometric} with {samples} samples a pixel")
    if allocated not in (8, 16):
        raise UnreadableImage(f"a DICOM of {allocated} bits a pixel, not 8 or 16")
    if not 1 <= stored <= allocated:
        raise UnreadableImage(f"a DICOM with {stored} of {allocated} bits stored")
    if not stored <= high_bit + 1 <= allocated:
        raise UnreadableImage(f"a DICOM with {stored} of {allocated} bits stored, the highest bit {high_bit}")
    if rows < 1 or columns < 1:
        raise UnreadableImage(f"a DICOM of {columns} x {rows} pixels")
    if rows * columns > max_pixels:
        raise UnreadableImage(f"{columns} x {rows} pixels, more than max_pixels ({max_pixels})")
    signed = bool(header.get("PixelRepresentation") or 0)
    planar = int(header.get("PlanarConfiguration") or 0)
    return ImagePixels(rows, columns, samples, photometric, allocated, stored, high_bit, signed, planar)


def _or(value: object, default: int) -> int:
    return default if value is None or value == "" else int(value)


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


def from_palette(words: np.ndarray, about: ImagePixels, header: Dataset) -> np.ndarray:
    """Return the colours that ``words`` [rows, columns] stand for, uint8 [rows, columns, 3] (PS3.3 C.7.6.3.1.5)."""
    from pydicom.pixels import apply_color_lut

    every_word = np.arange(np.iinfo(words.dtype).max + 1)
    colours = apply_color_lut(about.values(every_word), header)
    if colours.dtype == np.uint16:
        colours = colours >> 8
    return colours.astype(np.uint8)[words]


def to_eight_bits(channels: np.ndarray, about: ImagePixels) -> np.ndarray:
    """Return RGB ``channels`` (uint8 or uint16 [rows, columns, 3]) as uint8, full scale to full scale."""
    if about.stored == 8:
        return channels.astype(np.uint8)
    return np.rint(about.values(channels) * (255 / (2**about.stored - 1))).astype(np.uint8)


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


WINDOWS = {"LINEAR": window.linear, "LINEAR_EXACT": window.linear_exact, "SIGMOID": window.sigmoid}


def display(words: np.ndarray, about: ImagePixels, header: Dataset) -> np.ndarray:
    """Return the stored ``words`` (uint8 or uint16 [rows, columns]) as displayed, uint8 of the same shape.

    Raises UnreadableImage if a LUT or the rescale is unusable.
    """

    def brightness(every_word: np.ndarray, counts: window.Counts) -> np.ndarray:
        values = about.values(every_word)
        padding = _padding(values, about, header)
        units = _modality(values, header)
        shown = np.clip(_voi(units, lambda: np.where(padding, 0, counts()), header), 0, 1)
        return 1 - shown if about.photometric == "MONOCHROME1" else shown

    return window.to_uint8(words, brightness)


def _padding(values: np.ndarray, about: ImagePixels, header: Dataset) -> np.ndarray:
    """Return which ``values`` stand for no image at all: the padding value, or all up to its range limit."""
    first = header.get("PixelPaddingValue")
    if first is None or first == "":
        return np.zeros(len(values), dtype=bool)
    last = header.get("PixelPaddingRangeLimit")
    ends = about.values(np.array([int(first), int(first if last is None or last == "" else last)]))
    return (values >= ends.min()) & (values <= ends.max())


def _modality(values: np.ndarray, header: Dataset) -> np.ndarray:
    """Return stored ``values`` in the device's units."""
    if header.get("ModalityLUTSequence"):
        return _lookup(values, header.ModalityLUTSequence[0], header)[0]
    slope, intercept = _first(header.get("RescaleSlope")), _first(header.get("RescaleIntercept"))
    if slope is None and intercept is None:
        return values
    slope, intercept = 1.0 if slope is None else slope, intercept or 0.0
    # a decimal string may hold what no device means, and what would overflow
    if not 1e-30 < abs(slope) < 1e30 or not abs(intercept) < 1e30:
        raise UnreadableImage(f"a DICOM with rescale slope {slope:g} and intercept {intercept:g}")
    return values * slope + intercept


def _voi(units: np.ndarray, counts: window.Counts, header: Dataset) -> np.ndarray:
    """Return the brightness of ``units`` under the first VOI LUT, else the first window, else a robust one."""
    if header.get("VOILUTSequence"):
        shown, bits = _lookup(units, header.VOILUTSequence[0], header)
        return shown / (2**bits - 1)
    function = WINDOWS.get(header.get("VOILUTFunction") or "LINEAR", window.linear)
    center, width = _first(header.get("WindowCenter")), _first(header.get("WindowWidth"))
    smallest = 1 if function is window.linear else np.finfo(np.float32).tiny
    if center is None or width is None or not math.isfinite(center) or not smallest <= width < math.inf:
        return window.robust(units, counts())
    return function(units, center, width)


def _first(value: object) -> float | None:
    """Return the first of one or several decimal strings as a float, None where there is none."""
    if value is None or value == "":
        return None
    if isinstance(value, (str, float, int)):
        return float(value)
    return float(value[0]) if len(value) else None


def _lookup(values: np.ndarray, item: Dataset, header: Dataset) -> tuple[np.ndarray, int]:
    """Return ``values`` looked up in the LUT of ``item``, and the bits of its entries (PS3.3 C.11.1.1, C.11.2.1.1).

    Values below the table take its first entry, values above it the last.
    """
    length, first, bits = (int(number) for number in item.LUTDescriptor)
    length = length or 1 << 16
    data = item.get("LUTData") or b""
    if not isinstance(data, bytes):
        entries = np.atleast_1d(data)
    elif bits == 8 and len(data) in (length, length + length % 2):
        entries = np.frombuffer(data, np.uint8)  # two entries a word, as some writers have it
    else:
        little_endian = header.original_encoding[1]
        entries = np.frombuffer(data, "<u2" if little_endian else ">u2")
    entries = entries[:length]
    if not 1 <= bits <= 16 or not len(entries):
        raise UnreadableImage(f"a DICOM with a LUT of {len(entries)} entries of {bits} bits")
    position = np.clip(np.rint(values) - first, 0, len(entries) - 1).astype(np.int64)
    return entries[position].astype(np.float64), bits


def read_pixels(file: DicomFile, about: ImagePixels, most_bytes: int) -> tuple[np.ndarray, ImagePixels]:
    """Return the pixels of ``file``, uint8 or uint16 [rows, columns] or, as RGB, [rows, columns, 3].

    They come with ``about``, corrected where a compressed frame stores fewer bits than the file says. Raises
    UnreadableImage for pixel data of another size than ``about`` says, or of more than ``most_bytes`` compressed bytes.
    """
    from pydicom.uid import UID, AllTransferSyntaxes, ExplicitVRLittleEndian

    if file.syntax is not None and file.syntax not in AllTransferSyntaxes:
        raise UnreadableImage("a DICOM in an unknown transfer syntax")
    encapsulated = file.length == UNDEFINED_LENGTH
    if file.syntax is not None and UID(file.syntax).is_encapsulated != encapsulated:
        raise UnreadableImage(f"a DICOM whose pixel data do not lie as {UID(file.syntax).name} has them")
    if encapsulated:
        return _decompressed(file, about, most_bytes)
    data = _uncompressed(file, about)
    if about.photometric in COLOUR:
        return _decoded(data, str(ExplicitVRLittleEndian), about), about
    return np.frombuffer(data, f"<u{about.allocated // 8}").reshape(about.rows, about.columns), about


def _uncompressed(file: DicomFile, about: ImagePixels) -> bytes:
    """Return the pixel data as little-endian bytes, without padding."""
    # YBR_FULL_422 shares its two colour differences between two neighbours (PS3.3 C.7.6.3.1.2)
    samples = 2 if about.photometric == "YBR_FULL_422" else about.samples
    width = about.allocated // 8
    expected = about.rows * about.columns * samples * width
    if file.length not in (expected, expected + expected % 2):
        raise UnreadableImage(f"a DICOM with {file.length} bytes of pixel data instead of {expected}")
    data = file.body.read(file.length)
    if len(data) < expected:
        raise UnreadableImage(f"a DICOM that ends after {len(data)} of {expected} bytes of pixel data")
    if not file.little_endian and (width == 2 or (file.vr == "OW" and len(data) % 2 == 0)):
        # bytes of 8-bit pixels that were written as words are swapped in pairs, too
        data = np.frombuffer(data, ">u2").astype("<u2").tobytes()
    return data[:expected]


def _decompressed(file: DicomFile, about: ImagePixels, most_bytes: int) -> tuple[np.ndarray, ImagePixels]:
    from pydicom.encaps import get_frame, parse_basic_offsets
    from pydicom.uid import RLELossless

    data = file.body.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise UnreadableImage(f"a DICOM with more than {most_bytes} bytes of compressed pixel data")
    frames = len(parse_basic_offsets(data))
    if frames > 1:
        raise UnreadableImage(f"a multi-frame DICOM ({frames} frames)")
    frame = get_frame(data, 0, number_of_frames=1)
    if file.syntax == RLELossless:
        # runs at their worst double the data, and a header and padding come on top: more is a bomb
        if len(frame) > 128 + 2 * about.rows * about.columns * about.samples * about.allocated // 8:
            raise UnreadableImage("a DICOM whose run lengths exceed its size")
        return _decoded(data, str(RLELossless), about), about
    says = read_codestream(frame)
    if (says.height, says.width, says.components) != (about.rows, about.columns, about.samples):
        raise UnreadableImage(
            f"a DICOM of {about.columns} x {about.rows} pixels in {about.samples} channels whose compressed frame has "
            f"{says.width} x {says.height} in {says.components}"
        )
    if not 2 <= says.precision <= 16:
        raise UnreadableImage(f"a DICOM whose compressed frame has {says.precision} bits a pixel")
    stored = min(about.stored, says.precision)
    allocated = 8 if says.precision <= 8 else 16
    about = about._replace(allocated=allocated, stored=stored, high_bit=stored - 1)
    return _decoded(data, file.syntax or says.syntax, about, says.precision), about


def _decoded(data: bytes, syntax: str, about: ImagePixels, precision: int | None = None) -> np.ndarray:
    """Return the pixels in ``data`` as pydicom decodes them, words of ``about.allocated`` bits, colours as RGB."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID, RLELossless

    frame = Dataset()
    frame.file_meta = FileMetaDataset()
    frame.file_meta.TransferSyntaxUID = syntax
    frame.Rows, frame.Columns, frame.SamplesPerPixel = about.rows, about.columns, about.samples
    frame.PhotometricInterpretation, frame.PlanarConfiguration = about.photometric, about.planar
    # all bits, and none a sign: which of them count is for ImagePixels.values to say
    frame.BitsAllocated, frame.BitsStored = about.allocated, precision or about.allocated
    frame.PixelRepresentation = 0
    frame.PixelData = data
    plugin = "" if not UID(syntax).is_encapsulated else "pydicom" if syntax == RLELossless else "pylibjpeg"
    return get_decoder(syntax).as_array(frame, decoding_plugin=plugin)[0]


# Beside its pixels, three channels of 16 bits at most, a file may hold this much.
HEADER_BYTES = 16 << 20


def read_dicom(path: Path, start: int, max_pixels: int) -> np.ndarray:
    """Return the single frame at ``path`` as displayed, uint8 [height, width] or [height, width, 3] if coloured.

    ``start`` is where its elements start, from ``dataset_start``. Raises UnreadableImage for whatever is not one frame
    of at most ``max_pixels``, of 8 or 16 bits, gray, palette or RGB and its kin, and for a file that is broken.
    """
    most_bytes = 6 * max_pixels + HEADER_BYTES
    try:
        with path.open("rb") as handle:
            file = read_until_pixels(handle, start, most_bytes)
            about = image_pixels(file.header, max_pixels)
            pixels, about = read_pixels(file, about, most_bytes)
        if about.photometric == PALETTE:
            return from_palette(pixels, about, file.header)
        if about.photometric in COLOUR:
            return to_eight_bits(pixels, about)
        return display(pixels, about, file.header)
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:
        # what pydicom and its decoders raise repeats attributes of the file, so only its kind is told
        if isinstance(error, OSError) and error.errno:
            raise
        raise UnreadableImage(f"a broken DICOM ({type(error).__name__})") from error
