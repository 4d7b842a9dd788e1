"""Deviations that viewers accept are read, and each kind is reported; the rest of a file's pixels is not lost."""

import errno
import io
import struct

import numpy as np
import pytest
from dicom_files import FULL12, SYNTAXES, compressed, content, dicom, full, pixels12, read, shown, smooth
from jpeg_encoders import jpeg_lossless, jpeg_sequential
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import get_frame
from pydicom.uid import (
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from moco_transfer.data.dicom import read_dicom
from moco_transfer.errors import UnreadableImage

# Bits


def frame_of(encoding: str, values: np.ndarray, bits: int) -> tuple[bytes, str]:
    if encoding == "JPEG 2000":
        dataset = dicom(values, bits)
        dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
        return get_frame(dataset.PixelData, 0, number_of_frames=1), JPEG2000Lossless
    return jpeg_lossless(values.astype(np.uint16), bits, 1), JPEGLosslessSV1


@pytest.mark.parametrize("encoding", ["JPEG 2000", "JPEG lossless"])
@pytest.mark.parametrize("stored", [8, 12, 16])
@pytest.mark.parametrize("coded", [12, 16])
def test_a_frame_knows_its_bits_better_than_the_header(encoding, stored, coded):
    values = np.random.default_rng(6).integers(0, 2**coded, (40, 48), dtype=np.uint16)
    frame, syntax = frame_of(encoding, values, coded)
    window = {"WindowCenter": 2 ** (coded - 1), "WindowWidth": 2**coded}
    np.testing.assert_allclose(
        shown(compressed(frame, values, stored, syntax, **window)), full(values, coded), atol=0.51
    )


# 8 x 8 pixels, 0, 520, 1040, ... of 16 bits, as high-throughput JPEG 2000 (written by OpenJPH 0.26)
HIGH_THROUGHPUT = """
ff4fff5100294000000000080000000800000000000000000000000800000008000000000000000000010f0101ff500008000200000009ff
52000c00020001000104044001ff5c00072088888888ff64001700014f70656e4a50482056657220302e32362e332eff90000a0000000000
560001ff93c0002e98ff7fff3ebfefbf6dbfef5fd7a679b3f4dfff26fbaeff32fdb63f499be4bdcd001a420031b700c0002aa00015a00e38
e08003aa728275007ea01ff0037ee0c08401ecb600ffd9
"""


@pytest.mark.parametrize("stored", [8, 12, 16])
def test_high_throughput_jpeg_2000(stored):
    values = (520 * np.arange(64)).astype(np.uint16).reshape(8, 8)
    window = {"WindowCenter": 2**15, "WindowWidth": 2**16}
    dataset = compressed(bytes.fromhex(HIGH_THROUGHPUT), values, stored, HTJ2KLossless, **window)
    np.testing.assert_allclose(shown(dataset), full(values, 16), atol=0.51)


def test_jpeg_ls_of_more_bits_than_the_header_says():
    frame = get_frame(
        dcmread(get_testdata_file("MR_small_jpeg_ls_lossless.dcm", download=False)).PixelData,
        0,
        number_of_frames=1,
    )
    values = dcmread(get_testdata_file("MR_small.dcm", download=False)).pixel_array
    assert values.max() > 1023
    dataset = compressed(
        frame, values.astype(np.uint16), 10, JPEGLSLossless, WindowCenter=2048, WindowWidth=4096
    )
    np.testing.assert_allclose(shown(dataset), np.clip(full(values, 12), 0, 255), atol=0.51)


@pytest.mark.parametrize(("stored", "coded"), [(12, 16), (12, 12), (16, 12), (16, 16)])
def test_signed_jpeg_2000(stored, coded):
    values = np.random.default_rng(7).integers(-(2**11), 2**11, (40, 48)).astype(np.int16)
    if (stored, coded) == (12, 16):
        values *= 8
    frame, syntax = frame_of("JPEG 2000", values, coded)
    top = 2 ** (11 + 3 * ((stored, coded) == (12, 16)))
    dataset = compressed(frame, values, stored, syntax, WindowCenter=0, WindowWidth=2 * top)
    np.testing.assert_allclose(shown(dataset), 255 * (values + float(top)) / (2 * top - 1), atol=0.51)


def test_signed_12_bits_in_a_frame_of_16_without_copies_of_the_sign():
    values = np.random.default_rng(8).integers(-2048, 2048, (40, 48)).astype(np.int16)
    frame = jpeg_lossless(values.astype(np.uint16) & 0xFFF, 16, 1)
    dataset = compressed(frame, values, 12, JPEGLosslessSV1, WindowCenter=0, WindowWidth=4096)
    np.testing.assert_allclose(shown(dataset), full(values.astype(int) + 2048, 12), atol=0.51)


@pytest.mark.parametrize(
    ("stored", "high_bit", "syntax"),
    [
        (stored, high_bit, syntax)
        for stored, high_bit in [(8, 15), (8, 11), (12, 15), (12, 11), (16, 15)]
        for syntax in (*SYNTAXES, RLELossless)
        if not (stored == 8 and syntax == RLELossless)  # pydicom writes such words as bytes
    ],
)
def test_colours_are_where_the_high_bit_says(syntax, stored, high_bit):
    values = np.random.default_rng(9).integers(0, 2**stored, (6, 10, 3))
    words = (values << (high_bit + 1 - stored)).astype(np.uint16)
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    dataset = dicom(words, stored, ExplicitVRLittleEndian if syntax == RLELossless else syntax, **colour)
    dataset.HighBit = high_bit
    if syntax == RLELossless:
        dataset.compress(RLELossless, generate_instance_uid=False)
    np.testing.assert_allclose(shown(dataset), full(values, stored), atol=0.51)


@pytest.mark.parametrize(
    ("stored", "largest", "white"), [(16, 4095, 4095), (16, 255, 255), (16, 60000, 65535)]
)
def test_colours_of_fewer_bits_than_the_header_says_are_not_black(stored, largest, white):
    values = np.random.default_rng(10).integers(0, largest + 1, (20, 30, 3), dtype=np.uint16)
    values[0, 0] = largest
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    np.testing.assert_allclose(shown(dicom(values, stored, **colour)), 255.0 * values / white, atol=0.51)


def test_luma_and_chroma_of_16_bits():
    ybr = np.random.default_rng(11).integers(60, 196, (4, 6, 3), dtype=np.uint8)
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL", "PlanarConfiguration": 0}
    same = dicom(ybr.astype(np.uint16) << 8, 8, **colour)
    same.HighBit = 15
    np.testing.assert_array_equal(shown(same), shown(dicom(ybr, 8, **colour)))


def test_luma_and_chroma_of_fewer_bits_than_the_header_says():
    """Grey must stay grey, whatever the largest value is."""
    ybr = np.full((4, 6, 3), 2048, np.uint16)
    ybr[..., 0] = np.linspace(500, 3000, 24).reshape(4, 6)
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL", "PlanarConfiguration": 0}
    image = shown(dicom(ybr, 16, **colour))
    np.testing.assert_array_equal(image, shown(dicom(ybr, 12, **colour)))
    np.testing.assert_allclose(image, np.repeat(ybr[..., :1] * (255 / 4095), 3, axis=2), atol=2)


def test_the_planes_of_a_compressed_frame_lie_as_the_frame_says():
    frame = get_frame(
        dcmread(get_testdata_file("SC_rgb_jpeg_gdcm.dcm", download=False)).PixelData, 0, number_of_frames=1
    )
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}
    like = np.zeros((100, 100, 3), np.uint8)
    images = [
        shown(compressed(frame, like, 8, JPEGLosslessSV1, PlanarConfiguration=n, **colour)) for n in (0, 1)
    ]
    np.testing.assert_array_equal(*images)


@pytest.mark.parametrize(("signed", "padding"), [(False, 65535), (False, 5000), (False, -1), (True, -3000)])
def test_padding_beyond_the_stored_bits_does_not_hide_pixels(signed, padding):
    values = np.random.default_rng(12).permutation(10_000).reshape(100, 100) % 4096 - 2048 * signed
    values[:30] = 2047 if signed else 4095  # what the padding value would be without its upper bits
    pixels = values.astype(np.int16 if signed else np.uint16)
    dataset = dicom(pixels, 12)
    plain = shown(dataset)
    dataset.add_new("PixelPaddingValue", "US" if padding >= 0 else "SS", padding)
    np.testing.assert_array_equal(shown(dataset), plain)


def test_whole_words_that_are_padding_stay_out_of_the_window():
    pixels = pixels12(height=100, width=100) // 4
    low, high = np.percentile(pixels[:60], [0.5, 99.5], method="inverted_cdf").astype(int)
    pixels[60:] = 65535
    dataset = dicom(pixels, 12)
    dataset.add_new("PixelPaddingValue", "US", 65535)
    expected = 255 * np.clip((pixels[:60].astype(float) - low) / (high - low), 0, 1)
    np.testing.assert_allclose(shown(dataset)[:60], expected, atol=0.51)


# Repairs


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("excess", [2, 4, 500, 1300])
def test_excess_bytes_are_cut(syntax, excess):
    dataset = dicom(pixels12(), 12, syntax, **FULL12)
    dataset.PixelData += b"\x07" * excess
    image, repairs = read(dataset)
    np.testing.assert_allclose(image, full(pixels12(), 12), atol=0.51)
    assert repairs == ("bytes after the pixels were cut",)


@pytest.mark.parametrize("encoding", ["JPEG 2000", "JPEG lossless", "JPEG-LS"])
def test_excess_bytes_after_a_compressed_frame_are_cut(encoding):
    if encoding == "JPEG-LS":
        data = dcmread(get_testdata_file("MR_small_jpeg_ls_lossless.dcm", download=False)).PixelData
        frame, syntax, like = (
            get_frame(data, 0, number_of_frames=1),
            JPEGLSLossless,
            np.zeros((64, 64), np.uint16),
        )
    else:
        like = smooth(12)
        frame, syntax = frame_of(encoding, like, 12)
    expected = shown(compressed(frame, like, 16, syntax, **FULL12))
    for excess in (b"\0" * 10, b"\xff" * 11, b"\x01\x02\x03\x04" * 50):
        image, repairs = read(compressed(frame + excess, like, 16, syntax, **FULL12))
        np.testing.assert_array_equal(image, expected)
        assert repairs == ("bytes after the pixels were cut",)


def with_text(keyword: str, text: str) -> bytes:
    """A file of 12 bits whose element ``keyword`` is ``text``, which pydicom may not write."""
    dataset = dicom(pixels12(), 12, **(FULL12 | {"RescaleSlope": 1, "RescaleIntercept": 0}))
    mark = "1234567890123456"
    setattr(dataset, keyword, mark)
    return content(dataset).replace(mark.encode(), text.ljust(16).encode("latin-1"))


@pytest.mark.parametrize(
    ("keyword", "text"),
    [
        ("WindowCenter", "2048,00"),
        ("WindowCenter", "2048,00\\40,0"),
        ("WindowWidth", " 4096,0"),
        ("WindowWidth", "4,096e3"),
        ("RescaleSlope", "1,00000"),
        ("RescaleIntercept", "0,0"),
        ("RescaleIntercept", "-,0"),
    ],
)
def test_a_decimal_comma_is_a_point(keyword, text):
    image, repairs = read(with_text(keyword, text))
    np.testing.assert_allclose(image, full(pixels12(), 12), atol=0.51)
    assert repairs == ("a decimal comma was read as a point",)


@pytest.mark.parametrize("text", ["2048", "2048,0", "2048\\1024"])
def test_a_window_in_another_value_representation(text):
    dataset = dicom(pixels12(), 12, **FULL12)
    dataset.add_new("WindowCenter", "LO", text)
    np.testing.assert_allclose(read(dataset)[0], full(pixels12(), 12), atol=0.51)


@pytest.mark.parametrize(
    "text", ["2048", " 2048.0", "+2048.", "2048\0", "2048\0\0ab", "2.048E+03", "2048\\x", "\t2048"]
)
def test_text_around_a_number_is_no_matter(text):
    np.testing.assert_allclose(shown(with_text("WindowCenter", text)), full(pixels12(), 12), atol=0.51)


@pytest.mark.parametrize("text", ["unknown", "2.048,0", "1,2,3", "--5", "NaN", "inf"])
def test_a_window_that_is_no_number_is_ignored(text):
    dataset = dicom(pixels12(), 12)
    image, repairs = read(with_text("WindowWidth", text))
    np.testing.assert_array_equal(image, shown(dataset))
    assert repairs == ("a window that is not a number was ignored",)
    with pytest.raises(UnreadableImage, match="rescale"):
        read(with_text("RescaleSlope", text))


def test_jpeg_extended_whose_scan_ends_too_early():
    """The two files differ in this byte only; libjpeg refuses the first."""
    paths = [get_testdata_file(name, download=False) for name in ("JPEG-lossy.dcm", "JPGExtended.dcm")]
    frames = [get_frame(dcmread(path).PixelData, 0, number_of_frames=1) for path in paths]
    like = np.zeros((1024, 256), np.uint16)
    broken, sound = (read(compressed(frame, like, 12, JPEGExtended12Bit, **FULL12)) for frame in frames)
    np.testing.assert_array_equal(broken[0], sound[0])
    assert broken[1] == ("the scan header of a JPEG was corrected",)
    assert not sound[1]


def test_a_jpeg_frame_that_cannot_be_decoded_is_named():
    frame = jpeg_sequential(smooth(12), 12)
    frame = frame.replace(
        b"\xff\xdb\0\x43\0", b"\xff\xdb\0\x43\3"
    )  # its quantisation table has another number
    with pytest.raises(UnreadableImage, match=r"JPEG Extended frame of 12 bits.*gdcmconv"):
        read(compressed(frame, smooth(12), 12, JPEGExtended12Bit))


def test_a_frame_is_read_by_what_it_is_not_by_the_header():
    frame, _ = frame_of("JPEG lossless", pixels12(), 12)
    image = shown(compressed(frame, pixels12(), 12, JPEGBaseline8Bit, **FULL12))
    np.testing.assert_allclose(image, full(pixels12(), 12), atol=0.51)


def test_jpeg_2000_with_lost_pages_is_refused():
    values = np.random.default_rng(12).integers(0, 4096, (100, 100), dtype=np.uint16)
    frame, syntax = frame_of("JPEG 2000", values, 12)
    lost = frame[:5000] + bytes(len(frame) - 5002) + frame[-2:]
    with pytest.raises(UnreadableImage, match="cut short or damaged"):
        read(compressed(lost, values, 12, syntax))


@pytest.mark.parametrize("error", [ImportError("no module"), MemoryError()])
def test_a_broken_installation_or_too_little_memory_is_not_the_image(monkeypatch, error):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("moco_transfer.data.dicom.show_gray", fail)
    with pytest.raises(type(error)):
        read(dicom(pixels12(), 12))


def test_errors_of_the_machine_are_not_the_image():
    class Failing(io.BytesIO):
        def read(self, size: int = -1) -> bytes:
            if self.tell() > 300:
                raise OSError(errno.EIO, "Input/output error")
            return super().read(size)

    with pytest.raises(OSError, match="Input/output"):
        read_dicom(Failing(content(dicom(pixels12(), 12))), 132, 1_000_000)


def box(kind: bytes, inner: bytes) -> bytes:
    return struct.pack(">I4s", len(inner) + 8, kind) + inner


def test_jpeg_2000_in_the_boxes_of_a_file():
    stream, syntax = frame_of("JPEG 2000", smooth(12), 12)
    head = b"\0\0\0\x0cjP  \r\n\x87\n" + box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
    long, last = struct.pack(">I4sQ", 1, b"jp2c", len(stream) + 16), struct.pack(">I4s", 0, b"jp2c")
    for wrapped in (head + box(b"jp2c", stream), head + long + stream, head + last + stream):
        image = shown(compressed(wrapped, smooth(12), 12, syntax, **FULL12))
        np.testing.assert_allclose(image, full(smooth(12), 12), atol=0.51)
