"""NIH ChestX-ray14: findings joined by bars, twelve parts of which some may be absent, official lists."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up_releases import edit, write_nih

from moco_transfer.data.adapters import nih_chestxray14, read_release
from moco_transfer.data.labels import label_columns
from moco_transfer.errors import UserError

REAL = os.environ.get("MOCO_TRANSFER_REAL_DATA")


@pytest.fixture
def nih(tmp_path: Path) -> Path:
    write_nih(tmp_path)
    return tmp_path


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
    (nih / "test_list.txt").write_text("00000002_000.png\r\n00000003_000.png\r\n")
    assert read_release("nih_chestxray14", nih)["official_split"].tolist() == ["train", "train", "test"]
    (nih / "train_val_list.txt").write_text("00000001_000.png\n")
    (nih / "test_list.txt").write_text("00000001_001.png\n")
    with pytest.raises(UserError, match="patient_id of this image also lies in another official split"):
        read_release("nih_chestxray14", nih)
    (nih / "train_val_list.txt").write_text("00000001_001.png\n")
    with pytest.raises(UserError, match=r"1 images stand in train_val_list\.txt and in test_list\.txt"):
        read_release("nih_chestxray14", nih)
    (nih / "test_list.txt").write_bytes(b"\xff\xfe0\x00")
    with pytest.raises(UserError, match=r"test_list\.txt: not a list of file names"):
        read_release("nih_chestxray14", nih)


def test_the_older_table_with_a_comma_at_the_end_is_read(nih: Path) -> None:
    path = nih / "Data_Entry_2017_v2020.csv"
    lines = path.read_text().splitlines()
    whole = read_release("nih_chestxray14", nih)
    for header, row in ((",", ","), (",", ""), ("", ",")):
        path.write_text("\n".join([lines[0] + header, *(line + row for line in lines[1:])]) + "\n")
        pd.testing.assert_frame_equal(read_release("nih_chestxray14", nih), whole)


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


@pytest.mark.skipif(REAL is None, reason="MOCO_TRANSFER_REAL_DATA names no folder with NIH ChestX-ray14")
def test_real_labels() -> None:
    root = Path(REAL)
    index = read_release("nih_chestxray14", root)
    table = pd.read_csv(root / "Data_Entry_2017_v2020.csv")
    assert len(index) == len(table) == 96
    for name in nih_chestxray14.LABELS:
        expected = table["Finding Labels"].map(lambda findings, name=name: name in findings.split("|"))
        np.testing.assert_array_equal(index[name], expected)
