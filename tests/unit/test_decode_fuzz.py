"""Broken bytes of every format: whatever is done to a file, decoding gives an image or says that there is none."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from dicom_files import compressed, dicom, pixels12, smooth
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

LIMIT = 100_000
# pytest shows what the decoders are told to keep for themselves
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
    """``whole`` with bytes changed, most often near the start, with a part repeated or moved, or with its end cut."""
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
def test_broken_bytes_give_an_image_or_a_reason(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    path = tmp_path / "image"
    path.write_bytes(data.draw(broken(valid(kind))))
    try:
        decoded = decode(path, LIMIT, data.draw(st.sampled_from([None, 4])))
    except UnreadableImage as reason:
        assert str(reason)
        assert str(path) not in str(reason)
        assert "Identifying" not in str(reason)
        assert "\n" not in str(reason)
    else:
        assert isinstance(decoded, Decoded)
        assert decoded.pixels.dtype == np.uint8
        assert decoded.pixels.shape[2:] in ((), (3,))
        assert 0 < decoded.pixels.size <= 3 * LIMIT
        assert decoded.height * decoded.width <= LIMIT


@given(
    content=st.binary(max_size=400),
    start=st.sampled_from([b"", b"\x08\x00", b"\x02\x00\x00\x00UL", b"\xff\xd8\xff"]),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_junk_is_refused(tmp_path: Path, content: bytes, start: bytes) -> None:
    path = tmp_path / "junk"
    for preamble in (b"", bytes(128) + b"DICM"):
        path.write_bytes(preamble + start + content)
        with pytest.raises(UnreadableImage):
            decode(path, LIMIT)


@pytest.mark.parametrize("kind", PICTURES + DICOMS)
def test_the_files_that_are_broken_above_were_whole(tmp_path: Path, kind: str) -> None:
    (tmp_path / "image").write_bytes(valid(kind))
    assert decode(tmp_path / "image", LIMIT).pixels.std() > 10
