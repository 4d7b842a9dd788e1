"""Packing loses no image silently, keeps the order, survives kills and full disks, and is reproducible."""

import errno
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up_images import files_in, join, pack, pack_shard, write_images
from PIL import Image

from moco_transfer import files as disk
from moco_transfer.config.datasets import Store as Settings
from moco_transfer.data.decode import Decoded
from moco_transfer.data.packing import LOCK
from moco_transfer.errors import UserError

TOLERANT = Settings(size=16, fit="stretch", max_quarantined=0.5)
LARGER = Settings(size=64, fit="stretch", shards=2)
Usage = namedtuple("Usage", "total used free")


def with_(**changes: object) -> Settings:
    return TOLERANT.model_copy(update=changes)


def test_row_i_of_the_images_is_row_i_of_the_index(tmp_path):
    index, pixels = write_images(tmp_path, 30)
    broken = [0, 7, 8, 29]
    for row in broken[:2]:
        (tmp_path / index["path"][row]).write_bytes(b"no image")
    for row in broken[2:]:
        (tmp_path / index["path"][row]).unlink()
    pack(index, tmp_path, TOLERANT, tmp_path / "store", workers=3)
    whole = index.drop(broken).reset_index(drop=True)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "store" / "index.parquet"), whole)
    np.testing.assert_array_equal(
        np.load(tmp_path / "store" / "images.npy"), np.delete(pixels, broken, axis=0)
    )
    quarantine = pd.read_csv(tmp_path / "store" / "quarantine.csv")
    assert quarantine.columns.tolist() == ["image_id", "path", "reason"]
    assert quarantine["image_id"].tolist() == index["image_id"][broken].tolist()
    assert quarantine["reason"].tolist() == ["neither DICOM, JPEG nor PNG"] * 2 + ["file not found"] * 2


def test_sizes_are_the_original_ones_and_aligned_with_the_images(tmp_path):
    index, _ = write_images(tmp_path, 6)
    for row, size in enumerate([(30, 20), (200, 16), (17, 17), (1, 90), (640, 480), (16, 300)]):
        Image.new("L", size, row).save(tmp_path / index["path"][row])
    (tmp_path / index["path"][2]).unlink()
    pack(index, tmp_path, with_(shards=2), tmp_path / "store")
    sizes = pd.read_parquet(tmp_path / "store" / "sizes.parquet")
    assert sizes.dtypes.astype(str).to_dict() == {"height": "int32", "width": "int32"}
    assert sizes.to_numpy().tolist() == [[20, 30], [16, 200], [90, 1], [480, 640], [300, 16]]
    assert np.load(tmp_path / "store" / "images.npy")[:, 0, 0].tolist() == [0, 1, 3, 4, 5]


@pytest.mark.parametrize("coloured", [False, True])
def test_same_bytes_whatever_the_number_of_workers_and_shards(tmp_path, coloured):
    index, _ = write_images(tmp_path, 12, coloured=coloured)
    (tmp_path / index["path"][7]).write_bytes(b"")
    settings = with_(colour=coloured)
    for workers, shards in ((1, 1), (4, 1), (1, 2), (3, 5), (1, 13)):  # 13: one shard is empty
        out = tmp_path / f"store-{workers}-{shards}"
        pack(index, tmp_path, settings.model_copy(update={"shards": shards}), out, workers=workers)
    one = files_in(tmp_path / "store-1-1")
    assert sorted(one) == ["images.npy", "index.parquet", "manifest.json", "quarantine.csv", "sizes.parquet"]
    assert np.load(tmp_path / "store-1-1" / "images.npy").shape == (11, 16, 16, *([3] if coloured else []))
    for other in ("4-1", "1-2", "3-5", "1-13"):
        assert files_in(tmp_path / f"store-{other}") == one, other


def test_the_manifest_has_counts_and_hashes_but_no_identifier(tmp_path):
    index, _ = write_images(tmp_path, 20)
    for row in (3, 4):
        (tmp_path / index["path"][row]).unlink()
    (tmp_path / index["path"][5]).write_bytes(b"no image")
    out = tmp_path / "store"
    pack(index, tmp_path, with_(shards=3), out)
    text = (out / "manifest.json").read_text()
    manifest = json.loads(text)
    assert (manifest["indexed"], manifest["stored"], manifest["quarantined"]) == (20, 17, 3)
    assert manifest["reasons"] == {"file not found": 2, "neither DICOM, JPEG nor PNG": 1}
    assert manifest["settings"] == TOLERANT.model_dump(exclude={"shards"})
    assert set(manifest["versions"]) >= {"numpy", "pillow", "pydicom"}
    for name in ("images.npy", "index.parquet", "sizes.parquet", "quarantine.csv"):
        assert manifest["sha256"][name] == hashlib.sha256((out / name).read_bytes()).hexdigest()
    assert "image3" not in text and str(tmp_path) not in text


def test_the_source_fingerprint_depends_on_index_and_sizes_only(tmp_path):
    release = tmp_path / "release"
    release.mkdir()
    index, _ = write_images(release, 5)

    def fingerprint(index: pd.DataFrame, root: Path) -> str:
        pack(index, root, TOLERANT, tmp_path / "store")
        return json.loads((tmp_path / "store" / "manifest.json").read_text())["source_sha256"]

    first = fingerprint(index, release)
    copy = shutil.copytree(release, tmp_path / "copy", copy_function=shutil.copyfile)
    os.utime(copy / "image1.png", (1, 1))
    assert fingerprint(index, copy) == first
    with (copy / "image1.png").open("ab") as handle:
        handle.write(b"x")
    assert fingerprint(index, copy) != first
    assert fingerprint(index.assign(finding=1 - index["finding"]), release) != first


def test_exactly_the_allowed_share_passes_and_one_more_stops_the_join(tmp_path):
    index, _ = write_images(tmp_path, 20)
    for row in (3, 14):
        (tmp_path / index["path"][row]).unlink()
    settings, out = with_(max_quarantined=0.1, shards=2), tmp_path / "store"
    pack(index, tmp_path, settings, out)
    assert len(np.load(out / "images.npy")) == 18
    (tmp_path / index["path"][15]).unlink()  # two in the second shard, which alone may have them
    with pytest.raises(UserError) as caught:
        pack(index, tmp_path, settings, out)
    message = str(caught.value)
    assert "3 of the 20 images read so far (of 20)" in message and "file not found (3)" in message
    assert str(out / "unreadable.csv") in message and f"remove {out / 'shards'} and run again" in message
    assert "\n" not in message and "image3" not in message
    assert pd.read_csv(out / "unreadable.csv")["image_id"].tolist() == ["image3", "image14", "image15"]
    pack(index, tmp_path, TOLERANT, out)
    assert not (out / "unreadable.csv").exists()
    assert len(np.load(out / "images.npy")) == 17


def test_a_dataset_without_a_readable_image_is_refused(tmp_path):
    index, _ = write_images(tmp_path, 5)
    with pytest.raises(UserError, match="none of the 5 images"):
        pack(index, tmp_path / "elsewhere", with_(max_quarantined=1), tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize("path", ["../image0.png", "/etc/passwd", "a/../../b.png"])
def test_paths_may_not_leave_the_root(tmp_path, path):
    index, _ = write_images(tmp_path, 3)
    index.loc[1, "path"] = path
    with pytest.raises(UserError, match=r"leaves the dataset's root.*row 2 of the index"):
        pack(index, tmp_path, TOLERANT, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_shards_of_another_index_are_refused_and_leave_no_store(tmp_path):
    index, _ = write_images(tmp_path, 9)
    for number in (1, 2):
        pack_shard(index, tmp_path, TOLERANT, tmp_path / str(number), number, 2)
    with pytest.raises(UserError, match="contain 9 images and list 9 files, but the index lists 8; remove"):
        join(index.iloc[:8], [tmp_path / "1", tmp_path / "2"], TOLERANT, tmp_path / "store")
    assert not files_in(tmp_path / "store")


def test_colour_is_kept_on_request_and_becomes_luma_otherwise(tmp_path):
    index, pixels = write_images(tmp_path, 4, coloured=True)
    Image.fromarray(pixels[0, ..., 0]).save(tmp_path / index["path"][0])
    pack(index, tmp_path, with_(colour=True), tmp_path / "colour")
    packed = np.load(tmp_path / "colour" / "images.npy")
    assert packed.shape == (4, 16, 16, 3)
    np.testing.assert_array_equal(packed[1:], pixels[1:])
    pack(index, tmp_path, TOLERANT, tmp_path / "grey")
    grey = np.load(tmp_path / "grey" / "images.npy")
    assert grey.shape == (4, 16, 16)
    luma = pixels[1:] @ [0.299, 0.587, 0.114]  # ITU-R 601
    np.testing.assert_allclose(grey[1:], luma, atol=1)


def test_too_many_unreadable_images_stop_a_shard_early_and_leave_a_list(tmp_path):
    index, _ = write_images(tmp_path, 40)
    for row in (23, 24, 25, 38):
        (tmp_path / index["path"][row]).unlink()
    out, strict = tmp_path / "packed", with_(max_quarantined=0.05)
    with pytest.raises(UserError) as caught:  # shard 2 of 2 alone: 3 of 40 are more than 5%
        pack_shard(index, tmp_path, strict, out, 2, 2)
    assert "3 of the 6 images read so far (of 40)" in str(caught.value)
    assert "image2" not in str(caught.value).replace(str(out), "")
    assert pd.read_csv(out / "unreadable.csv")["image_id"].tolist() == ["image23", "image24", "image25"]
    assert sorted(files_in(out)) == ["unreadable.csv"]
    pack_shard(index, tmp_path, TOLERANT, out, 2, 2)
    assert sorted(files_in(out)) == ["files.parquet", "images.npy"]
    assert len(np.load(out / "images.npy")) == 16


def test_a_killed_shard_is_packed_again_to_the_same_bytes(tmp_path):
    index, _ = write_images(tmp_path, 1000)
    index.to_parquet(tmp_path / "index.parquet")
    settings = {"store": TOLERANT.model_dump(), "shard": 1, "shards": 1}
    files = {"index": tmp_path / "index.parquet", "root": tmp_path, "packed": tmp_path / "packed"}
    command = [sys.executable, "-m", "moco_transfer", "pack", "--settings", json.dumps(settings)]
    for name, path in files.items():
        command += [f"--{name}", str(path)]
    command += ["--max-quarantined", "0.5", "--workers", "1"]
    run = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while run.poll() is None and not list((tmp_path / "packed").glob(".images.*.npy")):
        time.sleep(0.002)
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    assert not (tmp_path / "packed" / "images.npy").exists()
    subprocess.run(command, stderr=subprocess.DEVNULL, check=True)
    pack_shard(index, tmp_path, TOLERANT, tmp_path / "undisturbed", workers=2)
    assert files_in(tmp_path / "packed") == files_in(tmp_path / "undisturbed")
    assert sorted(files_in(tmp_path / "packed")) == ["files.parquet", "images.npy"]


@pytest.mark.parametrize("stage", ["pack", "join"])
def test_a_second_process_waits_until_the_first_has_ended(tmp_path, caplog, stage):
    index, pixels = write_images(tmp_path, 4)
    out = tmp_path / "packed"
    pack_shard(index, tmp_path, TOLERANT, out)
    folder, call = {
        "pack": (out, lambda: pack_shard(index, tmp_path, TOLERANT, out)),
        "join": (tmp_path / "store", lambda: join(index, [out], TOLERANT, tmp_path / "store")),
    }[stage]
    folder.mkdir(exist_ok=True)
    writing = folder / ".images.1.npy"
    with caplog.at_level("INFO"), ThreadPoolExecutor(1) as threads:
        with disk.locked(folder / LOCK, "working"):
            writing.touch()
            second = threads.submit(call)
            while not any("waiting: process" in message for message in caplog.messages):
                assert not second.done()
                time.sleep(0.002)
            assert writing.exists()
        second.result()
    np.testing.assert_array_equal(np.load(folder / "images.npy"), pixels)


def test_a_join_of_shards_that_another_has_joined_is_one_line(tmp_path):
    index, _ = write_images(tmp_path, 4)
    pack_shard(index, tmp_path, TOLERANT, tmp_path / "packed")
    (tmp_path / "packed" / "images.npy").unlink()
    message = refused(join, index, [tmp_path / "packed"], TOLERANT, tmp_path / "store")
    assert "another run has joined them; run again" in message


def test_repairs_are_counted_in_the_manifest(tmp_path, monkeypatch):
    index, _ = write_images(tmp_path, 4)
    repairs = iter([(), ("one", "two"), (), ("two",)])
    monkeypatch.setattr(
        "moco_transfer.data.packing.decode",
        lambda *_: Decoded(np.zeros((16, 16), np.uint8), 16, 16, next(repairs)),
    )
    pack_shard(index, tmp_path, TOLERANT, tmp_path / "packed")
    files = pd.read_parquet(tmp_path / "packed" / "files.parquet")
    assert files["repairs"].tolist() == ["", "one; two", "", "two"]
    join(index, [tmp_path / "packed"], TOLERANT, tmp_path / "store")
    assert json.loads((tmp_path / "store" / "manifest.json").read_text())["repairs"] == {"one": 1, "two": 2}


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """Limit the files of this process to ``size`` bytes: writers get an error, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def refused(call: object, *arguments: object) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_too_little_space_is_reported_before_anything_is_read(tmp_path, monkeypatch):
    index, _ = write_images(tmp_path, 8, side=64)
    out = tmp_path / "packed"
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda folder: Usage(10, 10, 20_000))
    message = refused(pack_shard, index, tmp_path / "nowhere", LARGER, out)
    assert message.startswith(f"no space left on {out}: needs about 0.03 MB, and 0.02 MB are free")
    assert not files_in(out)


def test_a_shard_that_fills_the_disk_leaves_nothing(tmp_path):
    index, pixels = write_images(tmp_path, 24, side=64)
    out = tmp_path / "packed"
    with files_limited_to(40_000):  # nine images and a bit
        message = refused(pack_shard, index, tmp_path, LARGER, out)
    assert message.startswith(f"no space left on {out}: File too large")
    assert not files_in(out)
    pack_shard(index, tmp_path, LARGER, out)
    np.testing.assert_array_equal(np.load(out / "images.npy"), pixels)


def test_a_join_that_fills_the_disk_leaves_no_store_and_keeps_the_shards(tmp_path):
    index, pixels = write_images(tmp_path, 24, side=64)
    out = tmp_path / "store"
    pack(index.iloc[:6], tmp_path, LARGER, out)  # an older store, which is not to be taken for the new one
    shards = [tmp_path / "shards" / number for number in "12"]
    for number, folder in enumerate(shards, start=1):
        pack_shard(index, tmp_path, LARGER, folder, number, 2)
    with files_limited_to(60_000):
        assert "no space left" in refused(join, index, shards, LARGER, out)
    assert not (out / "manifest.json").exists()
    assert not [name for name in files_in(out) if name.startswith(".")]
    join(index, shards, LARGER, out)
    np.testing.assert_array_equal(np.load(out / "images.npy"), pixels)
    assert (out / "manifest.json").exists()


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "no space left on"),
        (errno.EDQUOT, "no space left on"),
        (errno.EROFS, "cannot be written to"),
        (errno.EACCES, "cannot be written to"),
    ],
)
def test_full_and_read_only_disks_are_reported(tmp_path, number, message):
    with pytest.raises(UserError, match=message), disk.room_for(1, tmp_path):
        raise OSError(number, os.strerror(number))


def test_other_errors_are_not_reported_as_a_full_disk(tmp_path):
    with pytest.raises(OSError, match="broken"), disk.room_for(1, tmp_path):
        raise OSError(errno.EIO, "broken")


def test_an_atomic_write_leaves_nothing_on_a_full_disk(tmp_path):
    path = tmp_path / "text"
    path.write_text("old")
    with files_limited_to(100), pytest.raises(UserError, match=f"no space left on {tmp_path}"):
        disk.write_text(path, "new" * 100)
    assert files_in(tmp_path) == {"text": b"old"}


def test_files_that_another_run_deletes_are_one_line(tmp_path, monkeypatch):
    index, _ = write_images(tmp_path, 3)

    def delete(*_: object) -> None:
        for path in (tmp_path / "packed").glob(".images*"):
            path.unlink()

    monkeypatch.setattr("moco_transfer.data.packing.log.info", delete)
    with pytest.raises(UserError, match="another run"):
        pack_shard(index, tmp_path, Settings(size=16, fit="stretch"), tmp_path / "packed")
