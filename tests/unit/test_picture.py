"""JPEG and PNG in every mode are decoded to the pixels that were written; images become squares."""

import os
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from dicom_files import smooth
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from moco_transfer.data.decode import Decoded, decode, fit
from moco_transfer.errors import UnreadableImage

LIMIT = 10_000_000
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")
REAL = os.environ.get("MOCO_TRANSFER_REAL_DATA")


def square_of(pixels: np.ndarray, size: int, how: str, colour: bool) -> np.ndarray:
    return fit(Decoded(pixels, *pixels.shape[:2]), size, how, colour)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">L", len(content)) + kind + content + struct.pack(">L", zlib.crc32(kind + content))


def png(width: int, height: int, depth: int, colour_type: int, samples: bytes) -> bytes:
    """Return a PNG of ``samples``, row by row, for the kinds that Pillow does not write."""
    stride = len(samples) // height
    rows = b"".join(b"\0" + samples[row * stride : (row + 1) * stride] for row in range(height))
    header = struct.pack(">LLBBBBB", width, height, depth, colour_type, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


def test_pictures_of_every_mode_are_decoded_as_they_look(tmp_path):
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
        (Image.fromarray(np.dstack([gray, half])), gray / 5),
        (Image.fromarray(gray > 128), 255 * (gray > 128)),
        (Image.fromarray(colour), colour),
        (Image.fromarray(np.concatenate([colour, half], axis=2)), colour / 5),  # over black
        (palette, np.array(palette.getpalette()[:12]).reshape(4, 3)[gray // 64]),
    ]
    for number, (picture, expected) in enumerate(cases):
        picture.save(tmp_path / f"{number}.png")
        image = decode(tmp_path / f"{number}.png", LIMIT).pixels
        assert image.dtype == np.uint8
        np.testing.assert_allclose(image, expected, atol=1, err_msg=f"case {number}")


DEEP = np.random.default_rng(3).integers(0, 4096, (40, 50), dtype=np.uint16)
OPAQUE = np.full_like(DEEP, 0xFFFF)


def shown(words: np.ndarray, colour_type: int, *chunks: bytes) -> np.ndarray:
    """Return how a PNG of 16 bits per channel is shown."""
    content = png(*words.shape[1::-1], 16, colour_type, words.astype(">u2").tobytes())
    return decode(BytesIO(content[:33] + b"".join(chunks) + content[33:]), LIMIT).pixels


def windowed(words: np.ndarray) -> np.ndarray:
    """Return ``words`` between their percentiles 0.5 and 99.5, which must be values that occur."""
    low, high = np.percentile(words, [0.5, 99.5], method="inverted_cdf").astype(float)
    return np.rint(255 * np.clip((words - low) / (high - low), 0, 1))


@pytest.mark.parametrize("colour_type", [0, 2, 4, 6])
def test_a_grey_png_of_16_bits_looks_the_same_in_any_number_of_channels(colour_type):
    channels = {0: [], 2: [DEEP, DEEP], 4: [OPAQUE], 6: [DEEP, DEEP, OPAQUE]}[colour_type]
    words = np.dstack([DEEP, *channels])
    np.testing.assert_array_equal(shown(words, colour_type), windowed(DEEP))
    if colour_type in (4, 6):  # the opacity also has 12 bits
        words[..., -1] = 4095
        np.testing.assert_array_equal(shown(words, colour_type), windowed(DEEP))


def test_a_colour_png_of_16_bits_has_one_window_for_all_channels():
    words = np.dstack([DEEP, DEEP // 2, 4095 - DEEP])
    np.testing.assert_array_equal(shown(words, 2), windowed(words))


@pytest.mark.parametrize("colour_type", [0, 2, 4, 6])
def test_what_is_transparent_in_16_bits_is_black_and_outside_the_window(colour_type):
    hidden = np.indices(DEEP.shape)[1] < 20
    words, alpha = np.where(hidden, 50_000, DEEP).astype(np.uint16), np.where(hidden, 0, OPAQUE)
    expected = np.where(hidden, 0, 0 * DEEP)
    expected[~hidden] = windowed(DEEP[~hidden])
    gray = [words] * (3 if colour_type in (2, 6) else 1)
    if colour_type in (4, 6):
        found = shown(np.dstack([*gray, alpha]), colour_type)
    else:
        found = shown(np.dstack(gray), colour_type, chunk(b"tRNS", struct.pack(">H", 50_000) * len(gray)))
    np.testing.assert_array_equal(found, expected)
    assert not shown(np.dstack([words] * 3 + [0 * alpha]), 6).any()


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_transparent_grey_value_of_few_bits_is_black(bits):
    top = 2**bits - 1
    samples = np.full(8 * 8 * bits // 8, 0xFF, dtype=np.uint8)
    samples[: len(samples) // 2] = 0x55 if bits < 8 else 100
    content = png(8, 8, bits, 0, samples.tobytes())
    whole = decode(BytesIO(content), LIMIT).pixels
    transparent = chunk(b"tRNS", struct.pack(">H", top))
    through = decode(BytesIO(content[:33] + transparent + content[33:]), LIMIT).pixels
    assert whole[4:].min() == 255
    np.testing.assert_array_equal(through, np.where(whole == 255, 0, whole))


def test_progressive_and_plain_jpeg_agree(tmp_path):
    for progressive in (False, True):
        picture = Image.fromarray(smooth(8, 200, 300))
        picture.save(tmp_path / f"{progressive}.jpg", progressive=progressive, quality=95)
    plain, progressive = (decode(tmp_path / f"{kind}.jpg", LIMIT).pixels for kind in (False, True))
    np.testing.assert_array_equal(plain, progressive)
    np.testing.assert_allclose(plain.astype(int), smooth(8, 200, 300), atol=3)


@pytest.mark.parametrize("transform", [0, 2])
def test_cmyk_becomes_rgb(tmp_path, transform):
    inks = np.dstack([smooth(8), smooth(8)[::-1], smooth(8)[:, ::-1], smooth(8) // 4])
    path = tmp_path / "inks.jpg"
    Image.fromarray(inks, "CMYK").save(path, quality=100, subsampling=0)
    # the same coded data, declared as YCCK, whose first three channels are a YCbCr transform of the inks
    adobe = path.read_bytes().index(b"Adobe")
    content = bytearray(path.read_bytes())
    content[adobe + 11] = transform
    path.write_bytes(content)
    stored = 255 - inks.astype(float)  # Adobe stores inks inverted
    if transform == 2:
        y, b, r = stored[..., 0], stored[..., 1] - 128, stored[..., 2] - 128
        rgb = np.stack([y + 1.402 * r, y - 0.344136 * b - 0.714136 * r, y + 1.772 * b], axis=2)
        # the inks of YCCK are those of the inverted colours
        stored[..., :3] = 255 - np.clip(rgb, 0, 255)
    expected = stored[..., :3] * stored[..., 3:] / 255
    np.testing.assert_allclose(decode(path, LIMIT).pixels, expected, atol=4)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation, suffix):
    upright = np.zeros((40, 80), dtype=np.uint8)
    upright[:16, :16], upright[:16, 64:], upright[24:, :16] = 255, 170, 85
    # what a camera stores for this orientation
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: upright.T[::-1],
        7: upright.T[::-1, ::-1],
        8: upright.T[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{suffix}"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    decoded = decode(path, LIMIT)
    np.testing.assert_allclose(decoded.pixels.astype(int), upright, atol=5)
    assert (decoded.height, decoded.width) == (40, 80)


def test_broken_exif_data_do_not_lose_an_image(tmp_path):
    path = tmp_path / "image.jpg"
    Image.fromarray(smooth(8)).save(path, exif=b"Exif\0\0II*\0\xff\xff\xff\x7f" + b"\xee" * 40)
    assert decode(path, LIMIT).pixels.shape == smooth(8).shape


@pytest.mark.parametrize(("height", "width"), [(800, 1000), (617, 1003), (1001, 619)])
@pytest.mark.parametrize("how", ["stretch", "pad", "center_crop"])
def test_a_jpeg_reduced_while_decoding_fits_like_a_whole_one(tmp_path, height, width, how):
    noise = np.random.default_rng(4).integers(0, 256, (height // 100, width // 100), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
    picture.save(tmp_path / "large.jpg", quality=95)
    whole = decode(tmp_path / "large.jpg", LIMIT)
    reduced = decode(tmp_path / "large.jpg", LIMIT, smallest_side=64)
    assert whole.pixels.shape == whole[1:3] == reduced[1:3] == (height, width)
    assert 1.2 * 64 <= min(reduced.pixels.shape) <= 0.25 * min(height, width) + 1
    difference = fit(whole, 64, how, False).astype(float) - fit(reduced, 64, how, False)
    assert np.abs(difference).mean() <= 0.75
    with pytest.raises(UnreadableImage, match=f"{width} x {height} pixels"):
        decode(tmp_path / "large.jpg", height * width - 1, smallest_side=64)


def test_a_turned_jpeg_is_not_reduced(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(smooth(8, 400, 601)).save(tmp_path / "turned.jpg", exif=exif)
    assert decode(tmp_path / "turned.jpg", LIMIT, smallest_side=16).pixels.shape == (400, 601)


@pytest.mark.skipif(REAL is None, reason="MOCO_TRANSFER_REAL_DATA names no folder with NIH ChestX-ray14")
@pytest.mark.parametrize("size", [None, (2544, 3056), (2539, 3047)])
def test_reduced_jpegs_of_real_radiographs_look_like_full_decodes(tmp_path, size):
    radiographs = sorted(Path(REAL).rglob("*.png"))
    assert radiographs
    path = tmp_path / "image.jpg"
    for radiograph in radiographs[:: 12 if size else 4]:
        picture = Image.open(radiograph).convert("L")
        if size:  # as large as those of MIMIC-CXR-JPG
            picture = picture.resize(size, Image.Resampling.BICUBIC)
        picture.save(path, quality=95)
        reduced = decode(path, LIMIT, 256)
        assert reduced.pixels.shape != (reduced.height, reduced.width)
        full = Image.open(path).resize((256, 256), Image.Resampling.BILINEAR)
        difference = np.asarray(full).astype(float) - fit(reduced, 256, "stretch", False)
        assert np.abs(difference).mean() <= 0.75


def test_bombs_are_refused_by_their_header(tmp_path):
    path = tmp_path / "bomb"
    path.write_bytes(png(2, 2, 8, 0, bytes(4)))
    header = struct.pack(">LLBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    path.write_bytes(path.read_bytes()[:8] + chunk(b"IHDR", header) + path.read_bytes()[33:])
    with pytest.raises(UnreadableImage, match=r"^60000 x 60000 pixels, more than max_pixels \(10000000\)$"):
        decode(path, LIMIT)
    Image.fromarray(smooth(8)).save(path, "JPEG")
    content = path.read_bytes().replace(struct.pack(">HH", 40, 48), struct.pack(">HH", 65_500, 65_500), 1)
    path.write_bytes(content)
    with pytest.raises(UnreadableImage, match=r"^65500 x 65500 pixels"):
        decode(path, LIMIT)
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(5_000_000)))
    whole = png(2, 2, 8, 0, bytes(4))
    path.write_bytes(whole[:33] + text + whole[33:])
    with pytest.raises(UnreadableImage, match="too large"):
        decode(path, LIMIT)


@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(1, 40),
    st.sampled_from(["stretch", "pad", "center_crop"]),
    st.booleans(),
    st.integers(1, 255),
)
def test_fit_is_square_and_keeps_a_constant(height, width, size, how, colour, value):
    square = square_of(np.full((height, width), value, dtype=np.uint8), size, how, colour)
    assert square.shape == ((size, size, 3) if colour else (size, size))
    assert square.dtype == np.uint8
    assert set(np.unique(square)) <= ({0, value} if how == "pad" else {value})
    if how == "pad":
        rows, columns = np.nonzero(square[..., 0] if colour else square)
        shown = (np.ptp(rows) + 1, np.ptp(columns) + 1)
        scale = size / max(height, width)
        assert shown == (max(1, round(height * scale)), max(1, round(width * scale)))


def test_center_crop_keeps_the_middle_and_pad_keeps_all():
    image = np.zeros((60, 120), dtype=np.uint8)
    image[:, 30:90] = 200
    assert (square_of(image, 30, "center_crop", False) == 200).mean() > 0.93
    padded = square_of(image, 60, "pad", False)
    assert not padded[:15].any()
    assert not padded[45:].any()
    assert padded[15:45].mean() == pytest.approx(100, abs=1)
    assert (
        square_of(image.T, 30, "center_crop", False).mean()
        == square_of(image, 30, "center_crop", False).mean()
    )


def test_fit_is_antialiased():
    checkerboard = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    small = square_of(checkerboard, 32, "stretch", False)
    np.testing.assert_allclose(small, 127.5, atol=3)


def test_gray_and_colour_convert_into_each_other():
    gray = np.arange(64, dtype=np.uint8).reshape(8, 8)
    as_colour = square_of(gray, 8, "stretch", True)
    np.testing.assert_array_equal(as_colour, np.dstack([gray] * 3))
    np.testing.assert_array_equal(square_of(as_colour, 8, "stretch", False), gray)
