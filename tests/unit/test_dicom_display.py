"""DICOM values become brightness as in pydicom and in the formulas of the standard."""

from pathlib import Path

import numpy as np
import pytest
from dicom_files import dicom, lut, pixels12, saved
from PIL import Image
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from moco_transfer.data.decode import decode
from moco_transfer.errors import UnreadableImage

LIMIT = 1_000_000


def shown(dataset: object, folder: Path) -> np.ndarray:
    return decode(saved(dataset, folder), LIMIT).pixels


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_agree_with_pydicom(tmp_path, function, photometric):
    dataset = dicom(
        pixels12(),
        bits=12,
        WindowCenter=["1800", "40"],
        WindowWidth=["1500", "400"],
        VOILUTFunction=function,
        PhotometricInterpretation=photometric,
    )
    expected = 255 * apply_voi_lut(pixels12(), dataset) / 4095
    if photometric == "MONOCHROME1":
        expected = 255 - expected
    np.testing.assert_allclose(shown(dataset, tmp_path), expected, atol=0.51)


def test_rescale_comes_before_the_window(tmp_path):
    pixels = pixels12().astype(np.int16) - 2048
    dataset = dicom(
        pixels, 16, RescaleSlope="-2", RescaleIntercept="100", WindowCenter="50", WindowWidth="3000"
    )
    units = apply_modality_lut(pixels, dataset)
    np.testing.assert_array_equal(units, pixels * -2.0 + 100)
    expected = 255 * np.clip((units - 49.5) / 2999 + 0.5, 0, 1)
    np.testing.assert_allclose(shown(dataset, tmp_path), expected, atol=0.51)


@pytest.mark.parametrize(("slope", "intercept"), [("0", "5"), ("NaN", "0"), ("1e308", "0"), ("1", "inf")])
def test_unusable_rescale_is_refused(tmp_path, slope, intercept):
    dataset = dicom(pixels12(), bits=12)
    path = saved(dataset, tmp_path)
    # written as bytes: pydicom's own decimal strings would not take some of them
    elements = b"".join(
        np.uint16([0x28, element]).tobytes()
        + b"DS"
        + np.uint16(len(text) + len(text) % 2).tobytes()
        + (text + " " * (len(text) % 2)).encode()
        for element, text in ((0x1052, intercept), (0x1053, slope))
    )
    whole = path.read_bytes()
    at = whole.index(b"\xe0\x7f\x10\x00")
    path.write_bytes(whole[:at] + elements + whole[at:])
    with pytest.raises(UnreadableImage, match="rescale slope"):
        decode(path, LIMIT)


def test_window_of_width_one_is_a_threshold(tmp_path):
    dataset = dicom(pixels12(), bits=12, WindowCenter="2000", WindowWidth="1")
    np.testing.assert_array_equal(shown(dataset, tmp_path), 255 * (pixels12() > 1999.5))


@pytest.mark.parametrize(
    ("syntax", "words"),
    [
        (ExplicitVRLittleEndian, ""),
        (ExplicitVRLittleEndian, "<"),
        (ImplicitVRLittleEndian, "<"),
        (ExplicitVRBigEndian, ""),
        (ExplicitVRBigEndian, ">"),
    ],
)
def test_luts_clamp_at_their_ends(tmp_path, syntax, words):
    modality = np.arange(3000)[::-1].astype(np.uint16)
    voi = np.sqrt(np.arange(2500) / 2499 * 1023**2).astype(np.uint16)
    dataset = dicom(
        pixels12(),
        bits=12,
        syntax=syntax,
        ModalityLUTSequence=[lut(500, 16, modality, words)],
        VOILUTSequence=[lut(200, 10, voi, words)],
        WindowCenter="1",
        WindowWidth="2",
    )
    units = modality[np.clip(pixels12().astype(int) - 500, 0, 2999)].astype(int)
    expected = voi[np.clip(units - 200, 0, 2499)] / 1023 * 255
    np.testing.assert_allclose(shown(dataset, tmp_path), expected, atol=0.51)


def test_a_lut_of_bytes_has_two_entries_per_word(tmp_path):
    entries = np.arange(256, dtype=np.uint8)[::-1]
    item = lut(0, 8, entries, "<")
    item.LUTData = entries.tobytes()
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(shown(dicom(pixels, 8, VOILUTSequence=[item]), tmp_path), entries[pixels])


@pytest.mark.parametrize(
    "window",
    [
        {},
        {"WindowCenter": "", "WindowWidth": ""},
        {"WindowCenter": 9, "WindowWidth": 0},
        {"WindowCenter": 9, "WindowWidth": -5},
        {"WindowCenter": 9, "WindowWidth": 0, "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": float("nan"), "WindowWidth": 400},
        {"WindowCenter": 9, "WindowWidth": float("nan")},
    ],
)
def test_without_a_usable_window_two_percentiles_span_the_range(tmp_path, window):
    pixels = np.arange(10_000, dtype=np.uint16).reshape(100, 100) // 2 + 1000
    pixels[0, 0], pixels[0, 1] = 0, 65535
    low, high = np.percentile(pixels, [0.5, 99.5], method="inverted_cdf").astype(int)
    expected = 255 * np.clip((pixels.astype(float) - low) / (high - low), 0, 1)
    image = shown(dicom(pixels, **window), tmp_path)
    np.testing.assert_allclose(image, expected, atol=0.51)
    picture = tmp_path / "16bit.png"
    Image.fromarray(pixels).save(picture)
    np.testing.assert_array_equal(decode(picture, LIMIT).pixels, image)


@pytest.mark.parametrize("signed", [False, True])
def test_padding_is_kept_out_of_the_robust_window(tmp_path, signed):
    pixels = pixels12(height=100, width=100).astype(np.int16 if signed else np.uint16) // 4 + 300
    low, high = np.percentile(pixels[:60], [0.5, 99.5], method="inverted_cdf").astype(int)
    pixels[60:] = -2000 if signed else 4000
    pixels[80:] += 10
    padding = {"PixelPaddingValue": pixels[60, 0], "PixelPaddingRangeLimit": pixels[80, 0]}
    image = shown(dicom(pixels, **{name: int(value) for name, value in padding.items()}), tmp_path)
    expected = 255 * np.clip((pixels.astype(float) - low) / (high - low), 0, 1)
    np.testing.assert_allclose(image, expected, atol=0.51)


def test_mostly_equal_and_constant_images_do_not_divide_by_zero(tmp_path):
    pixels = np.full((50, 50), 7, dtype=np.uint8)
    assert not shown(dicom(pixels, bits=8), tmp_path).any()
    assert not shown(dicom(pixels, bits=8, PixelPaddingValue=7), tmp_path).any()
    pixels[0, 0] = 200
    image = shown(dicom(pixels, bits=8), tmp_path)
    assert image[0, 0] == 255
    assert image.sum() == 255


@pytest.mark.parametrize(("stored", "high_bit"), [(12, 11), (10, 11), (12, 15), (7, 10)])
@pytest.mark.parametrize("signed", [False, True])
def test_bits_that_are_not_stored_are_ignored(tmp_path, stored, high_bit, signed):
    values = np.random.default_rng(5).integers(0, 2**stored, (20, 30)) - signed * 2 ** (stored - 1)
    shift = high_bit + 1 - stored
    words = (values % 2**stored) << shift
    stray = np.random.default_rng(6).integers(0, 2**16, words.shape)
    words |= stray & ~((2**stored - 1) << shift)
    center, width = (0 if signed else 2 ** (stored - 1)), 2**stored
    dataset = dicom(
        words.astype(np.uint16),
        BitsStored=stored,
        HighBit=high_bit,
        PixelRepresentation=int(signed),
        WindowCenter=center,
        WindowWidth=width,
    )
    expected = 255 * np.clip((values - center + 0.5) / (width - 1) + 0.5, 0, 1)
    np.testing.assert_allclose(shown(dataset, tmp_path), expected, atol=0.51)
