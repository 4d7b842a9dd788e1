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
        ({"VOILUTSequence": [lut(0, 16, np.arange(0), "<")]}, "a DICOM with a LUT of 0 entries"),
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


def test_endless_elements_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("moco_transfer.data.dicom.MOST_READS", 2000)
    path = saved(dicom(pixels12()), tmp_path)
    head = path.read_bytes()
    start = 144 + int.from_bytes(head[140:144], "little")
    sequence = struct.pack("<HH2sHI", 0x0028, 0x3010, b"SQ", 0, 0xFFFFFFFF)
    for endless in (
        struct.pack("<HH2sH", 0x0009, 0x0010, b"LO", 0) * 2200,
        sequence + struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 2200,
    ):
        path.write_bytes(head[:start] + endless)
        assert reason(path) == "a DICOM with more than 1000 elements before its pixels"


def box(kind: bytes, inner: bytes) -> bytes:
    return struct.pack(">I4s", len(inner) + 8, kind) + inner


@pytest.mark.parametrize("where", ["xml ", "nested", "ftyp", "first"])
def test_a_wrapper_cannot_show_another_jpeg_2000_than_the_decoder_reads(tmp_path, where):
    harmless = encoded("jpeg_2000")
    huge = harmless.replace(struct.pack(">II", 64, 64), struct.pack(">II", 30_000, 30_000))
    jp2c = box(b"jp2c", harmless)
    decoy = {"xml ": box(b"xml ", harmless), "nested": box(b"asoc", jp2c), "ftyp": b"", "first": b""}[where]
    kind = box(b"ftyp", b"jp2 \0\0\0\0jp2 " + harmless * (where == "ftyp"))
    wrapped = b"\0\0\0\x0cjP  \r\n\x87\n" + kind + decoy + box(b"jp2c", huge)
    if where == "first":  # junk before a codestream
        wrapped = b"\0" * 16 + harmless
    path = saved(compressed(wrapped, np.zeros((64, 64), np.uint16), 12, JPEG2000Lossless), tmp_path)
    text = reason(path)
    assert "neither JPEG" in text if where == "first" else "30000 x 30000" in text


@pytest.mark.parametrize("name", ["jpeg_ls", "lossless", "extended"])
def test_a_jpeg_has_one_frame_header(tmp_path, name):
    frame = encoded(name)
    start = next(
        frame.index(bytes([0xFF, code])) for code in (0xF7, 0xC3, 0xC1) if bytes([0xFF, code]) in frame
    )
    header = frame[start : start + 13]
    huge = header.replace(struct.pack(">HH", 64, 64), struct.pack(">HH", 60_000, 60_000))
    like = np.zeros((64, 64), np.uint16)
    for headers in (header + huge, huge + header):
        twice = frame[:start] + headers + frame[start + 13 :]
        assert "two frame headers" in reason(saved(compressed(twice, like, 16, SYNTAXES[name]), tmp_path))
    for hidden in (b"\xff\xd8", b"\xff\x01" + struct.pack(">H", 2 + len(header)) + header):
        odd = frame[:2] + hidden + frame[2:]
        reason(saved(compressed(odd, like, 16, SYNTAXES[name]), tmp_path))


@pytest.mark.parametrize("name", ["jpeg_ls", "lossless", "extended"])
def test_a_lost_tail_is_not_made_up(tmp_path, name):
    frame, like = encoded(name), np.zeros((64, 64), np.uint16)
    end = frame.rindex(b"\xff\xd9")
    for length in (end // 2, end - 100, end - 5):
        lost = frame[: length - (frame[length - 1] == 0xFF)] + b"\xff\xd9"
        assert "cut short" in reason(saved(compressed(lost, like, 16, SYNTAXES[name]), tmp_path))


@pytest.mark.parametrize("name", ["jpeg_ls", "lossless", "extended", "jpeg_2000"])
def test_a_second_frame_behind_the_first_is_refused(tmp_path, name):
    frame, like = encoded(name), np.zeros((64, 64), np.uint16)
    path = saved(compressed(frame + frame, like, 16, SYNTAXES[name]), tmp_path)
    assert "multi-frame" in reason(path)


def test_a_jpeg_2000_in_many_tiles_is_refused(tmp_path):
    dataset = dicom(pixels12(height=250, width=250), 12)
    dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
    frame = bytearray(get_frame(dataset.PixelData, 0, number_of_frames=1))
    frame[24:32] = struct.pack(">2I", 1, 1)
    path = saved(compressed(bytes(frame), np.zeros((250, 250), np.uint16), 12, JPEG2000Lossless), tmp_path)
    assert "62500 tiles" in reason(path)


def test_colours_that_are_not_shared_are_not_excess_bytes(tmp_path):
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL_422", "PlanarConfiguration": 0}
    path = saved(dicom(np.zeros((10, 10, 3), np.uint8), 8, **colour), tmp_path)
    assert reason(path) == "a DICOM with 300 bytes of pixel data instead of 200"


@pytest.mark.parametrize("descriptor", [[4, 0], [4, 0, 16, 1], 4])
def test_a_lut_needs_three_numbers(tmp_path, descriptor):
    item = lut(0, 16, np.arange(4), "<")
    item.LUTDescriptor = descriptor
    path = saved(dicom(pixels12(), 12, VOILUTSequence=[item]), tmp_path)
    assert reason(path) == "a DICOM with a LUT that is not described by three numbers"
