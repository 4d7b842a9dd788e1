"""What holds for every adapter: one index table, the filter on views, and errors that name no patient."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up_releases import WRITE, touch, write_chest, write_nih, write_spine

from moco_transfer.data.adapters import image_folder, read_release
from moco_transfer.data.index import build
from moco_transfer.data.labels import COLUMNS, label_columns
from moco_transfer.data.releases import describe_missing, find_tables
from moco_transfer.errors import UserError
from moco_transfer.files import write_parquet


@pytest.mark.parametrize("adapter", WRITE)
def test_an_index_is_equal_to_itself_after_parquet(adapter: str, tmp_path: Path) -> None:
    WRITE[adapter](tmp_path)
    index = read_release(adapter, tmp_path)
    assert tuple(index.columns[:6]) == COLUMNS
    assert (index[label_columns(index.columns)].dtypes == np.float32).all()
    write_parquet(index, tmp_path / "index.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "index.parquet"), index)
    first = (tmp_path / "index.parquet").read_bytes()
    write_parquet(read_release(adapter, tmp_path), tmp_path / "index.parquet")
    assert (tmp_path / "index.parquet").read_bytes() == first


def test_image_folder_is_one_hot(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("dog/b.JPEG", "dog/a.png", "cat/c.jpg", "cat/notes.txt", ".cache/x.png"):
        touch(tmp_path / name)
    index = read_release("image_folder", tmp_path)
    assert index["image_id"].tolist() == ["cat/c.jpg", "dog/a.png", "dog/b.JPEG"]
    for column in ("patient_id", "study_id", "path"):
        assert index[column].equals(index["image_id"])
    np.testing.assert_array_equal(index[["cat", "dog"]], [[1, 0], [0, 1], [0, 1]])
    assert "entries that are no images, left out: 1" in caplog.text


def test_a_class_may_not_take_the_name_of_a_column(tmp_path: Path) -> None:
    touch(tmp_path / "path" / "a.png")
    with pytest.raises(UserError, match="column 'path' occurs twice"):
        read_release("image_folder", tmp_path)


def test_wrong_roots_say_what_was_looked_for_and_what_is_there(tmp_path: Path) -> None:
    write_spine(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        read_release("vindr_spinexr", tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"folder 'train_images' is missing; found test\.csv, train\.csv"):
        read_release("vindr_spinexr", tmp_path / "annotations")
    with pytest.raises(UserError, match="no image in this class"):
        read_release("image_folder", tmp_path)
    with pytest.raises(UserError, match="a folder for each class was expected, found test"):
        image_folder.read(tmp_path / "annotations")


def test_only_the_views_asked_for_are_kept_and_the_rest_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_chest(tmp_path)
    # an image of a view that is left out need not be there
    (tmp_path / "files/p10/p10000032/s50000001/d2.jpg").unlink()
    with caplog.at_level(logging.INFO):
        index = read_release("mimic_cxr_jpg", tmp_path, views=["AP", "PA"])
    assert index["image_id"].tolist() == ["d1", "d4"] and index.index.tolist() == [0, 1]
    assert "views AP, PA: 2 of 4 images kept, 2 left out (1 of them name no view)" in caplog.text


def test_views_that_never_occur_and_releases_without_views_are_errors(tmp_path: Path) -> None:
    for name, write in (("chest", write_chest), ("nih", write_nih), ("spine", write_spine)):
        (tmp_path / name).mkdir()
        write(tmp_path / name)
    with pytest.raises(UserError, match=r"view 'LL' never occurs; found PA \(1\), LATERAL \(1\), AP \(1\)"):
        read_release("mimic_cxr_jpg", tmp_path / "chest", views=["PA", "LL"])
    with pytest.raises(UserError, match=r"views is an empty list; found"):
        read_release("nih_chestxray14", tmp_path / "nih", views=[])
    with pytest.raises(UserError, match="it names no views"):
        read_release("vindr_spinexr", tmp_path / "spine", views=["AP"])


def test_messages_name_no_identifier() -> None:
    columns = pd.DataFrame(
        {name: ["10000032", "10000032"] for name in ("image_id", "patient_id", "study_id", "path")}
    )
    with pytest.raises(UserError) as caught:
        build(columns, pd.DataFrame({"finding": [0, 1]}), "test")
    assert "row 2 of the index" in str(caught.value)
    assert "10000032" not in str(caught.value)


def test_what_a_wrong_root_holds_is_named_without_patients_and_images(tmp_path: Path) -> None:
    write_chest(tmp_path)
    with pytest.raises(UserError, match=r"no file 'mimic.*; found 1 entry. Check the root"):
        read_release("mimic_cxr_jpg", tmp_path / "files" / "p10")
    write_nih(tmp_path)
    (tmp_path / "images_001" / "images" / "notes.txt").touch()
    with pytest.raises(UserError, match=r"Data_Entry_2017.*; found notes\.txt, 2 other entries\. Check"):
        read_release("nih_chestxray14", tmp_path / "images_001" / "images")


def test_the_workflow_looks_for_the_labelers_table_and_the_users_own(tmp_path: Path) -> None:
    write_chest(tmp_path)
    (tmp_path / "mimic-cxr-2.0.0-chexpert.csv.gz").unlink()
    found, _ = find_tables("mimic_cxr_jpg", tmp_path, "negbio")
    assert sorted(Path(name).name.split("-")[3] for name in found) == [
        "metadata.csv.gz",
        "negbio.csv.gz",
        "split.csv.gz",
    ]
    assert find_tables("mimic_cxr_jpg", tmp_path) == ([], ["mimic-cxr-2.*-chexpert.csv.gz"])
    name = "my [new] labels.csv"
    assert find_tables("table", tmp_path, file=name) == ([], [name])
    line = describe_missing({"own": ("table", str(tmp_path), "chexpert", name)}).splitlines()[0]
    assert line.startswith(f"dataset 'own', a table of your own: no {name} in ") and "get it from" not in line
    (tmp_path / name).touch()
    assert find_tables("table", tmp_path, file=name) == ([str(tmp_path / name)], [])
