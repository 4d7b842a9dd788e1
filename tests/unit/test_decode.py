"""Decoding is checked against pydicom's own processing, against formulas of the standard, and on files that are broken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from moco_transfer.data.decode import decode, fit
from moco_transfer.data.unreadable import UnreadableImage

LIMIT = 1_000_000


def dicom(
    pixels: np.ndarray, bits: int = 16, syntax: str = ExplicitVRLittleEndian, **attributes: object
) -> Dataset:
    """A grayscale DICOM of ``pixels``, with ``attributes`` beside or instead of the plainest ones."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "2.25.1"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.BitsAllocated = 8 * pixels.dtype.itemsize
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    little = syntax == ExplicitVRLittleEndian
    dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder("<" if little else ">")).tobytes()
    for name, value in attributes.items():
        setattr(dataset, name, value)
    return dataset


def saved(dataset: Dataset, folder: Path) -> Path:
    path = folder / "image.dicom"
    dataset.save_as(path, enforce_file_format=True)
    return path


def lut(first: int, bits: int, entries: np.ndarray, words: str) -> Dataset:
    """A LUT item; ``words`` is the byte order of its data as words (OW), or empty for data as numbers (US)."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    if words:
        item.add_new("LUTData", "OW", entries.astype(f"{words}u2").tobytes())
    else:
        item.add_new("LUTData", "US", entries.tolist())
    return item


def pixels12(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4096, (31, 17), dtype=np.uint16)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_window_is_that_of_pydicom(tmp_path: Path, function: str, photometric: str) -> None:
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
    np.testing.assert_allclose(decode(saved(dataset, tmp_path), LIMIT), expected, atol=0.51)


def test_rescale_comes_before_the_window(tmp_path: Path) -> None:
    pixels = pixels12().astype(np.int16) - 2048
    dataset = dicom(
        pixels, 16, RescaleSlope="-2", RescaleIntercept="100", WindowCenter="50", WindowWidth="3000"
    )
    units = apply_modality_lut(pixels, dataset)
    np.testing.assert_array_equal(units, pixels * -2.0 + 100)
    expected = 255 * np.clip((units - 49.5) / 2999 + 0.5, 0, 1)
    np.testing.assert_allclose(decode(saved(dataset, tmp_path), LIMIT), expected, atol=0.51)


def test_window_of_width_one_is_a_threshold(tmp_path: Path) -> None:
    dataset = dicom(pixels12(), bits=12, WindowCenter="2000", WindowWidth="1")
    np.testing.assert_array_equal(decode(saved(dataset, tmp_path), LIMIT), 255 * (pixels12() > 1999.5))


@pytest.mark.parametrize(
    ("syntax", "words"),
    [
        (ExplicitVRLittleEndian, ""),
        (ExplicitVRLittleEndian, "<"),
        (ExplicitVRBigEndian, ""),
        (ExplicitVRBigEndian, ">"),
    ],
)
def test_luts_clamp_at_their_ends(tmp_path: Path, syntax: str, words: str) -> None:
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
    np.testing.assert_allclose(decode(saved(dataset, tmp_path), LIMIT), expected, atol=0.51)


@pytest.mark.parametrize(
    "window", [{}, {"WindowCenter": "", "WindowWidth": ""}, {"WindowCenter": 9, "WindowWidth": 0}]
)
def test_without_a_window_two_percentiles_span_the_range(tmp_path: Path, window: dict) -> None:
    pixels = np.arange(10_000, dtype=np.uint16).reshape(100, 100) // 2 + 1000
    pixels[0, 0], pixels[0, 1] = 0, 65535
    low, high = np.percentile(pixels, [0.5, 99.5], method="inverted_cdf").astype(int)
    expected = 255 * np.clip((pixels.astype(float) - low) / (high - low), 0, 1)
    image = decode(saved(dicom(pixels, **window), tmp_path), LIMIT)
    np.testing.assert_allclose(image, expected, atol=0.51)
    picture = tmp_path / "16bit.png"
    Image.fromarray(pixels).save(picture)
    np.testing.assert_array_equal(decode(picture, LIMIT), image)


def test_mostly_equal_and_constant_images_do_not_divide_by_zero(tmp_path: Path) -> None:
    pixels = np.full((50, 50), 7, dtype=np.uint8)
    assert not decode(saved(dicom(pixels, bits=8), tmp_path), LIMIT).any()
    pixels[0, 0] = 200
    image = decode(saved(dicom(pixels, bits=8), tmp_path), LIMIT)
    assert image[0, 0] == 255
    assert image.sum() == 255


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"NumberOfFrames": 2}, r"multi-frame DICOM \(2 frames\)"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR"),
        ({"BitsAllocated": 32}, "32 bits"),
        ({"Rows": 5000}, r"17 x 5000 pixels, more than max_pixels \(80000\)"),
        ({"PixelData": b"\0\0"}, "."),
    ],
)
def test_refused_dicoms_say_why(tmp_path: Path, attributes: dict, reason: str) -> None:
    with pytest.raises(UnreadableImage, match=reason):
        decode(saved(dicom(pixels12(), 12, **attributes), tmp_path), 80_000)


def test_dicom_without_pixels_is_refused(tmp_path: Path) -> None:
    dataset = dicom(pixels12())
    del dataset.PixelData
    with pytest.raises(UnreadableImage, match="without pixel data"):
        decode(saved(dataset, tmp_path), LIMIT)


def test_pictures_of_every_mode_come_out_as_they_look(tmp_path: Path) -> None:
    gray = np.random.default_rng(1).integers(0, 256, (20, 30), dtype=np.uint8)
    colour = np.random.default_rng(2).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    opaque = np.full((20, 30, 1), 255, dtype=np.uint8)
    half = np.full((20, 30, 1), 51, dtype=np.uint8)
    palette = Image.fromarray(gray // 64).convert("P")
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    cases = [
        (Image.fromarray(gray), gray),
        (Image.fromarray(np.dstack([gray] * 3)), gray),
        (Image.fromarray(np.concatenate([np.dstack([gray] * 3), opaque], axis=2)), gray),
        (Image.fromarray(np.dstack([gray, opaque])), gray),
        (Image.fromarray(gray > 128), 255 * (gray > 128)),
        (Image.fromarray(colour), colour),
        (Image.fromarray(np.concatenate([colour, half], axis=2)), colour / 5),  # over black
        (palette, np.array(palette.getpalette()[:12]).reshape(4, 3)[gray // 64]),
    ]
    for number, (picture, expected) in enumerate(cases):
        picture.save(tmp_path / f"{number}.png")
        image = decode(tmp_path / f"{number}.png", LIMIT)
        assert image.dtype == np.uint8
        np.testing.assert_allclose(image, expected, atol=1, err_msg=f"case {number}")


def test_cmyk_jpeg_is_colour(tmp_path: Path) -> None:
    Image.new("CMYK", (40, 30), (0, 255, 255, 0)).save(tmp_path / "red.jpg", quality=95)
    image = decode(tmp_path / "red.jpg", LIMIT)
    assert image.shape == (30, 40, 3)
    np.testing.assert_allclose(image.mean((0, 1)), [255, 0, 0], atol=8)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    pixels = np.zeros((40, 80), dtype=np.uint8)
    pixels[:, :40] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned a quarter to the right
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", exif=exif)
    image = decode(tmp_path / "turned.jpg", LIMIT)
    assert image.shape == (80, 40)
    assert image[:38].min() > 250
    assert image[42:].max() < 5


def test_jpeg_is_reduced_while_decoding_but_not_below_twice_the_side(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    smooth = Image.fromarray(rng.integers(0, 256, (8, 10), dtype=np.uint8)).resize((1000, 800), Image.BICUBIC)
    smooth.save(tmp_path / "large.jpg", quality=95)
    whole = decode(tmp_path / "large.jpg", LIMIT)
    reduced = decode(tmp_path / "large.jpg", LIMIT, smallest_side=64)
    assert whole.shape == (800, 1000)
    assert 128 <= min(reduced.shape) < 256
    difference = fit(whole, 64, "stretch", False).astype(float) - fit(reduced, 64, "stretch", False)
    assert np.abs(difference).max() <= 3
    with pytest.raises(UnreadableImage, match="1000 x 800 pixels"):
        decode(tmp_path / "large.jpg", 799_999, smallest_side=64)


@pytest.mark.parametrize("name", ["10000032.jpg", "10000032.png", "10000032.dicom"])
def test_broken_files_give_a_reason_that_does_not_name_them(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if path.suffix == ".dicom":
        whole = saved(dicom(pixels12(), 12), tmp_path).read_bytes()
    else:
        Image.fromarray(pixels12().astype(np.uint8)).save(path)
        whole = path.read_bytes()
    for content in (b"", b"<html>not found</html>", whole[: len(whole) // 2], whole[:140]):
        path.write_bytes(content)
        with pytest.raises(UnreadableImage) as caught:
            decode(path, LIMIT)
        assert str(caught.value)
        assert "10000032" not in str(caught.value)
        assert "\n" not in str(caught.value)
    path.unlink()
    with pytest.raises(UnreadableImage, match=r"^file not found$"):
        decode(path, LIMIT)


def test_the_name_does_not_decide_the_format(tmp_path: Path) -> None:
    gray = np.arange(100, dtype=np.uint8).reshape(10, 10)
    Image.fromarray(gray).save(tmp_path / "image.png")
    (tmp_path / "image.png").rename(tmp_path / "image.JPEG")
    np.testing.assert_array_equal(decode(tmp_path / "image.JPEG", LIMIT), gray)


@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(1, 40),
    st.sampled_from(["stretch", "pad", "center_crop"]),
    st.booleans(),
    st.integers(1, 255),
)
def test_fit_is_square_and_keeps_a_constant(
    height: int, width: int, size: int, how: str, colour: bool, value: int
) -> None:
    square = fit(np.full((height, width), value, dtype=np.uint8), size, how, colour)
    assert square.shape == ((size, size, 3) if colour else (size, size))
    assert square.dtype == np.uint8
    assert set(np.unique(square)) <= ({0, value} if how == "pad" else {value})
    if how == "pad":
        rows, columns = np.nonzero(square[..., 0] if colour else square)
        shown = (np.ptp(rows) + 1, np.ptp(columns) + 1)
        scale = size / max(height, width)
        assert shown == (max(1, round(height * scale)), max(1, round(width * scale)))


def test_center_crop_keeps_the_middle_and_pad_keeps_all() -> None:
    image = np.zeros((60, 120), dtype=np.uint8)
    image[:, 30:90] = 200
    assert (fit(image, 30, "center_crop", False) == 200).mean() > 0.93
    padded = fit(image, 60, "pad", False)
    assert not padded[:15].any()
    assert not padded[45:].any()
    assert padded[15:45].mean() == pytest.approx(100, abs=1)
    assert fit(image.T, 30, "center_crop", False).mean() == fit(image, 30, "center_crop", False).mean()


def test_fit_is_antialiased() -> None:
    checkerboard = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    small = fit(checkerboard, 32, "stretch", False)
    np.testing.assert_allclose(small, 127.5, atol=3)


def test_gray_and_colour_convert_into_each_other() -> None:
    gray = np.arange(64, dtype=np.uint8).reshape(8, 8)
    as_colour = fit(gray, 8, "stretch", True)
    np.testing.assert_array_equal(as_colour, np.dstack([gray] * 3))
    np.testing.assert_array_equal(fit(as_colour, 8, "stretch", False), gray)
    with pytest.raises(ValueError, match="crop"):
        fit(gray, 8, "squeeze", False)
