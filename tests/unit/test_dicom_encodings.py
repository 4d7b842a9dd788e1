"""Every encoding of DICOM pixels, compared with the written pixels or with another library.

No library here writes JPEG-LS, so its files are those that pydicom ships for its own tests.
"""

import io
from pathlib import Path

import numpy as np
import pytest
from dicom_files import compressed, dicom, pixels12, saved, smooth
from jpeg_encoders import jpeg_lossless, jpeg_sequential
from PIL import Image
from pydicom import Dataset, dcmwrite
from pydicom.data import get_testdata_file
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    RLELossless,
)

from moco_transfer.data.decode import decode
from moco_transfer.errors import UnreadableImage

LIMIT = 1_000_000
UNCOMPRESSED = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
]


def windowed(values: np.ndarray, bits: int) -> np.ndarray:
    """``values`` through the window of ``full_window``."""
    return 255 * values.astype(float) / (2**bits - 1)


def full_window(bits: int) -> dict[str, object]:
    return {"WindowCenter": 2 ** (bits - 1), "WindowWidth": 2**bits}


@pytest.mark.parametrize("syntax", [*UNCOMPRESSED, RLELossless, JPEG2000Lossless])
@pytest.mark.parametrize(("bits", "kind"), [(8, "u1"), (12, "u2"), (16, "u2"), (16, "i2"), (12, "i2")])
def test_lossless_encodings_give_the_values_back(tmp_path, syntax, bits, kind):
    low = -(2 ** (bits - 1)) if kind == "i2" else 0
    values = np.random.default_rng(1).integers(low, low + 2**bits, (45, 33)).astype(kind)
    dataset = dicom(values, bits, syntax, **full_window(bits))
    if kind == "i2":
        dataset.WindowCenter = 0
    if syntax in (RLELossless, JPEG2000Lossless):
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.compress(syntax, generate_instance_uid=False)
    decoded = decode(saved(dataset, tmp_path), LIMIT)
    np.testing.assert_allclose(decoded.pixels, windowed(values.astype(int) - low, bits), atol=0.51)
    assert (decoded.height, decoded.width) == (45, 33)


@pytest.mark.parametrize("selection", range(1, 8))
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_jpeg_lossless_with_every_predictor(tmp_path, selection, bits):
    values = (
        np.random.default_rng(2).integers(0, 2**bits, (13, 9)).astype(np.uint8 if bits == 8 else np.uint16)
    )
    syntax = JPEGLosslessSV1 if selection == 1 else JPEGLossless
    frame = jpeg_lossless(values, bits, selection)
    dataset = compressed(frame, values, bits, syntax, **full_window(bits))
    image = decode(saved(dataset, tmp_path), LIMIT).pixels
    np.testing.assert_allclose(image, windowed(values, bits), atol=0.51)


def test_signed_values_in_jpeg_lossless_are_sign_extended(tmp_path):
    values = np.random.default_rng(3).integers(-2048, 2048, (13, 9)).astype(np.int16)
    frame = jpeg_lossless(values.astype(np.uint16) & 0xFFF, 12, 1)
    dataset = compressed(frame, values, 12, JPEGLosslessSV1, WindowCenter=0, WindowWidth=4096)
    image = decode(saved(dataset, tmp_path), LIMIT).pixels
    np.testing.assert_allclose(image, windowed(values.astype(int) + 2048, 12), atol=0.51)


def test_jpeg_extended_of_12_bits(tmp_path):
    for values in (smooth(12), pixels12(height=24, width=32)):
        dataset = compressed(jpeg_sequential(values, 12), values, 12, JPEGExtended12Bit, **full_window(12))
        image = decode(saved(dataset, tmp_path), LIMIT).pixels
        np.testing.assert_allclose(image, windowed(values, 12), atol=0.51 + 255 * 2 / 4095)


def test_jpeg_baseline_gray_and_colour(tmp_path):
    gray = smooth(8)
    for pixels in (gray, np.dstack([gray, gray[::-1], 255 - gray])):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG", quality=95, subsampling=0)
        colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL", "PlanarConfiguration": 0}
        attributes = colour if pixels.ndim == 3 else full_window(8)
        dataset = compressed(stream.getvalue(), pixels, 8, JPEGBaseline8Bit, **attributes)
        image = decode(saved(dataset, tmp_path), LIMIT).pixels
        expected = np.asarray(Image.open(stream)).astype(int)
        np.testing.assert_allclose(image, expected, atol=3)  # two decoders, rounding their own way


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_jpeg_2000_lossy(tmp_path, bits):
    values = smooth(bits)
    dataset = dicom(values, bits, **full_window(bits))
    dataset.compress(JPEG2000, j2k_cr=[4], generate_instance_uid=False)
    image = decode(saved(dataset, tmp_path), LIMIT).pixels
    np.testing.assert_allclose(image, windowed(values, bits), atol=2)


@pytest.mark.parametrize(
    ("name", "same_as"),
    [
        ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm"),
        ("MR_small_RLE.dcm", "MR_small.dcm"),
        ("MR_small_jp2klossless.dcm", "MR_small.dcm"),
        ("MR_small_implicit.dcm", "MR_small.dcm"),
        ("MR_small_bigendian.dcm", "MR_small.dcm"),
        ("SC_rgb_jpeg_gdcm.dcm", "SC_rgb_rle.dcm"),
        ("SC_rgb_rle_16bit.dcm", "SC_rgb_rle.dcm"),
    ],
)
def test_files_of_other_software_give_the_same_pixels(name, same_as):
    ours, theirs = (
        decode(Path(get_testdata_file(file, download=False)), LIMIT).pixels for file in (name, same_as)
    )
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("name", "bars", "white"),
    [
        ("JPEGLSNearLossless_08.dcm", [255, 127, 63, 31, 15, 7, 3, 1, 0], 255),
        ("JPEGLSNearLossless_16.dcm", [65535, 32767, 16383, 4095, 1023, 255, 63, 15, 3, 0], 65535),
    ],
)
def test_gray_jpeg_ls_near_lossless(name, bars, white):
    # bars of five rows each, ever darker; the frames were coded with an error of at most 5
    image = decode(Path(get_testdata_file(name, download=False)), LIMIT).pixels
    expected = 255 * np.repeat(bars, 5)[:, None] / white
    np.testing.assert_allclose(image, np.broadcast_to(expected, image.shape), atol=255 * 5 / white + 0.51)


@pytest.mark.parametrize("name", ["SC_rgb_jls_lossy_line.dcm", "SC_rgb_jls_lossy_sample.dcm"])
def test_colour_jpeg_ls_near_lossless(name):
    lossy, lossless = (
        decode(Path(get_testdata_file(file, download=False)), LIMIT).pixels
        for file in (name, "SC_rgb_rle.dcm")
    )
    np.testing.assert_allclose(lossy.astype(int), lossless, atol=2)  # the error that the frame allows


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("syntax", UNCOMPRESSED)
def test_colour_becomes_rgb_or_gray_if_channels_agree(tmp_path, syntax, planar):
    colour = np.random.default_rng(4).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    for pixels in (colour, np.repeat(colour[..., :1], 3, axis=2)):
        lying = np.moveaxis(pixels, 2, 0) if planar else pixels
        attributes = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": planar}
        dataset = dicom(lying.reshape(5, 7, 3), 8, syntax, **attributes)
        image = decode(saved(dataset, tmp_path), LIMIT).pixels
        np.testing.assert_array_equal(image, pixels if pixels is colour else pixels[..., 0])


@pytest.mark.parametrize("photometric", ["YBR_FULL", "YBR_FULL_422"])
def test_luma_and_chroma_become_rgb(tmp_path, photometric):
    ybr = np.random.default_rng(5).integers(60, 196, (4, 6, 3), dtype=np.uint8)
    ybr[:, 1::2, 1:] = ybr[:, ::2, 1:]  # neighbours share their colour, so that 4:2:2 keeps it
    y, b, r = np.moveaxis(ybr.astype(float) - [0, 128, 128], 2, 0)
    expected = np.stack([y + 1.402 * r, y - 0.344136 * b - 0.714136 * r, y + 1.772 * b], axis=2)
    attributes = {"SamplesPerPixel": 3, "PhotometricInterpretation": photometric, "PlanarConfiguration": 0}
    dataset = dicom(ybr, 8, **attributes)
    if photometric == "YBR_FULL_422":
        pairs = [ybr[:, ::2, 0], ybr[:, 1::2, 0], ybr[:, ::2, 1], ybr[:, ::2, 2]]
        dataset.PixelData = np.stack(pairs, axis=2).tobytes()
    image = decode(saved(dataset, tmp_path), LIMIT).pixels
    np.testing.assert_allclose(image, np.clip(expected, 0, 255), atol=1.01)


@pytest.mark.parametrize("bits", [8, 16])
def test_palette_is_looked_up(tmp_path, bits):
    palette = np.random.default_rng(6).integers(0, 256, (200, 3))
    pixels = np.random.default_rng(7).integers(0, 200, (8, 8), dtype=np.uint8)
    dataset = dicom(pixels, 8, PhotometricInterpretation="PALETTE COLOR")
    for name, entries in zip(("Red", "Green", "Blue"), palette.T, strict=True):
        data = entries.astype(np.uint8) if bits == 8 else (entries * 257).astype("<u2")
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [200, 0, bits])
        setattr(dataset, f"{name}PaletteColorLookupTableData", data.tobytes())
    np.testing.assert_array_equal(decode(saved(dataset, tmp_path), LIMIT).pixels, palette[pixels])


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_file_without_preamble_and_header_is_read(tmp_path, syntax, bits):
    values = np.random.default_rng(8).integers(0, 2**bits, (13, 9)).astype(f"u{bits // 8}")
    dataset = dicom(values, bits, syntax, **full_window(bits))
    whole = saved(dataset, tmp_path).read_bytes()
    meta = 144 + int.from_bytes(whole[140:144], "little")
    for content in (whole[meta:], whole[132:]):  # no header at all, and one without preamble
        path = tmp_path / "bare"
        path.write_bytes(content)
        np.testing.assert_allclose(decode(path, LIMIT).pixels, windowed(values, bits), atol=0.51)


def test_a_compressed_frame_without_header_is_recognised(tmp_path):
    values = pixels12(height=45, width=33)
    dataset = dicom(values, 12, **full_window(12))
    dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
    whole = {
        "j2k": dataset,
        "jpeg": compressed(jpeg_lossless(values, 12, 6), values, 12, JPEGLossless, **full_window(12)),
    }
    for name, written in whole.items():
        del written.file_meta
        bare = Dataset(written)
        dcmwrite(tmp_path / name, bare, implicit_vr=False, little_endian=True, enforce_file_format=False)
        np.testing.assert_allclose(decode(tmp_path / name, LIMIT).pixels, windowed(values, 12), atol=0.51)


def test_bare_bytes_that_only_look_like_a_data_set_are_refused(tmp_path):
    for content in (
        b"\x08\x00" * 500,
        b"\x00\x08" * 500,
        b"\x02\x00",
        b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100",
    ):
        (tmp_path / "junk").write_bytes(content)
        with pytest.raises(UnreadableImage, match="neither DICOM, JPEG nor PNG"):
            decode(tmp_path / "junk", LIMIT)
