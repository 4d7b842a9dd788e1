"""Packing loses nothing in silence, keeps the order, and gives the same bytes however it is divided."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up_images import files_in, write_images
from PIL import Image
from whole_store import pack

from moco_transfer.config import Store as Settings
from moco_transfer.data import packing as shard
from moco_transfer.data import store
from moco_transfer.errors import UserError

TOLERANT = Settings(size=16, fit="stretch", max_quarantined=0.5)


def with_(**changes: object) -> Settings:
    return TOLERANT.model_copy(update=changes)


def test_row_i_of_the_images_is_row_i_of_the_index(tmp_path: Path) -> None:
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


def test_sizes_are_those_of_the_files_and_aligned_with_the_images(tmp_path: Path) -> None:
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
def test_same_bytes_whatever_the_number_of_workers_and_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, coloured: bool
) -> None:
    monkeypatch.setattr(shard, "BATCH", 5)  # several batches, the last one short
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


def test_manifest_counts_and_hashes_and_holds_no_identifier(tmp_path: Path) -> None:
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


def test_source_fingerprint_is_of_sizes_and_index_not_of_times_and_places(tmp_path: Path) -> None:
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


def test_exactly_the_allowed_share_passes_and_one_more_stops_the_join(tmp_path: Path) -> None:
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


def test_nothing_readable_is_an_error_even_if_all_may_be_quarantined(tmp_path: Path) -> None:
    index, _ = write_images(tmp_path, 5)
    with pytest.raises(UserError, match="not one of 5 images"):
        pack(index, tmp_path / "elsewhere", with_(max_quarantined=1), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["shards"]


@pytest.mark.parametrize("path", ["../image0.png", "/etc/passwd", "a/../../b.png"])
def test_paths_may_not_leave_the_root(tmp_path: Path, path: str) -> None:
    index, _ = write_images(tmp_path, 3)
    index.loc[1, "path"] = path
    with pytest.raises(UserError, match=r"leaves the dataset's root.*row 2 of the index"):
        pack(index, tmp_path, TOLERANT, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_shards_of_another_index_are_refused_and_leave_no_store(tmp_path: Path) -> None:
    index, _ = write_images(tmp_path, 9)
    for number in (1, 2):
        shard.pack_shard(index, tmp_path, TOLERANT, tmp_path / str(number), number, 2)
    with pytest.raises(UserError, match="hold 9 images and list 9 files, the index 8; remove that folder"):
        store.join(index.iloc[:8], [tmp_path / "1", tmp_path / "2"], TOLERANT, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_colour_is_kept_where_it_is_asked_for_and_luma_otherwise(tmp_path: Path) -> None:
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
