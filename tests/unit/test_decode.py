"""What decoding does with a file before and beside its format: told by content, named by nothing, quiet throughout."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dicom_files import dicom, pixels12, saved, smooth
from PIL import Image

from moco_transfer.data.decode import decode
from moco_transfer.errors import UnreadableImage

LIMIT = 1_000_000


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
def test_the_name_does_not_decide_the_format(tmp_path: Path, name: str, suffix: str) -> None:
    path = tmp_path / name
    path.write_bytes(contents(tmp_path)[suffix])
    decoded = decode(path, LIMIT)
    assert decoded.pixels.shape == (decoded.height, decoded.width) == smooth(8).shape


@pytest.mark.parametrize("name", ["10000032.jpg", "10000032.png", "10000032.dicom"])
def test_broken_files_give_a_reason_that_does_not_name_them(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    broken = [
        b"",
        b"\0",
        b"<html>not found</html>",
        b"GIF89a" + bytes(500),
        bytes(500),
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
    with pytest.raises(UnreadableImage, match=r"^Is a directory$"):
        decode(path, LIMIT)


def test_decoders_say_nothing_on_the_side(tmp_path: Path) -> None:
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
    assert lines["frame"] == "a broken DICOM (RuntimeError)"


def test_pixels_are_contiguous_and_need_no_file(tmp_path: Path) -> None:
    for suffix, content in contents(tmp_path).items():
        path = tmp_path / f"image.{suffix}"
        path.write_bytes(content)
        pixels = decode(path, LIMIT).pixels
        path.unlink()
        assert pixels.dtype == np.uint8
        assert pixels.flags.c_contiguous
