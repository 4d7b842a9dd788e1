"""Adapters read small releases written by hand in the real layouts, and name what is wrong with broken ones."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from moco_transfer.atomic import write_parquet
from moco_transfer.data.adapters import image_folder, mimic_cxr_jpg, nih_chestxray14, read_release
from moco_transfer.data.columns import COLUMNS
from moco_transfer.data.index import build
from moco_transfer.data.labels import label_columns
from moco_transfer.errors import UserError

REAL = os.environ.get("MOCO_TRANSFER_REAL_DATA")


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def edit(path: Path, old: str, new: str) -> None:
    """Replace ``old``, which must be there, in a CSV that may be gzipped."""
    table = pd.read_csv(path, dtype="str", keep_default_na=False).to_csv(index=False)
    assert old in table
    path.unlink()
    if path.suffix == ".gz":
        import gzip

        path.write_bytes(gzip.compress(table.replace(old, new).encode()))
    else:
        path.write_text(table.replace(old, new))


@pytest.fixture
def spine(tmp_path: Path) -> Path:
    """VinDr-SpineXR: of i1's rows one says `No finding` and one does not, i3 has two findings, i4 is for testing."""
    header = "study_id,series_id,image_id,rad_id,lesion_type,xmin,ymin,xmax,ymax\n"
    rows = {
        "train": "s2,e,i3,r,Osteophytes,1,2,3,4\n"
        "s1,e,i1,r,No finding,,,,\n"
        "s1,e,i2,r,Disc space narrowing,1,2,3,4\n"
        "s2,e,i3,r,Surgical implant,1,2,3,4\n"
        "s1,e,i1,r,Osteophytes,1,2,3,4\n",
        "test": "s3,e,i4,r,No finding,,,,\n",
    }
    for split, lines in rows.items():
        (tmp_path / f"{split}_images").mkdir()
        path = tmp_path / "annotations" / f"{split}.csv"
        touch(path)
        path.write_text(header + lines)
    return tmp_path


@pytest.fixture
def chest(tmp_path: Path) -> Path:
    """MIMIC-CXR-JPG: two patients, three studies of which one has no row of labels, four images."""
    for folder in ("p10", "p11"):
        (tmp_path / "files" / folder).mkdir(parents=True)
    images = pd.DataFrame(
        {
            "dicom_id": ["d1", "d2", "d3", "d4"],
            "subject_id": [10000032, 10000032, 11000011, 10000032],
            "study_id": [50000001, 50000001, 50000009, 50000002],
            "PerformedProcedureStepDescription": "CHEST (PA AND LAT)",
            "ViewPosition": ["PA", "LATERAL", "", "AP"],
        }
    )
    images.to_csv(tmp_path / "mimic-cxr-2.0.0-metadata.csv.gz", index=False)
    split = images[["dicom_id", "study_id", "subject_id"]].assign(
        split=["train", "train", "validate", "train"]
    )
    split.iloc[::-1].to_csv(tmp_path / "mimic-cxr-2.0.0-split.csv.gz", index=False)
    labels = pd.DataFrame(
        {"subject_id": [11000011, 10000032], "study_id": [50000009, 50000001]}
        | {name: [np.nan, 0.0] for name in mimic_cxr_jpg.LABELS}
    )
    labels["Edema"] = [-1.0, 1.0]
    labels.to_csv(tmp_path / "mimic-cxr-2.0.0-chexpert.csv.gz", index=False)
    return tmp_path


@pytest.fixture
def nih(tmp_path: Path) -> Path:
    """NIH ChestX-ray14: three images of two patients, and a fourth that lies in a part which is not there."""
    table = pd.DataFrame(
        {
            "Image Index": ["00000001_000.png", "00000001_001.png", "00000002_000.png", "00000003_000.png"],
            "Finding Labels": ["Effusion|Pleural_Thickening", "No Finding", "Hernia", "Mass"],
            "Follow-up #": [0, 1, 0, 0],
            "Patient ID": [1, 1, 2, 3],
            "View Position": ["PA", "AP", "", "PA"],
        }
    )
    table.to_csv(tmp_path / "Data_Entry_2017_v2020.csv", index=False)
    for part, name in (("001", "00000001_000"), ("001", "00000001_001"), ("002", "00000002_000")):
        touch(tmp_path / f"images_{part}" / "images" / f"{name}.png")
    return tmp_path


def test_spine_is_abnormal_unless_no_finding_is_among_its_rows(spine: Path) -> None:
    index = read_release("vindr_spinexr", spine)
    assert index["image_id"].tolist() == ["i3", "i1", "i2", "i4"]
    assert label_columns(index.columns) == ["abnormal"]
    assert index["abnormal"].tolist() == [1, 0, 1, 0]
    assert index["study_id"].tolist() == index["patient_id"].tolist() == ["s2", "s1", "s1", "s3"]
    assert index["path"].tolist()[2:] == ["train_images/i2.dicom", "test_images/i4.dicom"]
    assert index["official_split"].tolist() == ["train"] * 3 + ["test"]
    assert index["view"].isna().all()


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


def test_nih_keeps_what_is_there_and_counts_what_is_not(nih: Path, caplog: pytest.LogCaptureFixture) -> None:
    index = read_release("nih_chestxray14", nih)
    assert index["image_id"].tolist() == ["00000001_000", "00000001_001", "00000002_000"]
    assert index["path"].tolist()[2] == "images_002/images/00000002_000.png"
    assert index["patient_id"].tolist() == ["1", "1", "2"]
    assert index["official_split"].isna().all()
    labels = index[label_columns(index.columns)]
    assert labels.columns.tolist() == list(nih_chestxray14.LABELS)
    positive = [set(labels.columns[row == 1]) for row in labels.to_numpy()]
    assert positive == [{"Effusion", "Pleural_Thickening"}, set(), {"Hernia"}]
    assert labels.isin([0, 1]).all(axis=None)
    assert "1 of 4 images are not in the parts that are there" in caplog.text


def test_nih_takes_the_official_lists(nih: Path) -> None:
    (nih / "train_val_list.txt").write_text("00000001_000.png\n00000001_001.png\n")
    with pytest.raises(UserError, match=r"train_val_list\.txt is there, test_list\.txt is not"):
        read_release("nih_chestxray14", nih)
    (nih / "test_list.txt").write_text("00000002_000.png\n00000003_000.png\n")
    assert read_release("nih_chestxray14", nih)["official_split"].tolist() == ["train", "train", "test"]
    (nih / "train_val_list.txt").write_text("00000001_000.png\n")
    (nih / "test_list.txt").write_text("00000001_001.png\n")
    with pytest.raises(UserError, match="patient_id of this image also lies in another official split"):
        read_release("nih_chestxray14", nih)


def test_image_folder_is_one_hot(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("dog/b.JPEG", "dog/a.png", "cat/c.jpg", "cat/notes.txt", ".cache/x.png"):
        touch(tmp_path / name)
    index = read_release("image_folder", tmp_path)
    assert index["image_id"].tolist() == ["cat/c.jpg", "dog/a.png", "dog/b.JPEG"]
    for column in ("patient_id", "study_id", "path"):
        assert index[column].equals(index["image_id"])
    np.testing.assert_array_equal(index[["cat", "dog"]], [[1, 0], [0, 1], [0, 1]])
    assert "entries that are no images, left out: 1" in caplog.text


@pytest.mark.parametrize("adapter", ["vindr_spinexr", "mimic_cxr_jpg", "nih_chestxray14"])
def test_an_index_is_equal_to_itself_after_parquet(adapter: str, request: pytest.FixtureRequest) -> None:
    fixture = {"vindr_spinexr": "spine", "mimic_cxr_jpg": "chest", "nih_chestxray14": "nih"}[adapter]
    root = request.getfixturevalue(fixture)
    index = read_release(adapter, root)
    assert tuple(index.columns[:6]) == COLUMNS
    assert (index[label_columns(index.columns)].dtypes == np.float32).all()
    write_parquet(index, root / "index.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(root / "index.parquet"), index)
    first = (root / "index.parquet").read_bytes()
    write_parquet(read_release(adapter, root), root / "index.parquet")
    assert (root / "index.parquet").read_bytes() == first


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "lesion_type",
            "lesion type",
            r"train\.csv: column 'lesion_type' is missing; .*did you mean 'lesion type'\?",
        ),
        (
            "Surgical implant",
            "",
            r"train\.csv, line 5, column 'lesion_type': expected a finding.*found a blank",
        ),
        ("s1,e,i2", "s1,e,i3", r"train\.csv, line 4: this image_id stood under another study_id"),
        ("s2,", "s3,", "row 4 of the index; 1 such rows"),
        ("i1", "i4", "image_id occurs for the second time"),
        ("i1", "../i1", "path leaves the dataset's root"),
    ],
)
def test_broken_spine_tables_are_named(spine: Path, old: str, new: str, message: str) -> None:
    edit(spine / "annotations" / "train.csv", old, new)
    with pytest.raises(UserError, match=message):
        read_release("vindr_spinexr", spine)


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
        (
            "chexpert",
            "11000011,50000009",
            "10000032,50000001",
            "line 3: this subject_id, study_id stood on an earlier",
        ),
        (
            "split",
            "validate",
            "dev",
            r"split\.csv\.gz, line 3, column 'split': expected train, validate, test, found 'dev'",
        ),
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


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Hernia", "Hernya", r"line 4, column 'Finding Labels': expected 'Hernia', found 'Hernya'"),
        ("No Finding", "", r"line 3, column 'Finding Labels': .*found a blank"),
        (".png", ".jpg", r"none of the 4 images .* lies in images_\*/images/"),
    ],
)
def test_broken_nih_tables_are_named(nih: Path, old: str, new: str, message: str) -> None:
    edit(nih / "Data_Entry_2017_v2020.csv", old, new)
    with pytest.raises(UserError, match=message):
        read_release("nih_chestxray14", nih)


def test_wrong_roots_say_what_was_looked_for_and_what_is_there(spine: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        read_release("vindr_spinexr", spine / "nowhere")
    with pytest.raises(UserError, match=r"folder 'train_images' is missing; found test\.csv, train\.csv"):
        read_release("vindr_spinexr", spine / "annotations")
    with pytest.raises(UserError, match="no image in this class"):
        read_release("image_folder", spine)
    with pytest.raises(UserError, match="a folder for each class was expected, found test"):
        image_folder.read(spine / "annotations")


def test_a_class_may_not_take_the_name_of_a_column(tmp_path: Path) -> None:
    touch(tmp_path / "path" / "a.png")
    with pytest.raises(UserError, match="column 'path' occurs twice"):
        read_release("image_folder", tmp_path)


def test_messages_name_no_identifier() -> None:
    columns = pd.DataFrame(
        {name: ["10000032", "10000032"] for name in ("image_id", "patient_id", "study_id", "path")}
    )
    with pytest.raises(UserError) as caught:
        build(columns, pd.DataFrame({"finding": [0, 1]}), "test")
    assert "row 2 of the index" in str(caught.value)
    assert "10000032" not in str(caught.value)


@pytest.mark.skipif(REAL is None, reason="MOCO_TRANSFER_REAL_DATA names no folder with NIH ChestX-ray14")
def test_real_radiographs() -> None:
    root = Path(REAL)
    index = read_release("nih_chestxray14", root)
    table = pd.read_csv(root / "Data_Entry_2017_v2020.csv")
    assert len(index) == len(table) == 96
    for name in nih_chestxray14.LABELS:
        expected = table["Finding Labels"].map(lambda findings, name=name: name in findings.split("|"))
        np.testing.assert_array_equal(index[name], expected)
    assert all((root / path).is_file() for path in index["path"])
