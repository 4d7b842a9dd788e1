"""Read one DICOM file as the image that a viewer shows.

pydicom parses the elements and decodes the pixels. The code around it makes files from anywhere safe to read:

- Parsing stops before the pixels, so that a file can be refused before anything large is read. Only the
  attributes that say how pixels are stored and shown are kept: names and dates of patients are never parsed.
- Decoders allocate what a compressed frame claims, whatever the attributes say, so the claim is checked
  first.
- Deviations from the standard that viewers accept are repaired, and each repair is reported.
- Every refusal is an UnreadableImage whose reason repeats nothing from the file but numbers.

A file that lost its header is read if its first bytes look like a data set.
"""

from __future__ import annotations

import io
import math
import zlib
from typing import BinaryIO, NamedTuple

import numpy as np
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import get_frame, parse_basic_offsets
from pydicom.filereader import read_dataset
from pydicom.pixels import get_decoder
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

from moco_transfer.data.codestream import EXCESS, read_codestream
from moco_transfer.data.display import ImagePixels, show_colour, show_gray, show_palette
from moco_transfer.data.image_file import is_of_the_machine
from moco_transfer.errors import UnreadableImage

GRAY = ("MONOCHROME1", "MONOCHROME2")
PALETTE = "PALETTE COLOR"
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
# Photometric interpretations of the standard that are refused. Messages do not repeat any other text.
REFUSED = ("YBR_PARTIAL_422", "YBR_PARTIAL_420", "HSV", "ARGB", "CMYK", "XYB")
_KEPT = [
    "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration",
    "NumberOfFrames", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue",
    "PixelPaddingRangeLimit", "WindowCenter", "WindowWidth", "VOILUTFunction", "RescaleSlope",
    "RescaleIntercept", "ModalityLUTSequence", "VOILUTSequence",
]  # fmt: skip
for _lut in ("RedPaletteColorLookupTable", "GreenPaletteColorLookupTable", "BluePaletteColorLookupTable"):
    _KEPT += [f"{_lut}Descriptor", f"{_lut}Data", f"Segmented{_lut}Data"]
DECIMALS = ("WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept")
TEXT = (None, "DS", "IS", "LO", "LT", "SH", "ST", "UN")  # how files spell a decimal string
COMMA = "a decimal comma was read as a point"
NO_WINDOW = "a window that is not a number was ignored"
KEPT = [tag_for_keyword(keyword) for keyword in _KEPT]
UNDEFINED_LENGTH = 0xFFFFFFFF
PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA = 0x7FE00010, 0x7FE00008, 0x7FE00009
# The header of a radiograph has a few hundred elements; megabytes of junk would take minutes.
MOST_READS = 200_000
# What a file may contain besides its pixels, which are at most three channels of 16 bits.
HEADER_BYTES = 16 << 20


class DicomFile(NamedTuple):
    """A data set read up to its pixels; ``body`` is positioned at their first byte.

    ``syntax`` is the transfer syntax, None if the file does not say. ``length`` is the length of the pixel
    data in bytes, UNDEFINED_LENGTH if they are encapsulated (compressed); ``vr`` is their value
    representation, if it is explicit.
    """

    header: Dataset
    syntax: str | None
    little_endian: bool
    body: BinaryIO
    vr: str | None
    length: int


class Pixels(NamedTuple):
    """Words as stored, uint8 or uint16 [rows, columns] or [rows, columns, 3], and how to read them."""

    words: np.ndarray
    about: ImagePixels
    repairs: tuple[str, ...]


def read_dicom(handle: BinaryIO, start: int, max_pixels: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the single frame in ``handle`` as displayed, and what had to be repaired to read it.

    The image is uint8 [height, width] or [height, width, 3]; each repair is a short text. ``start`` is the
    position of the first data element. Raises UnreadableImage unless the file is intact and contains one frame
    of at most ``max_pixels``, with 8 or 16 bits, in grey, palette colours, RGB or YBR; and OSError,
    MemoryError or ImportError if the machine fails.
    """
    most_bytes = 6 * max_pixels + HEADER_BYTES
    try:
        file = _read_until_pixels(handle, start, most_bytes)
        repairs = _repair_decimals(file.header)
        pixels = _read_pixels(file, _image_pixels(file.header, max_pixels), most_bytes)
        if pixels.about.photometric == PALETTE:
            shown = show_palette(pixels.words, pixels.about, file.header)
        elif pixels.about.photometric in COLOUR:
            shown = show_colour(pixels.words, pixels.about)
        else:
            shown = show_gray(pixels.words, pixels.about, file.header)
        return shown, tuple(dict.fromkeys((*repairs, *pixels.repairs)))
    except UnreadableImage:
        raise
    except Exception as error:
        if is_of_the_machine(error):
            raise
        # the messages of pydicom and its decoders repeat attributes of the file: report only the kind of
        # error
        raise UnreadableImage(f"a broken DICOM ({type(error).__name__})") from error


def _read_until_pixels(handle: BinaryIO, start: int, most_bytes: int) -> DicomFile:
    """Return the data set in ``handle`` up to its pixels.

    Raises UnreadableImage if there are no pixels, or if the data set inflates to more than ``most_bytes``.
    Also raises whatever pydicom and zlib raise for a broken file.
    """
    handle.seek(start)
    meta = read_dataset(handle, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
    syntax = meta.get("TransferSyntaxUID") or None
    if syntax == DeflatedExplicitVRLittleEndian:
        handle = _inflated(handle, most_bytes)
    implicit, little_endian = _encoding(syntax, handle)

    found: list[tuple[int, str | None, int]] = []

    def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        if tag in (PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA):
            found.append((tag, vr, length))
        return bool(found)

    header = read_dataset(_Limited(handle), implicit, little_endian, stop_when=at_pixels, specific_tags=KEPT)
    if start == 0 and not (found and "Rows" in header and "Columns" in header):
        raise UnreadableImage("neither DICOM, JPEG nor PNG")
    if not found:
        raise UnreadableImage("a DICOM without pixel data")
    tag, vr, length = found[0]
    if tag != PIXEL_DATA:
        raise UnreadableImage("a DICOM with floating-point pixels")
    # pydicom rewinds to the tag: the tag and the length take 8 bytes, and a VR of long values (OB, OW, UN)
    # takes 4 more
    handle.seek(12 if vr in EXPLICIT_VR_LENGTH_32 else 8, io.SEEK_CUR)
    return DicomFile(header, syntax, little_endian, handle, vr, length)


class _Limited:
    """A file that is read from a limited number of times: pydicom reads each element and each item of a sequence by
    itself, and makes 1.5 kB of 8 bytes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._reads = file, 0
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        self._reads += 1
        if self._reads > MOST_READS:
            raise UnreadableImage(f"a DICOM with more than {MOST_READS // 2} elements before its pixels")
        return self._file.read(size)


def _inflated(handle: BinaryIO, most_bytes: int) -> BinaryIO:
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    data = stream.decompress(handle.read(most_bytes), most_bytes)
    if stream.unconsumed_tail or len(data) == most_bytes:
        raise UnreadableImage(f"a deflated DICOM that inflates to more than {most_bytes} bytes")
    return io.BytesIO(data)


def _encoding(syntax: str | None, handle: BinaryIO) -> tuple[bool, bool]:
    """Return whether VRs are implicit and bytes little-endian, by the syntax or the first element."""
    if syntax is not None:
        return syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    first = handle.read(6)
    handle.seek(-len(first), io.SEEK_CUR)
    explicit = first[4:6].isalpha() and first[4:6].isupper()
    return not explicit, not (explicit and first[:2] == b"\x00\x08")


def _repair_decimals(header: Dataset) -> list[str]:
    """Rewrite the first value of each decimal string in ``header`` as a number; return the repairs.

    Only the first value is used. pydicom refuses all of them if one is broken. Raises UnreadableImage if the
    rescale is not a number.
    """
    repairs = []
    for keyword in DECIMALS:
        element = header.get_item(keyword)
        if not isinstance(element, RawDataElement) or element.VR not in TEXT or not element.value:
            continue
        text = element.value.split(b"\\")[0].split(b"\0")[0].strip().decode("latin-1")
        if text.count(",") == 1 and "." not in text:
            text = text.replace(",", ".")
            repairs.append(COMMA)
        try:
            broken = text and not math.isfinite(float(text))
        except ValueError:
            broken = True
        if broken:
            if keyword.startswith("Rescale"):
                raise UnreadableImage("a DICOM whose rescale slope or intercept is not a number")
            text = ""
            repairs.append(NO_WINDOW)
        header[element.tag] = element._replace(VR="DS", value=text.encode("latin-1"), length=len(text))
    return repairs


def _image_pixels(header: Dataset, max_pixels: int) -> ImagePixels:
    """Return how ``header`` says the pixels are stored; raises UnreadableImage if they cannot be shown."""

    def number(name: str, default: int) -> int:
        value = header.get(name)
        return default if value is None or value == "" else int(value)

    rows, columns = number("Rows", 0), number("Columns", 0)
    samples = number("SamplesPerPixel", 1) or 1
    allocated = number("BitsAllocated", 0)
    stored = number("BitsStored", allocated)
    high_bit = number("HighBit", stored - 1)
    photometric = str(header.get("PhotometricInterpretation") or "")
    if (frames := number("NumberOfFrames", 1)) > 1:
        raise UnreadableImage(f"a multi-frame DICOM ({frames} frames)")
    if photometric not in (*GRAY, PALETTE, *COLOUR):
        named = photometric if photometric in REFUSED else "an unknown photometric interpretation"
        raise UnreadableImage(f"a DICOM in {named}, which cannot be shown")
    if samples != (3 if photometric in COLOUR else 1):
        raise UnreadableImage(f"a DICOM in {photometric} with {samples} samples per pixel")
    if allocated not in (8, 16):
        raise UnreadableImage(f"a DICOM of {allocated} bits per pixel, not 8 or 16")
    if not 1 <= stored <= high_bit + 1 <= allocated:
        raise UnreadableImage(f"a DICOM with {stored} of {allocated} bits stored, the highest bit {high_bit}")
    if rows < 1 or columns < 1:
        raise UnreadableImage(f"a DICOM of {columns} x {rows} pixels")
    if rows * columns > max_pixels:
        raise UnreadableImage(f"{columns} x {rows} pixels, more than max_pixels ({max_pixels})")
    signed, planar = bool(number("PixelRepresentation", 0)), number("PlanarConfiguration", 0)
    return ImagePixels(rows, columns, samples, photometric, allocated, stored, high_bit, signed, planar)


def _read_pixels(file: DicomFile, about: ImagePixels, most_bytes: int) -> Pixels:
    """Return the pixels of ``file``, with ``about`` corrected by what a compressed frame says.

    Raises UnreadableImage if there are fewer pixels than ``about`` says, or more than one frame of them, or
    more than ``most_bytes`` compressed bytes.
    """
    if file.syntax is not None and file.syntax not in AllTransferSyntaxes:
        raise UnreadableImage("a DICOM in an unknown transfer syntax")
    encapsulated = file.length == UNDEFINED_LENGTH
    if file.syntax is not None and UID(file.syntax).is_encapsulated != encapsulated:
        raise UnreadableImage(
            f"a DICOM whose pixel data are not in {UID(file.syntax).name}, as its header says"
        )
    if encapsulated:
        return _decompressed(file, about, most_bytes)
    data, repairs = _uncompressed(file, about)
    if about.photometric in COLOUR:
        return Pixels(_decoded(data, ExplicitVRLittleEndian, about), about, repairs)
    # pydicom would copy the pixels twice, which doubles the time of the whole image
    words = np.frombuffer(data, f"<u{about.allocated // 8}").reshape(about.rows, about.columns)
    return Pixels(words, about, repairs)


def _uncompressed(file: DicomFile, about: ImagePixels) -> tuple[bytes, tuple[str, ...]]:
    """Return the pixel data as little-endian bytes, without padding, and the repairs."""
    # YBR_FULL_422 shares its two colour differences between two neighbours (PS3.3 C.7.6.3.1.2)
    shared = about.photometric == "YBR_FULL_422"
    width = about.allocated // 8
    expected = about.rows * about.columns * (2 if shared else about.samples) * width
    # Padding is allowed (PS3.5 8.1.1), but so many bytes are other frames, or colours that are not shared.
    more, frame = file.length - expected, expected // 2 if shared else expected
    if more < 0 or (more >= frame and more % frame <= 1):
        raise UnreadableImage(f"a DICOM with {file.length} bytes of pixel data instead of {expected}")
    data = file.body.read(expected + expected % 2)
    if len(data) < expected:
        raise UnreadableImage(f"a DICOM that ends after {len(data)} of {expected} bytes of pixel data")
    if not file.little_endian and (width == 2 or (file.vr == "OW" and len(data) % 2 == 0)):
        # 8-bit pixels that were written as words are also swapped in pairs
        data = np.frombuffer(data, ">u2").astype("<u2").tobytes()
    return data[:expected], (EXCESS,) if file.length > expected + expected % 2 else ()


def _decompressed(file: DicomFile, about: ImagePixels, most_bytes: int) -> Pixels:
    data = file.body.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise UnreadableImage(f"a DICOM with more than {most_bytes} bytes of compressed pixel data")
    frames = len(parse_basic_offsets(data))
    if frames > 1:
        raise UnreadableImage(f"a multi-frame DICOM ({frames} frames)")
    frame = get_frame(data, 0, number_of_frames=1)
    if file.syntax == RLELossless:
        # at worst, runs double the data; a header and padding are added. More is a bomb
        if len(frame) > 128 + 2 * about.rows * about.columns * about.samples * about.allocated // 8:
            raise UnreadableImage("a DICOM whose run lengths exceed its size")
        try:
            return Pixels(_decoded(data, RLELossless, about), about, ())
        except RuntimeError:
            raise UnreadableImage("a DICOM whose RLE frame is cut short or cannot be decoded") from None
    stream = read_codestream(frame)
    if (stream.height, stream.width, stream.components) != (about.rows, about.columns, about.samples):
        raise UnreadableImage(
            f"a DICOM of {about.columns} x {about.rows} pixels in {about.samples} channels whose compressed "
            f"frame has {stream.width} x {stream.height} in {stream.components}"
        )
    if not 2 <= stream.precision <= 16:
        raise UnreadableImage(f"a DICOM whose compressed frame has {stream.precision} bits per pixel")
    words = stream.words()
    # A compressed frame contains pixels only, no overlays in spare bits. Where the header says less, it errs.
    stored = min(about.stored, stream.precision)
    if stream.signed or int(words.max()) >> stored:
        stored = stream.precision
    colours = (stream.colours or about.photometric) if stream.components == 3 else about.photometric
    about = about._replace(
        photometric=colours, allocated=8 * words.itemsize, stored=stored, high_bit=stored - 1
    )
    return Pixels(words, about, stream.repairs)


def _decoded(data: bytes, syntax: str, about: ImagePixels) -> np.ndarray:
    """Return ``data`` as pydicom decodes them: words of ``about.allocated`` bits, channels last."""
    frame = Dataset()
    frame.file_meta = FileMetaDataset()
    frame.file_meta.TransferSyntaxUID = syntax
    frame.Rows, frame.Columns, frame.SamplesPerPixel = about.rows, about.columns, about.samples
    frame.PhotometricInterpretation, frame.PlanarConfiguration = about.photometric, about.planar
    # all bits as an unsigned number: ImagePixels.values selects those that count
    frame.BitsAllocated, frame.BitsStored, frame.PixelRepresentation = about.allocated, about.allocated, 0
    frame.PixelData = data
    return get_decoder(syntax).as_array(frame, raw=True, decoding_plugin="pydicom")[0]
