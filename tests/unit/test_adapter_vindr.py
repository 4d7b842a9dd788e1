"""VinDr-SpineXR: what makes an image abnormal, and what a broken release is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_up_releases import edit, write_spine

from moco_transfer.data.adapters import read_release
from moco_transfer.data.labels import label_columns
from moco_transfer.errors import UserError


@pytest.fixture
def spine(tmp_path: Path) -> Path:
    write_spine(tmp_path)
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
