"""An error of the machine stops packing and blames no image; a special file is never waited for."""

import errno
import io
import os
import resource
import socket
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from made_up_images import pack, pack_shard, write_images

from moco_transfer.config.datasets import Store
from moco_transfer.data.verify import verify
from moco_transfer.errors import UserError

SETTINGS = Store(size=16, fit="stretch", max_quarantined=1)


def reasons(index: pd.DataFrame, root: Path) -> list[str]:
    pack_shard(index, root, SETTINGS, root / "packed", workers=2)
    return pd.read_parquet(root / "packed" / "files.parquet")["reason"].tolist()


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    message = str(caught.value)
    assert "image1" not in message and "\n" not in message
    return message


def test_special_files_are_quarantined(tmp_path, monkeypatch):
    index, _ = write_images(tmp_path, 6)
    paths = [tmp_path / path for path in index["path"]]
    for path in paths[1:5]:
        path.unlink()
    os.mkfifo(paths[1])
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(paths[2].name)
        paths[3].mkdir()
        paths[4].symlink_to(paths[4])
        special = ["not a regular file"] * 3
        assert reasons(index, tmp_path) == ["", *special, "file not found", ""]


def test_a_link_may_lead_elsewhere_in_the_root_but_not_out_of_it(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    index, _ = write_images(root, 4)
    image = root / index["path"][1]
    inside, outside = root / "inside.png", tmp_path / "outside.png"
    image.rename(inside)
    image.symlink_to(inside)
    (tmp_path / "link").symlink_to(root)
    assert reasons(index, root) == reasons(index, tmp_path / "link") == [""] * 4
    pack(index, root, SETTINGS, tmp_path / "store")
    inside.rename(outside)
    image.unlink()
    image.symlink_to(outside)
    message = "leads out of the dataset's root; put the file into the root"
    assert message in refused(lambda: reasons(index, root))
    assert "image 2 of the index" in refused(lambda: reasons(index, root))
    assert message in refused(lambda: verify(store=tmp_path / "store", root=root))


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EACCES, errno.ENFILE])
@pytest.mark.parametrize("when", ["opened", "read"])
def test_what_the_machine_cannot_do_stops_packing(tmp_path, monkeypatch, number, when):
    index, _ = write_images(tmp_path, 4)
    open_file = os.open

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number), str(tmp_path / "image1.png"))

    class Failing(io.BytesIO):
        fileno = lambda self: 0  # noqa: E731
        read = fail

    def open_or_fail(path: str, *rest: int, **options: int | None) -> int:
        return fail() if str(path).endswith("image1.png") else open_file(path, *rest, **options)

    if when == "opened":
        monkeypatch.setattr(os, "open", open_or_fail)
    else:
        monkeypatch.setattr("moco_transfer.data.packing.open_image", lambda *_: Failing())
    message = refused(lambda: reasons(index, tmp_path))
    assert os.strerror(number) in message and "run again" in message
    assert f"image {2 if when == 'opened' else 1} of the index" in message
    assert not (tmp_path / "packed" / "files.parquet").exists()


def test_too_few_open_files_stop_packing(tmp_path):
    index, _ = write_images(tmp_path, 30)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    # room for the lock and the array, not for an image
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 2, hard))
    try:
        message = refused(lambda: pack_shard(index, tmp_path, SETTINGS, tmp_path / "packed"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "Too many open files" in message and "ulimit -n" in message


def test_too_little_memory_stops_packing(tmp_path, monkeypatch):
    index, _ = write_images(tmp_path, 2)

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("moco_transfer.data.packing.decode", fail)
    assert "run fewer jobs at once" in refused(lambda: reasons(index, tmp_path))
