"""Damaged pictures are refused with the share of rows that they lost; sound ones of every kind are not."""

import os
import re
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moco_transfer.data.decode import decode
from moco_transfer.errors import UnreadableImage

LIMIT = 10_000_000
END = b"\xff\xd9"
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")
REAL = os.environ.get("MOCO_TRANSFER_REAL_DATA")
NOISE = np.random.default_rng(0).integers(0, 256, (240, 200), dtype=np.uint8)
JPEGS = {
    "grey": ("L", {}),
    "optimised": ("L", {"optimize": True}),
    "restarts": ("L", {"restart_marker_rows": 1}),
    "progressive": ("L", {"progressive": True}),
    "colour": ("RGB", {"subsampling": 2}),
    "colour, halved": ("RGB", {"subsampling": 1}),
    "colour, progressive": ("RGB", {"subsampling": 0, "progressive": True}),
    "colour, not transformed": ("RGB", {"keep_rgb": True}),
    "inks": ("CMYK", {}),
}
EXIF = Image.Exif()
EXIF[0x0112] = 3


def jpeg(kind: str, pixels: np.ndarray = NOISE, **options: object) -> bytes:
    stream = BytesIO()
    mode, more = JPEGS[kind]
    Image.fromarray(pixels).convert(mode).save(stream, "JPEG", **more, **options)
    return stream.getvalue()


def png(pixels: np.ndarray = NOISE, **options: object) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", **options)
    return stream.getvalue()


def lost(content: bytes, smallest_side: int | None = None) -> int:
    """Return the percentage of lost rows in the reason why a picture is refused."""
    with pytest.raises(UnreadableImage) as caught:
        decode(BytesIO(content), LIMIT, smallest_side)
    return int(re.fullmatch(r"damaged: (\d+)% of the rows are missing or wrong", str(caught.value)).group(1))


@pytest.mark.parametrize("smallest_side", [None, 30])
@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_without_its_tail_is_refused(kind, smallest_side):
    whole = jpeg(kind)
    for kept, tail in ((0.97, b""), (0.97, END), (0.75, END), (0.75, END + b"after the end")):
        share = lost(whole[: int(kept * len(whole))] + tail, smallest_side)
        # Each scan of a progressive JPEG goes from the first row to the last.
        assert share > 0 if "progressive" in kind else share == pytest.approx(100 * (1 - kept), abs=5)


@pytest.mark.parametrize("shape", [(1, 1), (7, 200), (65, 97)])
@pytest.mark.parametrize("kind", JPEGS)
def test_a_sound_jpeg_is_kept_even_if_it_ends_in_middle_grey(kind, shape):
    for pixels in (np.full(shape, 128, np.uint8), NOISE[: shape[0], : shape[1]]):
        whole = jpeg(kind, pixels)
        for after_the_end in (b"", bytes(50), b"and " + END + b" again", whole):
            found = decode(BytesIO(whole + after_the_end), LIMIT, 8)
            assert (found.height, found.width) == shape and found.repairs == ()


def test_a_jpeg_that_lost_only_its_end_marker_is_mended():
    whole = jpeg("grey", NOISE[:40, :40])
    mended = decode(BytesIO(whole[:-2]), LIMIT)
    np.testing.assert_array_equal(mended.pixels, decode(BytesIO(whole), LIMIT).pixels)
    assert mended.repairs == ("a JPEG without an end marker",)


@pytest.mark.parametrize("kind", ["grey", "colour", "progressive"])
def test_a_jpeg_that_ends_in_zeros_is_refused(kind):
    """A copy that failed, on a disk that had reserved the whole size."""
    whole = jpeg(kind)
    for kept in (0.5, 0.9):
        length = int(kept * len(whole))
        with pytest.raises(UnreadableImage, match=r"^damaged"):
            decode(BytesIO(whole[:length] + bytes(len(whole) - length)), LIMIT)


@pytest.mark.parametrize("options", [{}, {"exif": EXIF}])
def test_a_png_with_a_changed_byte_is_refused(options):
    whole = png(**options)
    for place in (0.3, 0.6, 0.9):
        content = bytearray(whole)
        content[int(place * len(content))] ^= 0x10
        assert lost(bytes(content)) >= 100 * (1 - place) - 1


def test_a_changed_byte_that_can_be_inflated_is_refused():
    """Stored without compression, the bytes of a PNG may have any value."""
    content = bytearray(png(compress_level=0))
    content[len(content) // 2] ^= 1
    with pytest.raises(UnreadableImage, match="damaged"):
        decode(BytesIO(content), LIMIT)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_a_png_that_is_cut_short_is_refused(kept):
    whole = png()
    assert lost(whole[: int(kept * len(whole))]) == pytest.approx(100 * (1 - kept), abs=5)


def test_a_png_whose_rows_are_too_few_is_refused():
    header = struct.pack(">LLBBBBB", 30, 40, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(31 * 10))), (b"IEND", b"")]
    chunks = [
        struct.pack(">L", len(data)) + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
        for kind, data in parts
    ]
    assert lost(b"\x89PNG\r\n\x1a\n" + b"".join(chunks)) == 75


@pytest.mark.parametrize("content", [png()[:20] + b"\xff" + png()[21:], jpeg("grey")[:100]])
def test_a_damaged_header_is_called_that(content):
    with pytest.raises(UnreadableImage, match=r"^a (PNG|JPEG) whose header is cut or damaged$"):
        decode(BytesIO(content), LIMIT)


def test_a_jpeg_of_many_scans_is_refused_at_once():
    whole = jpeg("progressive")
    scan = whole[whole.rindex(b"\xff\xda") : -2]
    with pytest.raises(UnreadableImage, match="more than 100 scans"):
        decode(BytesIO(whole[:-2] + scan[:30] * 200 + END), LIMIT)


@pytest.mark.skipif(REAL is None, reason="MOCO_TRANSFER_REAL_DATA names no folder with NIH ChestX-ray14")
def test_real_radiographs():
    for path in sorted(Path(REAL).rglob("*.png"))[::12]:
        whole = path.read_bytes()
        changed = bytearray(whole)
        changed[len(changed) // 2] ^= 0x55
        assert lost(bytes(changed)) > 10
        as_jpeg = jpeg("grey", np.asarray(Image.open(path).convert("L")), quality=95)
        assert decode(BytesIO(as_jpeg), LIMIT, 256).repairs == ()
        assert lost(as_jpeg[: len(as_jpeg) // 2] + END, 256) > 10
