"""A killed shard goes on where it stopped, keeps only what still holds, and ends in the bytes of an undisturbed one."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up_images import files_in, write_images

from moco_transfer.config import Store as Settings
from moco_transfer.data import packing as shard
from moco_transfer.data.packing import pack_shard
from moco_transfer.errors import UserError

SETTINGS = Settings(size=16, fit="stretch", max_quarantined=0.5)


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """A shard in tmp_path/packed that stopped after two batches of five images, in the midst of the third."""
    monkeypatch.setattr(shard, "BATCH", 5)
    index, _ = write_images(tmp_path, 20)
    (tmp_path / index["path"][3]).write_bytes(b"no image")
    (tmp_path / index["path"][7]).unlink()
    add = shard.PackingState.add

    def add_thirteen(state: shard.PackingState, reading: shard.Reading) -> None:
        if state.rows == 13:
            state._files.write('16,16,"half of a li')
            raise KeyboardInterrupt
        add(state, reading)

    with monkeypatch.context() as patch:
        patch.setattr(shard.PackingState, "add", add_thirteen)
        with pytest.raises(KeyboardInterrupt):
            pack_shard(index, tmp_path, SETTINGS, tmp_path / "packed")
    return index


def packed_again(
    index: pd.DataFrame, root: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Pack on; assert the bytes of an undisturbed run, and return the paths that were read."""
    read, decode = [], shard.decode

    def counted(path: Path, *rest: object) -> object:
        read.append(path.name)
        return decode(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(shard, "decode", counted)
        pack_shard(index, root, settings, root / "packed")
    pack_shard(index, root, settings, root / "undisturbed")
    assert files_in(root / "packed") == files_in(root / "undisturbed")
    assert sorted(files_in(root / "packed")) == ["files.parquet", "images.npy"]
    return read


def names(rows: range | list[int]) -> list[str]:
    return [f"image{row}.png" for row in rows]


def test_goes_on_behind_the_last_whole_batch(
    stopped: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        read = packed_again(stopped, tmp_path, SETTINGS, monkeypatch)
    assert "resuming after 10 images" in caplog.messages
    assert read == names([3, 7]) + names(range(10, 20))  # what could not be read is tried again


def test_another_allowance_keeps_what_is_packed(
    stopped: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = SETTINGS.model_copy(update={"max_quarantined": 0.9})
    assert "image0.png" not in packed_again(stopped, tmp_path, settings, monkeypatch)


@pytest.mark.parametrize("row", [2, 7])
def test_a_file_that_changed_or_came_is_read_again_and_all_behind_it(
    stopped: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: int
) -> None:
    (tmp_path / f"image{row}.png").write_bytes((tmp_path / "image12.png").read_bytes())
    read = packed_again(stopped, tmp_path, SETTINGS, monkeypatch)
    assert read == [name for name in names([3]) if row > 3] + names(range(row, 20))
    images = np.load(tmp_path / "packed" / "images.npy")
    stored = [number for number in range(20) if number != 3 and (number != 7 or row == 7)]
    np.testing.assert_array_equal(images[stored.index(row)], images[stored.index(12)])


def test_an_image_that_can_be_read_by_now_is_no_longer_missed(
    stopped: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a permission was given: neither the file's size nor its time has changed."""
    decode = shard.decode
    monkeypatch.setattr(
        shard, "decode", lambda path, *rest: decode(tmp_path / path.name.replace("e3.", "e4."), *rest)
    )
    assert packed_again(stopped, tmp_path, SETTINGS, monkeypatch) == names([3]) + names(range(3, 20))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"fit": "pad"}, "earlier attempt: store.fit"),
        ({"size": 20}, "earlier attempt: store.size"),
        ({"colour": True, "max_pixels": 400}, "earlier attempt: store.colour, store.max_pixels"),
    ],
)
def test_other_settings_start_anew_and_say_which(
    stopped: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    change: dict[str, object],
    told: str,
) -> None:
    with caplog.at_level(logging.INFO):
        read = packed_again(stopped, tmp_path, SETTINGS.model_copy(update=change), monkeypatch)
    assert any(message.endswith(told) for message in caplog.messages)
    assert read == names(range(20))


def test_other_rows_or_packages_start_anew(
    stopped: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    progress = tmp_path / "packed" / "state" / "progress.json"
    left = json.loads(progress.read_text())
    left["fingerprint"]["pillow"] = "0.1"
    progress.write_text(json.dumps(left))
    with caplog.at_level(logging.INFO):
        read = packed_again(stopped.iloc[:15], tmp_path, SETTINGS, monkeypatch)
    assert "packing starts anew: changed since an earlier attempt: pillow, the index" in caplog.messages
    assert read == names(range(15))


@pytest.mark.parametrize("name", ["progress.json", "files.csv", "images.npy"])
@pytest.mark.parametrize("harm", [b"", b"\x00\xff junk", None])
def test_a_damaged_state_is_never_trusted(
    stopped: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, harm: bytes | None
) -> None:
    path = tmp_path / "packed" / "state" / name
    if harm is None:
        path.unlink()
    else:
        path.write_bytes(harm)
    assert packed_again(stopped, tmp_path, SETTINGS, monkeypatch) == names(range(20))


def test_too_many_unreadable_images_stop_early_leave_a_list_and_lose_no_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard, "BATCH", 4)
    index, _ = write_images(tmp_path, 40)
    for row in (23, 24, 25):
        (tmp_path / index["path"][row]).unlink()
    out, strict = tmp_path / "packed", SETTINGS.model_copy(update={"max_quarantined": 0.05})
    for _ in range(2):
        with pytest.raises(UserError) as caught:  # shard 2 of 2 alone: 3 of 40 are more than 5%
            pack_shard(index, tmp_path, strict, out, 2, 2)
        assert "3 of the 8 images read so far (of 40)" in str(caught.value)
        assert "image2" not in str(caught.value).replace(str(out), "")
    assert pd.read_csv(out / "unreadable.csv")["image_id"].tolist() == ["image23", "image24", "image25"]
    assert not (out / "images.npy").exists()
    pack_shard(index, tmp_path, SETTINGS, out, 2, 2)
    assert sorted(files_in(out)) == ["files.parquet", "images.npy"]
    assert len(np.load(out / "images.npy")) == 17


def test_sigkill_in_the_midst_costs_a_batch_and_changes_no_byte(tmp_path: Path) -> None:
    index, _ = write_images(tmp_path, 1000)
    index.to_parquet(tmp_path / "index.parquet")
    settings = {"store": SETTINGS.model_dump(), "shard": 1, "shards": 1}
    files = {"index": tmp_path / "index.parquet", "root": tmp_path, "packed": tmp_path / "packed"}
    command = [sys.executable, "-m", "moco_transfer", "pack-shard", "--settings", json.dumps(settings)]
    for name, path in files.items():
        command += [f"--{name}", str(path)]
    command += ["--max-quarantined", "0.5", "--workers", "1"]
    progress = tmp_path / "packed" / "state" / "progress.json"
    run = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while run.poll() is None and (not progress.exists() or json.loads(progress.read_text())["rows"] == 0):
        time.sleep(0.002)
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    rows = json.loads(progress.read_text())["rows"]
    assert 0 < rows < 1000
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"resuming after {rows} images" in again.stderr
    pack_shard(index, tmp_path, SETTINGS, tmp_path / "undisturbed", workers=2)
    assert files_in(tmp_path / "packed") == files_in(tmp_path / "undisturbed")
