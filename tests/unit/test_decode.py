"""Decoding recognises formats by content, prints nothing, and turns any bytes into an image or a reason."""

import io
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from dicom_files import compressed, dicom, pixels12, saved, smooth
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jpeg_encoders import jpeg_lossless, jpeg_sequential
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLossless,
    RLELossless,
)

from moco_transfer.data.decode import Decoded, decode
from moco_transfer.errors import UnreadableImage

LIMIT, FEW_PIXELS = 1_000_000, 100_000
# pytest shows the warnings that decode.py silences
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom", "ignore::UserWarning:PIL")
PICTURES = ["JPEG", "progressive", "PNG", "16-bit PNG", "palette PNG"]
DICOMS = [
    "implicit",
    "big-endian",
    "deflated",
    "rle",
    "lossless",
    "extended",
    "jpeg_2000",
    "jpeg_ls",
    "no header",
]


def contents(folder: Path) -> dict[str, bytes]:
    """One file of each format, by its usual suffix."""
    files = {"dcm": saved(dicom(smooth(12), 12), folder).read_bytes()}
    for suffix, name in (("jpg", "JPEG"), ("png", "PNG")):
        stream = io.BytesIO()
        Image.fromarray(smooth(8)).save(stream, name)
        files[suffix] = stream.getvalue()
    return files


@pytest.mark.parametrize("name", ["10000032.jpg", "10000032.png", "10000032.dcm", "10000032"])
@pytest.mark.parametrize("suffix", ["jpg", "png", "dcm"])
def test_the_format_does_not_depend_on_the_name(tmp_path, name, suffix):
    path = tmp_path / name
    path.write_bytes(contents(tmp_path)[suffix])
    decoded = decode(path, LIMIT)
    assert decoded.pixels.shape == (decoded.height, decoded.width) == smooth(8).shape


@pytest.mark.parametrize("name", ["10000032.jpg", "10000032.png", "10000032.dicom"])
def test_broken_files_give_a_reason_that_does_not_name_them(tmp_path, name):
    path = tmp_path / name
    broken = [
        b"",
        b"\0",
        b"<html>not found</html>",
        b"GIF89a" + bytes(500),
        bytes(500),
        b"10000032" * 40,
        b"RIFF\0\0\0\0WEBPVP8 ",
    ]
    for whole in contents(tmp_path).values():
        broken += [whole[:length] for length in (4, 140, len(whole) // 2, len(whole) - 30)]
    for content in broken:
        path.write_bytes(content)
        with pytest.raises(UnreadableImage) as caught:
            decode(path, LIMIT)
        assert str(caught.value)
        assert "10000032" not in str(caught.value)
        assert str(tmp_path) not in str(caught.value)
        assert "\n" not in str(caught.value)
    path.unlink()
    with pytest.raises(UnreadableImage, match=r"^file not found$"):
        decode(path, LIMIT)
    path.mkdir()
    with pytest.raises(UnreadableImage, match=r"^not a regular file$"):
        decode(path, LIMIT)


def test_decoders_print_nothing(tmp_path):
    # pydicom warns of each of these, with names and values of the file
    dataset = dicom(pixels12(height=64, width=64), 12)
    noisy = saved(dataset, tmp_path).read_bytes()
    noisy = noisy.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0\0\0")  # says implicit, is explicit
    (tmp_path / "implicit").write_bytes(noisy)
    whole = saved(dataset, tmp_path).read_bytes()
    (tmp_path / "cut").write_bytes(whole[: whole.index(b"Identifying") + 5])
    dataset.compress("1.2.840.10008.1.2.4.90", generate_instance_uid=False)
    whole = saved(dataset, tmp_path).read_bytes()
    (tmp_path / "frame").write_bytes(whole[:-300])
    code = (
        "import logging, sys, pathlib\n"
        "logging.basicConfig(level=logging.WARNING)\n"
        "from moco_transfer.data.decode import decode\n"
        "from moco_transfer.errors import UnreadableImage\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):\n"
        "    try:\n"
        "        print(path.name, decode(path, 10_000).height)\n"
        "    except UnreadableImage as reason:\n"
        "        print(path.name, reason)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    lines = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert lines["implicit"] == "64"
    assert lines["cut"] == "a DICOM without pixel data"
    assert "DICOM" in lines["frame"]


def test_pixels_are_contiguous_and_need_no_file(tmp_path):
    for suffix, content in contents(tmp_path).items():
        path = tmp_path / f"image.{suffix}"
        path.write_bytes(content)
        pixels = decode(path, LIMIT).pixels
        path.unlink()
        assert pixels.dtype == np.uint8
        assert pixels.flags.c_contiguous


@cache
def valid(kind: str) -> bytes:
    stream = io.BytesIO()
    if kind in PICTURES:
        pixels = smooth(16) if kind == "16-bit PNG" else smooth(8)
        picture = Image.fromarray(pixels)
        if kind == "palette PNG":
            picture = picture.convert("P")
        picture.save(
            stream,
            "PNG" if "PNG" in kind else "JPEG",
            **({"progressive": True} if kind == "progressive" else {}),
        )
        return stream.getvalue()
    if kind == "jpeg_ls":
        return Path(get_testdata_file("JPEGLSNearLossless_16.dcm", download=False)).read_bytes()
    values = pixels12(height=40, width=40) // 16
    if kind in ("lossless", "extended"):
        frame = jpeg_lossless(values, 12, 4) if kind == "lossless" else jpeg_sequential(values, 12)
        dataset = compressed(frame, values, 12, JPEGLossless if kind == "lossless" else JPEGExtended12Bit)
    elif kind in ("rle", "jpeg_2000"):
        dataset = dicom(values, 12, WindowCenter=100, WindowWidth=200)
        dataset.compress(RLELossless if kind == "rle" else JPEG2000Lossless, generate_instance_uid=False)
    else:
        syntaxes = {"big-endian": ExplicitVRBigEndian, "deflated": DeflatedExplicitVRLittleEndian}
        dataset = dicom(
            values, 12, syntaxes.get(kind, ImplicitVRLittleEndian), RescaleSlope=2, RescaleIntercept=-5
        )
    dataset.save_as(stream, enforce_file_format=True)
    whole = stream.getvalue()
    return whole[144 + int.from_bytes(whole[140:144], "little") :] if kind == "no header" else whole


@st.composite
def broken(draw: st.DrawFn, whole: bytes) -> bytes:
    """``whole`` with bytes changed (mostly near the start), a part repeated or removed, or its end cut
    off."""
    content = bytearray(whole)
    places = st.one_of(st.integers(0, len(whole) - 1), st.integers(0, min(1000, len(whole) - 1)))
    for _ in range(draw(st.integers(0, 6))):
        content[draw(places)] = draw(
            st.one_of(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]), st.integers(0, 255))
        )
    if draw(st.booleans()):
        start, to, length = draw(places), draw(places), draw(st.integers(0, 64))
        content[to:to] = content[start : start + length]
    if draw(st.booleans()):
        start = draw(places)
        del content[start : start + draw(st.integers(1, 64))]
    if draw(st.integers(0, 3)) == 0:
        del content[draw(places) :]
    return bytes(content)


@pytest.mark.parametrize("kind", PICTURES + DICOMS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_broken_bytes_give_an_image_or_a_reason(tmp_path, kind, data):
    path = tmp_path / "image"
    path.write_bytes(data.draw(broken(valid(kind))))
    try:
        decoded = decode(path, FEW_PIXELS, data.draw(st.sampled_from([None, 4])))
    except UnreadableImage as reason:
        assert str(reason)
        assert str(path) not in str(reason)
        assert "Identifying" not in str(reason)
        assert "\n" not in str(reason)
    else:
        assert isinstance(decoded, Decoded)
        assert decoded.pixels.dtype == np.uint8
        assert decoded.pixels.shape[2:] in ((), (3,))
        assert 0 < decoded.pixels.size <= 3 * FEW_PIXELS
        assert decoded.height * decoded.width <= FEW_PIXELS


@given(
    content=st.binary(max_size=400),
    start=st.sampled_from([b"", b"\x08\x00", b"\x02\x00\x00\x00UL", b"\xff\xd8\xff"]),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_junk_is_refused(tmp_path, content, start):
    path = tmp_path / "junk"
    for preamble in (b"", bytes(128) + b"DICM"):
        path.write_bytes(preamble + start + content)
        with pytest.raises(UnreadableImage):
            decode(path, FEW_PIXELS)


@pytest.mark.parametrize("kind", PICTURES + DICOMS)
def test_the_files_above_are_valid_before_they_are_broken(tmp_path, kind):
    (tmp_path / "image").write_bytes(valid(kind))
    assert decode(tmp_path / "image", FEW_PIXELS).pixels.std() > 10
