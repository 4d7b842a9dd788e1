"""Packing loses nothing in silence, keeps the order, and leaves either a whole store or none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from moco_transfer.config import Store as Settings
from moco_transfer.data import store
from moco_transfer.data.index import build
from moco_transfer.errors import UserError

TOLERANT = Settings(size=16, fit="stretch", max_quarantined=0.5)


def images_of(folder: Path, count: int, coloured: bool = False) -> tuple[pd.DataFrame, np.ndarray]:
    """Write ``count`` small PNGs that need no resizing; return their index and their pixels."""
    shape = (count, 16, 16, 3) if coloured else (count, 16, 16)
    pixels = np.random.default_rng(count).integers(0, 256, shape, dtype=np.uint8)
    names = [f"image{number}" for number in range(count)]
    for name, image in zip(names, pixels, strict=True):
        Image.fromarray(image).save(folder / f"{name}.png")
    columns = {
        "image_id": names,
        "patient_id": names,
        "study_id": names,
        "path": [f"{name}.png" for name in names],
    }
    labels = pd.DataFrame({"finding": np.arange(count) % 2})
    return build(pd.DataFrame(columns), labels, "test"), pixels


def test_row_i_of_the_images_is_row_i_of_the_index(tmp_path: Path) -> None:
    index, pixels = images_of(tmp_path, 30)
    broken = [0, 7, 8, 29]
    for row in broken[:2]:
        (tmp_path / index["path"][row]).write_bytes(b"no image")
    for row in broken[2:]:
        (tmp_path / index["path"][row]).unlink()
    store.pack(index, tmp_path, TOLERANT, tmp_path / "store", workers=3)
    images = np.load(tmp_path / "store" / "images.npy")
    whole = index.drop(broken).reset_index(drop=True)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "store" / "index.parquet"), whole)
    np.testing.assert_array_equal(images, np.delete(pixels, broken, axis=0))
    quarantine = pd.read_csv(tmp_path / "store" / "quarantine.csv")
    assert quarantine.columns.tolist() == ["image_id", "path", "reason"]
    assert quarantine["image_id"].tolist() == index["image_id"][broken].tolist()
    assert quarantine["reason"].tolist() == ["neither DICOM, JPEG nor PNG"] * 2 + ["file not found"] * 2
    manifest = json.loads((tmp_path / "store" / "manifest.json").read_text())
    assert (manifest["indexed"], manifest["stored"], manifest["quarantined"]) == (30, 26, 4)
    assert manifest["settings"]["size"] == 16


def test_same_bytes_whatever_the_number_of_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BATCH", 7)  # several batches, the last one short
    index, _ = images_of(tmp_path, 30)
    (tmp_path / index["path"][10]).write_bytes(b"")
    for workers in (1, 4):
        store.pack(index, tmp_path, TOLERANT, tmp_path / f"store{workers}", workers=workers)
    one, four = (
        {path.name: path.read_bytes() for path in (tmp_path / f"store{n}").iterdir()} for n in (1, 4)
    )
    assert one == four
    assert sorted(one) == ["images.npy", "index.parquet", "manifest.json", "quarantine.csv"]


def test_too_many_unreadable_images_stop_packing_and_leave_a_list(tmp_path: Path) -> None:
    index, _ = images_of(tmp_path, 20)
    for row in (3, 4, 5):
        (tmp_path / index["path"][row]).unlink()
    strict = TOLERANT.model_copy(update={"max_quarantined": 0.1})
    out = tmp_path / "store"
    with pytest.raises(UserError) as caught:
        store.pack(index, tmp_path, strict, out)
    message = str(caught.value)
    assert "3 of the first 6 images (of 20)" in message
    assert "file not found (3)" in message
    assert str(out / "unreadable.csv") in message
    assert "image3" not in message
    assert pd.read_csv(out / "unreadable.csv")["image_id"].tolist() == ["image3", "image4", "image5"]
    assert [path.name for path in out.iterdir()] == ["unreadable.csv"]
    store.pack(index, tmp_path, TOLERANT, out)
    assert not (out / "unreadable.csv").exists()
    assert len(np.load(out / "images.npy")) == 17


def test_exactly_the_allowed_share_passes(tmp_path: Path) -> None:
    index, _ = images_of(tmp_path, 20)
    for row in (3, 4):
        (tmp_path / index["path"][row]).unlink()
    store.pack(index, tmp_path, TOLERANT.model_copy(update={"max_quarantined": 0.1}), tmp_path / "store")
    assert len(np.load(tmp_path / "store" / "images.npy")) == 18


def test_nothing_readable_is_an_error_even_if_all_may_be_quarantined(tmp_path: Path) -> None:
    index, _ = images_of(tmp_path, 5)
    with pytest.raises(UserError, match="not one of 5 images"):
        store.pack(
            index,
            tmp_path / "elsewhere",
            TOLERANT.model_copy(update={"max_quarantined": 1}),
            tmp_path / "out",
        )
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("path", ["../image0.png", "/etc/passwd", "a/../../b.png"])
def test_paths_may_not_leave_the_root(tmp_path: Path, path: str) -> None:
    index, _ = images_of(tmp_path, 3)
    index.loc[1, "path"] = path
    with pytest.raises(UserError, match=r"leaves the dataset's root.*row 2 of the index"):
        store.pack(index, tmp_path, TOLERANT, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_colour_is_kept_where_it_is_asked_for_and_luma_otherwise(tmp_path: Path) -> None:
    index, pixels = images_of(tmp_path, 4, coloured=True)
    Image.fromarray(pixels[0, ..., 0]).save(tmp_path / index["path"][0])
    store.pack(index, tmp_path, TOLERANT.model_copy(update={"colour": True}), tmp_path / "colour")
    packed = np.load(tmp_path / "colour" / "images.npy")
    assert packed.shape == (4, 16, 16, 3)
    np.testing.assert_array_equal(packed[1:], pixels[1:])
    store.pack(index, tmp_path, TOLERANT, tmp_path / "grey")
    grey = np.load(tmp_path / "grey" / "images.npy")
    assert grey.shape == (4, 16, 16)
    luma = pixels[1:] @ [0.299, 0.587, 0.114]  # ITU-R 601
    np.testing.assert_allclose(grey[1:], luma, atol=1)
