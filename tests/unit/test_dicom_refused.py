"""Unusable DICOM files are refused with a reason that repeats nothing from the file but numbers."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from dicom_files import compressed, dicom, lut, pixels12, saved, smooth
from jpeg_encoders import jpeg_lossless, jpeg_sequential
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    RLELossless,
)

from moco_transfer.data.decode import decode
from moco_transfer.errors import UnreadableImage

LIMIT = 80_000


def reason(path: Path) -> str:
    with pytest.raises(UnreadableImage) as caught:
        decode(path, LIMIT)
    text = str(caught.value)
    assert text
    assert "\n" not in text
    for identifier in ("10000032", "Identifying", "2.25.1", path.name):
        assert identifier not in text
    return text


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"NumberOfFrames": 2}, "a multi-frame DICOM (2 frames)"),
        ({"PhotometricInterpretation": "HSV"}, "a DICOM in HSV, which cannot be shown"),
        (
            {"PhotometricInterpretation": "10000032"},
            "a DICOM in an unknown photometric interpretation, which cannot be shown",
        ),
        ({"PhotometricInterpretation": "RGB"}, "a DICOM in RGB with 1 samples per pixel"),
        ({"SamplesPerPixel": 3}, "a DICOM in MONOCHROME2 with 3 samples per pixel"),
        ({"BitsAllocated": 32}, "a DICOM of 32 bits per pixel, not 8 or 16"),
        ({"BitsStored": 17}, "a DICOM with 17 of 16 bits stored, the highest bit 11"),
        ({"HighBit": 16}, "a DICOM with 12 of 16 bits stored, the highest bit 16"),
        ({"Rows": 0}, "a DICOM of 17 x 0 pixels"),
        ({"Columns": None}, "a DICOM of 0 x 31 pixels"),
        ({"Rows": 5000}, "17 x 5000 pixels, more than max_pixels (80000)"),
        ({"PixelData": b"\0\0"}, "a DICOM with 2 bytes of pixel data instead of 1054"),
        ({"PixelData": b"\0" * 2108}, "a DICOM with 2108 bytes of pixel data instead of 1054"),
        ({"PixelData": b""}, "a DICOM with 0 bytes of pixel data instead of 1054"),
        ({"VOILUTSequence": [lut(0, 40, np.arange(9), "<")]}, "a DICOM with a LUT of 9 entries of 40 bits"),
        ({"VOILUTSequence": [lut(0, 16, np.arange(0), "<")]}, "a DICOM with a LUT of 0 entries of 16 bits"),
    ],
)
def test_unusable_dicoms_are_refused_with_a_reason(tmp_path, attributes, expected):
    assert reason(saved(dicom(pixels12(), 12, **attributes), tmp_path)) == expected


def test_dicoms_without_integer_pixels_are_refused(tmp_path):
    dataset = dicom(pixels12())
    del dataset.PixelData
    assert reason(saved(dataset, tmp_path)) == "a DICOM without pixel data"
    dataset.FloatPixelData = np.zeros(10, np.float32).tobytes()
    assert reason(saved(dataset, tmp_path)) == "a DICOM with floating-point pixels"


def test_the_transfer_syntax_must_be_known_and_correct(tmp_path):
    dataset = dicom(pixels12(), 12)
    path = saved(dataset, tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.9.9\0"))
    assert reason(path) == "a DICOM in an unknown transfer syntax"
    path.write_bytes(whole.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0"))
    assert reason(path) == "a DICOM whose pixel data are not in RLE Lossless, as its header says"


def test_an_odd_number_of_bytes_may_be_padded(tmp_path):
    pixels = np.arange(15, dtype=np.uint8).reshape(3, 5)
    dataset = dicom(pixels, 8, WindowCenter=128, WindowWidth=256)
    assert len(dataset.PixelData) == 16
    np.testing.assert_array_equal(decode(saved(dataset, tmp_path), LIMIT).pixels, pixels)


def encoded(name: str) -> bytes:
    """One frame of 64 x 64 in each compressed encoding."""
    values = pixels12(height=64, width=64)
    if name == "jpeg_ls":
        path = get_testdata_file("MR_small_jpeg_ls_lossless.dcm", download=False)
        return get_frame(dcmread(path).PixelData, 0, number_of_frames=1)
    if name == "lossless":
        return jpeg_lossless(values, 12, 1)
    if name == "extended":
        return jpeg_sequential(values, 12)
    dataset = dicom(values, 12)
    dataset.compress({"rle": RLELossless, "jpeg_2000": JPEG2000Lossless}[name], generate_instance_uid=False)
    return get_frame(dataset.PixelData, 0, number_of_frames=1)


SYNTAXES = {
    "jpeg_ls": "1.2.840.10008.1.2.4.80",
    "lossless": JPEGLosslessSV1,
    "extended": JPEGExtended12Bit,
    "rle": RLELossless,
    "jpeg_2000": JPEG2000Lossless,
}


@pytest.mark.parametrize("name", SYNTAXES)
def test_compressed_frames_must_be_whole(tmp_path, name):
    frame, like = encoded(name), np.zeros((64, 64), np.uint16)
    decode(saved(compressed(frame, like, 16, SYNTAXES[name]), tmp_path), LIMIT)
    for length in (len(frame) // 2, len(frame) - 50, 40, 2, 0):
        reason(saved(compressed(frame[:length], like, 16, SYNTAXES[name]), tmp_path))
    path = saved(compressed(frame, like, 16, SYNTAXES[name]), tmp_path)
    whole = path.read_bytes()
    for length in (len(whole) // 2, len(whole) - 50):
        path.write_bytes(whole[:length])
        reason(path)


@pytest.mark.parametrize("name", ["jpeg_ls", "lossless", "extended", "jpeg_2000"])
def test_a_frame_of_another_size_is_refused_before_it_is_decoded(tmp_path, name):
    frame = encoded(name)
    if name == "jpeg_2000":
        huge = frame.replace(struct.pack(">II", 64, 64), struct.pack(">II", 4_000_000_000, 4_000_000_000))
    else:
        huge = frame.replace(struct.pack(">HH", 64, 64), struct.pack(">HH", 65500, 65500), 1)
    assert huge != frame
    path = saved(compressed(huge, np.zeros((64, 64), np.uint16), 16, SYNTAXES[name]), tmp_path)
    assert reason(path).startswith("a DICOM of 64 x 64 pixels in 1 channels whose compressed frame has ")
    path = saved(compressed(frame, np.zeros((64, 63), np.uint16), 16, SYNTAXES[name]), tmp_path)
    assert reason(path).startswith(
        "a DICOM of 63 x 64 pixels in 1 channels whose compressed frame has 64 x 64"
    )


def test_two_frames_without_an_attribute_are_refused(tmp_path):
    values = smooth(12, 64, 64)
    dataset = compressed(b"", values, 12, JPEGLosslessSV1)
    dataset.PixelData = encapsulate([jpeg_lossless(values, 12, 1)] * 2)
    assert reason(saved(dataset, tmp_path)) == "a multi-frame DICOM (2 frames)"


def test_frames_in_an_unknown_encoding_are_refused(tmp_path):
    dataset = compressed(b"GIF89a" + b"\0" * 100, pixels12(), 12, JPEGBaseline8Bit)
    assert reason(saved(dataset, tmp_path)) == (
        "a DICOM whose compressed frame is neither JPEG, JPEG-LS nor JPEG 2000"
    )


def test_bombs_are_refused(tmp_path):
    path = saved(dicom(pixels12(), 12, DeflatedExplicitVRLittleEndian), tmp_path)
    whole = path.read_bytes()
    start = 144 + int.from_bytes(whole[140:144], "little")
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    element = struct.pack("<HH2sHL", 0x0011, 0x0010, b"OB", 0, 30_000_000)
    packed = (
        stream.compress(element)
        + b"".join(stream.compress(bytes(1_000_000)) for _ in range(30))
        + stream.flush()
    )
    path.write_bytes(whole[:start] + packed)
    assert "inflates to more than" in reason(path)

    runs = encapsulate([struct.pack("<16L", 2, 64, 66, *[0] * 13) + b"\x81\0" * 500_000])
    dataset = compressed(b"", pixels12(), 12, RLELossless)
    dataset.PixelData = runs
    assert reason(saved(dataset, tmp_path)) == "a DICOM whose run lengths exceed its size"


def test_endless_elements_are_refused(tmp_path):
    path = saved(dicom(pixels12()), tmp_path)
    head = path.read_bytes()
    start = 144 + int.from_bytes(head[140:144], "little")
    path.write_bytes(head[:start] + struct.pack("<HH2sH", 0x0009, 0x0010, b"LO", 0) * 120_000)
    assert reason(path) == "a DICOM of more than 100000 elements"
