"""Adapters build one index table from each layout; errors take one line and name no patient."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up_releases import WRITE, edit, read_release, touch, write_chest, write_nih, write_spine

from moco_transfer.config.datasets import Labels, Split
from moco_transfer.data.adapters import mimic_cxr_jpg, nih_chestxray14
from moco_transfer.data.adapters.layout import keep_views
from moco_transfer.data.index import build
from moco_transfer.data.labels import COLUMNS, label_columns
from moco_transfer.data.releases import describe_missing, find_tables
from moco_transfer.data.split import assign_splits
from moco_transfer.errors import UserError
from moco_transfer.files import write_parquet


@pytest.mark.parametrize("adapter", WRITE)
def test_an_index_is_equal_to_itself_after_parquet(adapter, tmp_path):
    WRITE[adapter](tmp_path)
    index = read_release(adapter, tmp_path)
    assert tuple(index.columns[:6]) == COLUMNS
    assert (index[label_columns(index.columns)].dtypes == np.float32).all()
    write_parquet(index, tmp_path / "index.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "index.parquet"), index)
    first = (tmp_path / "index.parquet").read_bytes()
    write_parquet(read_release(adapter, tmp_path), tmp_path / "index.parquet")
    assert (tmp_path / "index.parquet").read_bytes() == first


@pytest.mark.parametrize(
    ("adapter", "file", "old", "new"),
    [
        ("vindr_spinexr", "annotations/train.csv", "s1,e,i1,r,No finding", " s1,e,i1\u00a0,r, No finding "),
        ("mimic_cxr_jpg", "mimic-cxr-2.0.0-metadata.csv.gz", "d4,10000032", "d4 , 10000032\t"),
        ("mimic_cxr_jpg", "mimic-cxr-2.0.0-chexpert.csv.gz", "50000009", "\ufeff50000009 "),
        (
            "nih_chestxray14",
            "Data_Entry_2017_v2020.csv",
            "Effusion|Pleural_Thickening",
            "Effusion | Pleural_Thickening ",
        ),
        ("nih_chestxray14", "Data_Entry_2017_v2020.csv", "Patient ID", " Patient ID "),
    ],
)
def test_blanks_change_no_index(adapter, file, old, new, tmp_path):
    WRITE[adapter](tmp_path)
    clean = read_release(adapter, tmp_path)
    edit(tmp_path / file, old, new)
    pd.testing.assert_frame_equal(read_release(adapter, tmp_path), clean)


def test_views_are_shown_if_many_patients_have_each(tmp_path):
    index = pd.DataFrame({"image_id": range(20), "patient_id": range(100, 120), "view": ["AP", "PA"] * 10})
    with pytest.raises(UserError, match=r"found AP \(10\), PA \(10\)"):
        keep_views(index, ["LL"], "a table")
    for hidden in (
        index.assign(patient_id=index["patient_id"] % 4),  # a view may be a patient
        index.assign(image_id=index["patient_id"]),  # the patients are unknown
        index.assign(view=[f"{number}" for number in range(20)]),
    ):
        with pytest.raises(UserError, match="values that are not shown"):
            keep_views(hidden, ["LL"], "a table")


def test_folders_that_may_be_patients_are_not_named(tmp_path, caplog):
    touch(tmp_path / "SECRET-1" / "a.png")
    touch(tmp_path / "SECRET-1" / "notes.txt")
    read_release("image_folder", tmp_path)
    assert "folder 1 of 1 by name: entries left out" in caplog.text and "SECRET" not in caplog.text
    (tmp_path / "SECRET-2").mkdir()
    assert_silent(lambda: read_release("image_folder", tmp_path), "folder 2 of 2 by name: no image")
    for name in ("SECRET-2", " SECRET-2"):
        touch(tmp_path / name / "b.png")
    assert_silent(lambda: read_release("image_folder", tmp_path), "two labels have the same name")


def test_image_folder_is_one_hot(tmp_path, caplog):
    for name in ("dog/b.JPEG", "dog/a.png", "cat/c.jpg", "cat/notes.txt", ".cache/x.png"):
        touch(tmp_path / name)
    index = read_release("image_folder", tmp_path)
    assert index["image_id"].tolist() == ["cat/c.jpg", "dog/a.png", "dog/b.JPEG"]
    for column in ("patient_id", "study_id", "path"):
        assert index[column].equals(index["image_id"])
    np.testing.assert_array_equal(index[["cat", "dog"]], [[1, 0], [0, 1], [0, 1]])
    assert "entries left out because they are not images: 1" in caplog.text


def test_a_class_may_not_take_the_name_of_a_column(tmp_path):
    touch(tmp_path / "path" / "a.png")
    with pytest.raises(UserError, match="column 'path' occurs twice"):
        read_release("image_folder", tmp_path)


def test_a_wrong_root_is_reported_with_what_was_expected_and_found(tmp_path):
    write_spine(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        read_release("vindr_spinexr", tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"folder 'train_images' is missing; found test\.csv, train\.csv"):
        read_release("vindr_spinexr", tmp_path / "annotations")
    with pytest.raises(UserError, match="no image in this class"):
        read_release("image_folder", tmp_path)
    with pytest.raises(UserError, match="expected one folder per class, found test"):
        read_release("image_folder", tmp_path / "annotations")


def test_only_the_chosen_views_are_kept_and_the_rest_is_counted(tmp_path, caplog):
    write_chest(tmp_path)
    # an image of a view that is left out need not be there
    (tmp_path / "files/p10/p10000032/s50000001/d2.jpg").unlink()
    with caplog.at_level(logging.INFO):
        index = read_release("mimic_cxr_jpg", tmp_path, views=["AP", "PA"])
    assert index["image_id"].tolist() == ["d1", "d4"] and index.index.tolist() == [0, 1]
    assert "views AP, PA: 2 of 4 images kept, 2 left out (1 of them name no view)" in caplog.text


def test_views_that_never_occur_and_releases_without_views_are_errors(tmp_path):
    for name, write in (("chest", write_chest), ("nih", write_nih), ("spine", write_spine)):
        (tmp_path / name).mkdir()
        write(tmp_path / name)
    with pytest.raises(UserError, match="view 'LL' never occurs; found values that are not shown"):
        read_release("mimic_cxr_jpg", tmp_path / "chest", views=["PA", "LL"])
    with pytest.raises(UserError, match=r"views is an empty list; found"):
        read_release("nih_chestxray14", tmp_path / "nih", views=[])
    with pytest.raises(UserError, match="the release names no views"):
        read_release("vindr_spinexr", tmp_path / "spine", views=["AP"])


def test_a_finding_in_small_letters_is_no_other_finding(tmp_path):
    write_spine(tmp_path)
    edit(tmp_path / "annotations" / "test.csv", "No finding", "NO FINDING ")
    index = read_release("vindr_spinexr", tmp_path)
    assert index.set_index("image_id")["abnormal"]["i4"] == 0


def test_lists_of_official_splits_may_begin_with_a_byte_order_mark_but_must_name_images(tmp_path, caplog):
    write_nih(tmp_path)
    (tmp_path / "train_val_list.txt").write_text("\ufeff00000001_000.png\r\n00000001_001.png\r\n")
    (tmp_path / "test_list.txt").write_text("00000002_000.png\n")
    index = read_release("nih_chestxray14", tmp_path)
    assert index["official_split"].tolist() == ["train", "train", "test"]
    assert "images without an official split: 1" in caplog.text
    (tmp_path / "train_val_list.txt").write_text("a.png")
    (tmp_path / "test_list.txt").write_text("b.png")
    with pytest.raises(UserError, match="no image of the table is in"):
        read_release("nih_chestxray14", tmp_path)


@pytest.mark.parametrize("name", [" ", "a\nb"])
def test_a_class_needs_a_name_that_can_be_printed(tmp_path, name):
    touch(tmp_path / name / "a.png")
    with pytest.raises(UserError, match="rename it"):
        read_release("image_folder", tmp_path)


def test_messages_about_a_wrong_root_name_no_patients_and_images(tmp_path):
    write_chest(tmp_path)
    with pytest.raises(UserError, match=r"no file 'mimic.*; found 1 entry. Check the root"):
        read_release("mimic_cxr_jpg", tmp_path / "files" / "p10")
    write_nih(tmp_path)
    (tmp_path / "images_001" / "images" / "notes.txt").touch()
    with pytest.raises(UserError, match=r"Data_Entry_2017.*; found 3 entries\. Check"):
        read_release("nih_chestxray14", tmp_path / "images_001" / "images")


@pytest.mark.parametrize("adapter", [*WRITE, "image_folder", "table"])
def test_a_root_that_may_not_be_read_is_reported_as_missing(adapter, monkeypatch):
    def denied(path, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(path))

    for kind in ("stat", "scandir", "listdir", "lstat"):
        monkeypatch.setattr(os, kind, denied)
    monkeypatch.setattr(os, "access", lambda *args: False)
    line = describe_missing({"own": (adapter, "/closed", "chexpert", "own.csv")}).splitlines()[0]
    assert "/closed/, a folder that is missing or may not be read" in line


def test_find_tables_finds_the_labelers_table_and_a_users_own(tmp_path):
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


@pytest.fixture
def spine(tmp_path: Path) -> Path:
    write_spine(tmp_path)
    return tmp_path


def test_spine_is_abnormal_unless_a_row_says_no_finding(spine):
    index = read_release("vindr_spinexr", spine)
    assert index["image_id"].tolist() == ["i3", "i1", "i2", "i4"]
    assert label_columns(index.columns) == ["abnormal"]
    assert index["abnormal"].tolist() == [1, 0, 1, 0]
    assert index["study_id"].tolist() == index["patient_id"].tolist() == ["s2", "s1", "s1", "s3"]
    assert index["path"].tolist()[2:] == ["train_images/i2.dicom", "test_images/i4.dicom"]
    assert index["official_split"].tolist() == ["train"] * 3 + ["test"]
    assert index["view"].isna().all()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("lesion_type", "lesion type", r"column 'lesion_type' is missing; found .*lesion type"),
        ("Surgical implant", "", r"train\.csv, line 5, column 'lesion_type': .*found a blank"),
        ("s1,e,i2", "s1,e,i3", r"train\.csv, line 4: this image_id has another study_id"),
        ("s2,", "s3,", "row 4 of the index\\)"),
        ("i1", "i4", "image_id occurs for the second time"),
        ("i1", "../i1", "path leaves the dataset's root"),
    ],
)
def test_errors_in_spine_tables_are_located(spine, old, new, message):
    edit(spine / "annotations" / "train.csv", old, new)
    with pytest.raises(UserError, match=message):
        read_release("vindr_spinexr", spine)


@pytest.fixture
def chest(tmp_path: Path) -> Path:
    write_chest(tmp_path)
    return tmp_path


def test_chest_joins_images_splits_and_labels(chest, caplog):
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
    assert "studies without a row of labels, whose labels are blank: 1" in caplog.text


def test_the_labeler_chooses_the_labels_and_needs_no_other(chest):
    (chest / "mimic-cxr-2.0.0-chexpert.csv.gz").unlink()
    index = read_release("mimic_cxr_jpg", chest, labeler="negbio")
    np.testing.assert_array_equal(index["Edema"], [np.nan, np.nan, 0, np.nan])
    with pytest.raises(
        UserError, match=r"no file 'mimic-cxr-2\.\*-chexpert\.csv\.gz'; found .*-negbio\.csv\.gz"
    ):
        read_release("mimic_cxr_jpg", chest)


def test_release_2_1_with_its_additional_table_is_read(chest):
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
            r"chexpert\.csv\.gz, line 2, column 'Edema': expected 1, 0, -1 .*found another number",
        ),
        ("chexpert", "-1.0", "low", r"line 2, column 'Edema': .*found text"),
        (
            "chexpert",
            "11000011,50000009",
            "10000032,50000001",
            "line 3: this subject_id, study_id is also on",
        ),
        ("chexpert", ",5", ",6", r"no image of the metadata is in mimic-cxr-2\.\*-chexpert"),
        ("split", "validate", "fold", r"line 3, column 'split': expected train, validation, test"),
        ("split", "d1,50000001,10000032,train", "d1,50000001,10000032,test", "also in another official"),
        ("metadata", "d2", "d1", "image_id occurs for the second time"),
        ("metadata", "11000011", "", r"line 4, column 'subject_id': .*found a blank"),
        ("metadata", "11000011", "12000011", "1 of 4 images are missing"),
    ],
)
def test_errors_in_chest_tables_are_located(chest, table, old, new, message):
    edit(chest / f"mimic-cxr-2.0.0-{table}.csv.gz", old, new)
    with pytest.raises(UserError, match=message):
        read_release("mimic_cxr_jpg", chest)


def test_partial_and_mixed_chest_releases_are_refused(chest):
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


def test_images_without_an_official_split_are_counted(chest, caplog):
    edit(chest / "mimic-cxr-2.0.0-split.csv.gz", "d2,50000001,10000032,train\n", "")
    assert np.flatnonzero(read_release("mimic_cxr_jpg", chest)["official_split"].isna()).tolist() == [1]
    assert "images without an official split: 1" in caplog.text


@pytest.fixture
def nih(tmp_path: Path) -> Path:
    write_nih(tmp_path)
    return tmp_path


def test_nih_keeps_existing_images_and_counts_missing_ones(nih, caplog):
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
    assert "left out 1 of 4 images" in caplog.text


def test_nih_reads_the_official_lists(nih):
    (nih / "train_val_list.txt").write_text("00000001_000.png\n00000001_001.png\n")
    with pytest.raises(UserError, match=r"found train_val_list\.txt, but no test_list\.txt"):
        read_release("nih_chestxray14", nih)
    (nih / "test_list.txt").write_text("00000002_000.png\r\n00000003_000.png\r\n")
    assert read_release("nih_chestxray14", nih)["official_split"].tolist() == ["train", "train", "test"]
    (nih / "train_val_list.txt").write_text("00000001_000.png\n")
    (nih / "test_list.txt").write_text("00000001_001.png\n")
    with pytest.raises(UserError, match="patient_id of this image is also in another official split"):
        read_release("nih_chestxray14", nih)
    (nih / "train_val_list.txt").write_text("00000001_001.png\n")
    with pytest.raises(UserError, match=r"1 images are in both train_val_list\.txt and test_list\.txt"):
        read_release("nih_chestxray14", nih)


def test_the_older_table_with_trailing_commas_is_read(nih):
    path = nih / "Data_Entry_2017_v2020.csv"
    lines = path.read_text().splitlines()
    whole = read_release("nih_chestxray14", nih)
    for header, row in ((",", ","), (",", ""), ("", ",")):
        path.write_text("\n".join([lines[0] + header, *(line + row for line in lines[1:])]) + "\n")
        pd.testing.assert_frame_equal(read_release("nih_chestxray14", nih), whole)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Hernia", "Hernya", r"line 4, column 'Finding Labels': expected .*findings, .*found another name"),
        ("No Finding", "", r"line 3, column 'Finding Labels': .*found a blank"),
        (".png", ".jpg", r"none of the 4 images .* is in images_\*/images/"),
    ],
)
def test_errors_in_nih_tables_are_located(nih, old, new, message):
    edit(nih / "Data_Entry_2017_v2020.csv", old, new)
    with pytest.raises(UserError, match=message):
        read_release("nih_chestxray14", nih)


SECRETS = ("SECRET-1", "SECRET-2", "SECRET-IMAGE", "SECRET-PATIENT", "SECRET-STUDY", "SECRET-FOLDER")
KEEP = Labels(uncertain="zero", unlabeled="zero")
SHARES = Split(unit="patient", train=0.6, validation=0.2, test=0.2)


def columns() -> pd.DataFrame:
    number = np.arange(6).astype(str).astype(object)
    return pd.DataFrame(
        {
            "image_id": "SECRET-IMAGE-" + number,
            "patient_id": "SECRET-PATIENT-" + number[np.arange(6) // 2],
            "study_id": "SECRET-STUDY-" + number,
            "path": "SECRET-FOLDER/SECRET-IMAGE-" + number + ".png",
            "official_split": "train",
        }
    )


def index_with(column: str, row: int, value: object, undivided: str | None = None) -> pd.DataFrame:
    table = columns()
    table.loc[row, column] = value
    return build(table, pd.DataFrame({"finding": np.arange(6.0) % 2}), "a table", undivided)


def assert_silent(call: Callable[[], object], part: str) -> None:
    with pytest.raises(UserError) as caught:
        call()
    message = str(caught.value)
    assert part in message and "\n" not in message
    assert not [secret for secret in SECRETS if secret in message]


@pytest.mark.parametrize(
    ("column", "value", "part"),
    [
        ("image_id", "SECRET-IMAGE-0", "for the second time"),
        ("patient_id", None, "blank"),
        ("patient_id", "secret-patient-0", "row 4"),
        ("study_id", "SECRET- STUDY-0", "row 4"),
        ("path", "../SECRET-FOLDER/x.png", "leaves the dataset's root"),
        ("official_split", "SECRET-STUDY", "official_split must be"),
    ],
)
def test_an_invalid_index_is_reported_by_row(column, value, part):
    assert_silent(lambda: index_with(column, 3, value), part)


def test_a_patient_in_two_official_splits_is_reported_by_row():
    assert_silent(lambda: index_with("official_split", 3, "test", "patient_id"), "row 4")


def test_an_impossible_split_is_reported_by_counts():
    index = index_with("official_split", 3, "test")
    official = SHARES.model_copy(update={"train": 0.5, "validation": 0.5, "test": "official"})
    assert_silent(lambda: assign_splits(index, official, KEEP, 0), "divides 1 of 3")
    few = SHARES.model_copy(update={"train": 0.1, "validation": 0.1, "test": 0.8})
    assert_silent(lambda: assign_splits(index, few, KEEP, 0), "too few")


@pytest.mark.parametrize("adapter", ["mimic_cxr_jpg", "vindr_spinexr"])
def test_a_root_that_is_a_folder_of_patients_is_not_listed(adapter, tmp_path):
    for number in range(3):
        (tmp_path / f"SECRET-PATIENT-{number}").mkdir()
    assert_silent(lambda: read_release(adapter, tmp_path), "Check the root")
