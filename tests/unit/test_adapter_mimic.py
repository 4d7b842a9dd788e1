"""MIMIC-CXR-JPG: images, splits and either labeler's labels joined, and what a broken or mixed release is told."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from made_up_releases import edit, write_chest

from moco_transfer.data.adapters import mimic_cxr_jpg, read_release
from moco_transfer.data.labels import label_columns
from moco_transfer.errors import UserError


@pytest.fixture
def chest(tmp_path: Path) -> Path:
    write_chest(tmp_path)
    return tmp_path


def test_chest_joins_images_splits_and_labels(chest: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        index = read_release("mimic_cxr_jpg", chest)
    assert index["image_id"].tolist() == ["d1", "d2", "d3", "d4"]
    assert index["path"].tolist()[:3] == [
        "files/p10/p10000032/s50000001/d1.jpg",
        "files/p10/p10000032/s50000001/d2.jpg",
        "files/p11/p11000011/s50000009/d3.jpg",
    ]
    assert index["patient_id"].tolist() == ["10000032", "10000032", "11000011", "10000032"]
    assert index["official_split"].tolist() == ["train", "train", "validation", "train"]
    assert index["view"].tolist()[:2] == ["PA", "LATERAL"]
    assert index["view"].isna().tolist() == [False, False, True, False]
    assert label_columns(index.columns) == list(mimic_cxr_jpg.LABELS)
    np.testing.assert_array_equal(index["Edema"], [1, 1, -1, np.nan])
    np.testing.assert_array_equal(index["Fracture"], [0, 0, np.nan, np.nan])
    assert "studies with images but without a row of labels: 1;" in caplog.text


def test_the_labeler_chooses_the_labels_and_needs_no_other(chest: Path) -> None:
    (chest / "mimic-cxr-2.0.0-chexpert.csv.gz").unlink()
    index = read_release("mimic_cxr_jpg", chest, labeler="negbio")
    np.testing.assert_array_equal(index["Edema"], [np.nan, np.nan, 0, np.nan])
    with pytest.raises(
        UserError, match=r"no file 'mimic-cxr-2\.\*-chexpert\.csv\.gz'; found .*-negbio\.csv\.gz"
    ):
        read_release("mimic_cxr_jpg", chest)


def test_the_tables_of_release_2_1_are_found_beside_its_own_addition(chest: Path) -> None:
    # 2.1.0 keeps the names of 2.0.0, and adds one table that no stage reads
    (chest / "mimic-cxr-2.1.0-test-set-labeled.csv").write_text("study_id,Edema\n50000009,1\n")
    assert len(read_release("mimic_cxr_jpg", chest)) == 4


@pytest.mark.parametrize(
    ("table", "old", "new", "message"),
    [
        (
            "chexpert",
            "-1.0",
            "2",
            r"chexpert\.csv\.gz, line 2, column 'Edema': expected 1, 0, -1 or a blank, found '2'",
        ),
        ("chexpert", "-1.0", "yes", r"line 2, column 'Edema': .*found 'yes'"),
        ("chexpert", "-1.0", "nan", r"line 2, column 'Edema': .*found 'nan'"),
        (
            "chexpert",
            "11000011,50000009",
            "10000032,50000001",
            "line 3: this subject_id, study_id stood on an earlier",
        ),
        ("chexpert", ",5", ",6", r"not one image of the metadata is in mimic-cxr-2\.\*-chexpert"),
        (
            "split",
            "validate",
            "dev",
            r"split\.csv\.gz, line 3, column 'split': expected train, validate, test, found 'dev'",
        ),
        ("split", "d1,50000001,10000032,train", "d1,50000001,10000032,test", "also lies in another official"),
        ("metadata", "d2", "d1", "image_id occurs for the second time"),
        ("metadata", "11000011", "", r"patient_id is blank.*row 3"),
        ("metadata", "11000011", "12000011", "p12 missing, found p10"),
    ],
)
def test_broken_chest_tables_are_named(chest: Path, table: str, old: str, new: str, message: str) -> None:
    edit(chest / f"mimic-cxr-2.0.0-{table}.csv.gz", old, new)
    with pytest.raises(UserError, match=message):
        read_release("mimic_cxr_jpg", chest)


def test_chest_releases_that_are_partial_or_mixed_are_named(chest: Path) -> None:
    whole = (chest / "mimic-cxr-2.0.0-split.csv.gz").read_bytes()
    (chest / "mimic-cxr-2.1.0-split.csv.gz").write_bytes(whole)
    with pytest.raises(
        UserError, match=r"found mimic-cxr-2\.0\.0-split\.csv\.gz, mimic-cxr-2\.1\.0-split\.csv\.gz"
    ):
        read_release("mimic_cxr_jpg", chest)
    (chest / "mimic-cxr-2.0.0-split.csv.gz").unlink()
    assert len(read_release("mimic_cxr_jpg", chest)) == 4
    (chest / "mimic-cxr-2.1.0-split.csv.gz").write_bytes(whole[:-20])
    with pytest.raises(UserError, match=r"split\.csv\.gz: not a readable CSV \(.*\); download it again"):
        read_release("mimic_cxr_jpg", chest)
    (chest / "mimic-cxr-2.1.0-split.csv.gz").unlink()
    with pytest.raises(UserError, match=r"no file 'mimic-cxr-2\.\*-split\.csv\.gz'; found files, mimic"):
        read_release("mimic_cxr_jpg", chest)


def test_images_without_an_official_split_are_counted(chest: Path, caplog: pytest.LogCaptureFixture) -> None:
    edit(chest / "mimic-cxr-2.0.0-split.csv.gz", "d2,50000001,10000032,train\n", "")
    assert read_release("mimic_cxr_jpg", chest)["official_split"].isna().tolist() == [
        False,
        True,
        False,
        False,
    ]
    assert "images without an official split: 1" in caplog.text
