"""A disk that is full or may not be written to: one line that says so, no half store, and the work is kept."""

from __future__ import annotations

import errno
import resource
import shutil
import subprocess
from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from made_up_images import files_in, write_images
from whole_store import pack

from moco_transfer import files as disk
from moco_transfer.config import Store as Settings
from moco_transfer.data import packing as shard
from moco_transfer.data import store
from moco_transfer.errors import UserError
from moco_transfer.files import write_text

SETTINGS = Settings(size=64, fit="stretch", shards=2)
Usage = namedtuple("Usage", "total used free")


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond ``size`` bytes: the writer gets an error, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB of its own, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def refused(call: object, *arguments: object) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_too_little_space_is_said_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, _ = write_images(tmp_path, 8, side=64)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda folder: Usage(10, 10, 20_000))
    monkeypatch.setattr(shard, "decode", lambda *arguments: pytest.fail("read"))
    message = refused(shard.pack_shard, index, tmp_path, SETTINGS, tmp_path / "packed")
    assert message.startswith(
        f"no space left on {tmp_path / 'packed'}: needs about 0.03 MB; 0.02 MB are free"
    )
    assert not list((tmp_path / "packed").iterdir())


def test_a_shard_that_meets_the_end_of_the_disk_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shard, "BATCH", 4)
    index, pixels = write_images(tmp_path, 24, side=64)
    out = tmp_path / "packed"
    with files_limited_to(40_000):  # nine images and a bit
        message = refused(shard.pack_shard, index, tmp_path, SETTINGS, out)
    assert message.startswith(f"no space left on {out}: needs about 0.10 MB; File too large")
    assert [path.name for path in out.iterdir()] == ["state"]
    with caplog.at_level("INFO"):
        shard.pack_shard(index, tmp_path, SETTINGS, out)
    assert "resuming after 8 images" in caplog.messages
    np.testing.assert_array_equal(np.load(out / "images.npy"), pixels)


def test_a_join_that_meets_the_end_of_the_disk_leaves_no_store_and_keeps_the_shards(tmp_path: Path) -> None:
    index, pixels = write_images(tmp_path, 24, side=64)
    out = tmp_path / "store"
    pack(index.iloc[:6], tmp_path, SETTINGS, out)  # an older store, which is not to be taken for the new one
    shards = [tmp_path / "shards" / number for number in "12"]
    for number, folder in enumerate(shards, start=1):
        shard.pack_shard(index, tmp_path, SETTINGS, folder, number, 2)
    with files_limited_to(60_000):
        assert "no space left" in refused(store.join, index, shards, SETTINGS, out)
    assert not (out / "manifest.json").exists()
    assert not [path for path in out.iterdir() if path.name.startswith(".")]
    store.join(index, shards, SETTINGS, out)
    np.testing.assert_array_equal(np.load(out / "images.npy"), pixels)
    assert (out / "manifest.json").exists()


def test_a_disk_that_is_really_full(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, _ = write_images(tmp_path, 300, side=64)
    out = small_disk / "store"
    # The first of two shards fits, the second does not.
    assert "needs about 0.61 MB" in refused(pack, index, tmp_path, SETTINGS, out)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda folder: Usage(10, 10, 10**12))  # others are faster
    assert "No space left on device" in refused(pack, index, tmp_path, SETTINGS, out)
    assert not (out / "manifest.json").exists() and not (out / "images.npy").exists()


def test_a_disk_that_may_only_be_read(small_disk: Path, tmp_path: Path) -> None:
    index, _ = write_images(tmp_path, 4, side=64)
    pack(index, tmp_path, SETTINGS, small_disk / "store")
    before = files_in(small_disk / "store")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for out in (small_disk / "store", small_disk / "other"):
        message = refused(pack, index, tmp_path, SETTINGS, out)
        assert message.startswith(str(out)) and "cannot be written to (Read-only file system)" in message
    assert files_in(small_disk / "store") == before


def test_other_errors_of_the_machine_are_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="broken"), disk.room_for(1, tmp_path):
        raise OSError(errno.EIO, "broken")


def test_what_is_atomic_leaves_nothing_on_a_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("old")
    with files_limited_to(100), pytest.raises(OSError):
        write_text(path, "new" * 100)
    assert files_in(tmp_path) == {"text": b"old"}
