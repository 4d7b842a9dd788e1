"""What a colour store makes of files of every kind, against the conversions of Pillow and pydicom."""

import io

import numpy as np
import pytest
from dicom_files import content, dicom
from PIL import Image
from pydicom import dcmread
from pydicom.pixels import apply_color_lut, pixel_array
from pydicom.uid import RLELossless

from moco_transfer.config.datasets import Store
from moco_transfer.data.packing import read_image

SIDE = 16
STORE = Store(size=SIDE, fit="stretch", colour=True)
COLOUR = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
SMOOTH = np.asarray(Image.fromarray(COLOUR[:4, :4]).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
ALPHA = np.tile(np.linspace(0, 255, SIDE).astype(np.uint8), (SIDE, 1))
PALETTE = Image.fromarray(COLOUR).quantize(16)


def stored(content, folder):
    """Return what a colour store holds of a file, [SIDE, SIDE, 3], or the reason why there is nothing."""
    (folder / "file").write_bytes(content)
    reading = read_image(folder, "file", "the file", STORE)
    return reading.reason if reading.image is None else reading.image


def written(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


PICTURES = {
    "PNG": written(Image.fromarray(COLOUR), "PNG"),
    "PNG of a palette": written(PALETTE, "PNG"),
    "PNG in grey": written(Image.fromarray(ALPHA), "PNG"),
    "PNG in black and white": written(Image.fromarray(ALPHA > 100), "PNG"),
    "JPEG": written(Image.fromarray(SMOOTH), "JPEG", quality=95),
    "JPEG with few colours": written(Image.fromarray(SMOOTH), "JPEG", subsampling=2),
    "JPEG that is progressive": written(Image.fromarray(SMOOTH), "JPEG", progressive=True),
    "JPEG in RGB": written(Image.fromarray(SMOOTH), "JPEG", keep_rgb=True),
    "JPEG in CMYK": written(Image.fromarray(SMOOTH).convert("CMYK"), "JPEG", quality=95),
    "JPEG in grey": written(Image.fromarray(ALPHA), "JPEG"),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_pictures_have_pillows_colours(tmp_path, kind):
    found = stored(PICTURES[kind], tmp_path)
    expected = np.asarray(Image.open(io.BytesIO(PICTURES[kind])).convert("RGB"))
    np.testing.assert_array_equal(found, expected)
    if kind.startswith("JPEG"):
        assert np.abs(found.astype(int) - (SMOOTH if "grey" not in kind else ALPHA[..., None])).mean() < 12


def test_what_is_transparent_is_black(tmp_path):
    found = stored(written(Image.fromarray(np.dstack([COLOUR, ALPHA])), "PNG"), tmp_path)
    np.testing.assert_allclose(found, COLOUR * (ALPHA[..., None] / 255), atol=1)
    indices = np.asarray(PALETTE)[..., None]
    expected = np.where(indices == 3, 0, np.asarray(PALETTE.convert("RGB")))
    np.testing.assert_array_equal(stored(written(PALETTE, "PNG", transparency=3), tmp_path), expected)


def in_colour(pixels, photometric, planar, bits):
    """Return a DICOM of ``pixels`` [SIDE, SIDE, 3], uncompressed; 4:2:2 keeps the colour of the first of two neighbours."""
    lying = (np.moveaxis(pixels, 2, 0) if planar else pixels).reshape(SIDE, SIDE, 3)
    attributes = {"SamplesPerPixel": 3, "PhotometricInterpretation": photometric}
    file = dicom(lying, bits, PlanarConfiguration=planar, **attributes)
    if photometric == "YBR_FULL_422":
        pairs = [pixels[:, ::2, 0], pixels[:, 1::2, 0], pixels[:, ::2, 1], pixels[:, ::2, 2]]
        file.PixelData = np.stack(pairs, axis=2).tobytes()
    return file


@pytest.mark.parametrize(
    ("photometric", "planar", "bits"),
    [
        ("RGB", 0, 8),
        ("RGB", 1, 8),
        ("RGB", 0, 16),
        ("RGB", 1, 16),
        ("YBR_FULL", 0, 8),
        ("YBR_FULL", 1, 8),
        ("YBR_FULL_422", 0, 8),
    ],
)
@pytest.mark.parametrize("syntax", ["uncompressed", "RLE"])
def test_dicoms_have_pydicoms_colours(tmp_path, photometric, planar, bits, syntax):
    pixels = COLOUR if bits == 8 else COLOUR.astype(np.uint16) * 257
    file = in_colour(pixels, photometric, planar, bits)
    if syntax == "RLE":
        if photometric == "YBR_FULL_422":
            pytest.skip("RLE has no shared colours")
        file.compress(RLELossless, generate_instance_uid=False)
    expected = pixel_array(dcmread(io.BytesIO(content(file))))
    np.testing.assert_array_equal(stored(content(file), tmp_path), expected >> (bits - 8))


@pytest.mark.parametrize("bits", [8, 16])
def test_dicoms_with_a_palette_have_its_colours(tmp_path, bits):
    file = dicom(np.asarray(PALETTE), 8, PhotometricInterpretation="PALETTE COLOR")
    for name, entries in zip(("Red", "Green", "Blue"), COLOUR.reshape(-1, 3)[:16].T, strict=True):
        setattr(file, f"{name}PaletteColorLookupTableDescriptor", [16, 0, bits])
        data = entries if bits == 8 else (entries.astype("<u2") << 8) | entries
        setattr(file, f"{name}PaletteColorLookupTableData", data.tobytes())
    read = dcmread(io.BytesIO(content(file)))
    expected = apply_color_lut(pixel_array(read), read)
    np.testing.assert_array_equal(stored(content(file), tmp_path), expected >> (bits - 8))


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        (
            {"PhotometricInterpretation": "YBR_PARTIAL_420"},
            "a DICOM in YBR_PARTIAL_420, which cannot be shown",
        ),
        ({"PhotometricInterpretation": "MONOCHROME2"}, "a DICOM in MONOCHROME2 with 3 samples per pixel"),
        ({"NumberOfFrames": 30}, "a multi-frame DICOM (30 frames)"),
    ],
)
def test_what_has_no_colours_to_show_is_refused(tmp_path, attributes, reason):
    file = in_colour(COLOUR, "RGB", 0, 8)
    for name, value in attributes.items():
        setattr(file, name, value)
    assert stored(content(file), tmp_path) == reason
