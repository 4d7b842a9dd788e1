"""LUTs of every kind and spelling are looked up as the formulas of the standard say, by their own range."""

import numpy as np
import pytest
from dicom_files import SYNTAXES, dicom, full, lut, pixels12, shown
from pydicom import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize(
    ("bits", "largest"),
    [(16, 4095), (16, 1000), (12, 255), (12, 4095), (8, 4095), (8, 65535), (16, 65535), (32, 4095)],
)
def test_the_largest_entry_of_a_voi_lut_is_white(syntax, bits, largest):
    entries = np.linspace(0, largest, 4096).astype(np.uint16)
    words = ">" if syntax == ExplicitVRBigEndian else "<"
    for item in (lut(0, bits, entries, words), lut(0, bits, entries, "")):
        if not (syntax == ImplicitVRLittleEndian and item["LUTData"].VR == "US"):
            image = shown(dicom(pixels12(), 12, syntax, VOILUTSequence=[item]))
            np.testing.assert_allclose(image, 255.0 * entries[pixels12()] / largest, atol=0.51)


def test_a_voi_lut_of_zeros_is_black():
    item = lut(0, 16, np.zeros(4096, np.uint16), "<")
    assert not shown(dicom(pixels12(), 12, VOILUTSequence=[item])).any()


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("representation", ["US", "SS"])
def test_the_first_input_of_a_voi_lut_may_be_negative_after_a_rescale(syntax, representation):
    entries = np.arange(0, 4096, dtype=np.uint16)[::-1]
    item = lut(0, 12, entries, ">" if syntax == ExplicitVRBigEndian else "<")
    item.add_new("LUTDescriptor", representation, [4096, 64512 if representation == "US" else -1024, 12])
    dataset = dicom(pixels12(), 12, syntax, RescaleSlope=1, RescaleIntercept=-1024, VOILUTSequence=[item])
    np.testing.assert_allclose(shown(dataset), full(entries[pixels12()], 12), atol=0.51)


@pytest.mark.parametrize("representation", ["US", "SS"])
def test_the_first_input_of_a_lut_may_be_beyond_the_signed_numbers(representation):
    pixels = np.random.default_rng(1).integers(0, 65536, (20, 20), dtype=np.uint16)
    item = lut(0, 12, np.arange(4096, dtype=np.uint16), "<")
    item.add_new("LUTDescriptor", representation, [4096, 40000 if representation == "US" else -25536, 12])
    expected = full(np.clip(pixels.astype(int) - 40000, 0, 4095), 12)
    np.testing.assert_allclose(shown(dicom(pixels, VOILUTSequence=[item])), expected, atol=0.51)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("length", [255, 256])
def test_two_entries_per_word(syntax, length):
    entries = np.arange(length, dtype=np.uint8)[::-1]
    padded = np.append(entries, np.zeros(length % 2, np.uint8)).view("<u2")
    pixels = np.random.default_rng(2).integers(0, length, (9, 9), dtype=np.uint8)
    for words in ("", ">" if syntax == ExplicitVRBigEndian else "<"):
        item = lut(0, 8, padded, words)
        item.LUTDescriptor = [length, 0, 8]
        image = shown(dicom(pixels, 8, syntax, VOILUTSequence=[item]))
        np.testing.assert_allclose(image, 255.0 * entries[pixels] / entries.max(), atol=0.51)


def test_a_lut_of_65536_entries():
    entries = np.arange(65536, dtype=np.uint16)[::-1]
    item = lut(0, 16, entries[:1], "<")
    item.LUTDescriptor, item.LUTData = [0, 0, 16], entries.tobytes()
    pixels = np.random.default_rng(3).integers(0, 65536, (20, 20), dtype=np.uint16)
    np.testing.assert_allclose(
        shown(dicom(pixels, VOILUTSequence=[item])), full(entries[pixels], 16), atol=0.51
    )


def palette(
    pixels: np.ndarray, bits: int, entries: np.ndarray, syntax: str = ExplicitVRLittleEndian
) -> Dataset:
    dataset = dicom(pixels, 8 * pixels.dtype.itemsize, syntax, PhotometricInterpretation="PALETTE COLOR")
    for name, channel in zip(("Red", "Green", "Blue"), entries.T, strict=True):
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [len(channel), 0, bits])
        setattr(dataset, f"{name}PaletteColorLookupTableData", channel.tobytes())
    return dataset


def test_palettes_by_their_own_range_and_beyond_their_end():
    colours = np.random.default_rng(4).integers(0, 256, (200, 3))
    pixels = np.random.default_rng(5).integers(0, 1000, (16, 16), dtype=np.uint16)
    expected = colours[np.minimum(pixels, 199)]
    for bits, entries in (
        (8, colours.astype(np.uint8)),
        (16, colours.astype("<u2")),
        (8, colours.astype("<u2")),
    ):
        np.testing.assert_array_equal(shown(palette(pixels, bits, entries)), expected)
    big = palette(pixels, 16, (colours * 256).astype(">u2"), ExplicitVRBigEndian)
    np.testing.assert_array_equal(shown(big), expected)


def test_a_palette_of_segments():
    dataset = dicom(
        np.arange(100, dtype=np.uint8).reshape(10, 10), 8, PhotometricInterpretation="PALETTE COLOR"
    )
    words = np.array(
        [0, 2, 100 << 8, 0, 1, 98, 98 << 8], "<u2"
    )  # two entries, and a line of 98 up from there
    for name in ("Red", "Green", "Blue"):
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [100, 0, 16])
        setattr(dataset, f"Segmented{name}PaletteColorLookupTableData", words.tobytes())
    np.testing.assert_array_equal(shown(dataset)[..., 0].ravel(), [100, 0, *range(1, 99)])
    for name in ("Red", "Green", "Blue"):
        endless = np.array([0, 1, 5, *[1, 65535, 7] * 100_000], "<u2")
        setattr(dataset, f"Segmented{name}PaletteColorLookupTableData", endless.tobytes())
    shown(dataset)
