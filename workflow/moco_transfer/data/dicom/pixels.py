"""The stored pixels of a DICOM in every encoding: bytes as they lie, or frames that pydicom's decoders take apart.

What comes out are words, unsigned and still uninterpreted; which bits count, and whether they have a sign, is said by
the attributes that come with them.
"""

from __future__ import annotations

import numpy as np

from moco_transfer.data.dicom.attributes import COLOUR, ImagePixels
from moco_transfer.data.dicom.codestream import read_codestream
from moco_transfer.data.dicom.file import UNDEFINED_LENGTH, DicomFile
from moco_transfer.data.unreadable import UnreadableImage


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
