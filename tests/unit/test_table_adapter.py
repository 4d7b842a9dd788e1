"""The adapter for a table of the user's own: defaults, every kind of column, and each fault named by its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_up_releases import touch

from moco_transfer.config.datasets import Table
from moco_transfer.data.adapters import read_release
from moco_transfer.errors import UserError

PATHS = ["a.png", "über den Rücken/b 1.png", "c/d/e.dcm", "c/d/f.dcm"]
COLUMNS = {"path": "file", "labels": ["fracture", "Scoliosis (°)"]}
ALL = COLUMNS | {"patient_id": "patient", "study_id": "study", "official_split": "fold", "view": "view"}


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "file": PATHS,
            "patient": [17, 17, 4, 5],
            "study": ["s1", "s1", "s2", "s3"],
            "fold": ["train", "train", "validation", "test"],
            "view": ["PA", "LATERAL", "PA", None],
            "fracture": [1, 0, -1, None],
            "Scoliosis (°)": ["1", "0.0", "", "-1.0"],
        }
    )


def read(
    root: Path, table: pd.DataFrame | str, columns: dict[str, Any] = ALL, **options: Any
) -> pd.DataFrame:
    """Index ``table``, written as a CSV, or as it is if it is text, beside its images."""
    for path in PATHS:
        touch(root / path)
    path = root / "my labels.csv"
    path.write_text(table if isinstance(table, str) else table.to_csv(index=False), encoding="utf-8")
    return read_release("table", root, table=Table(file=path.name, **columns), **options)


def test_a_table_becomes_an_index(tmp_path: Path) -> None:
    index = read(tmp_path, frame())
    assert index["image_id"].tolist() == index["path"].tolist() == PATHS
    assert index["patient_id"].tolist() == ["17", "17", "4", "5"]
    assert index["study_id"].tolist() == ["s1", "s1", "s2", "s3"]
    assert index["official_split"].tolist() == ["train", "train", "validation", "test"]
    assert index["view"].fillna("").tolist() == ["PA", "LATERAL", "PA", ""]
    np.testing.assert_array_equal(index["fracture"], [1, 0, -1, np.nan])
    np.testing.assert_array_equal(index["Scoliosis (°)"], [1, 0, np.nan, -1])


def test_what_is_not_given_falls_back(tmp_path: Path) -> None:
    alone = read(tmp_path, frame(), COLUMNS)
    assert alone["patient_id"].tolist() == alone["study_id"].tolist() == PATHS
    assert alone["official_split"].isna().all() and alone["view"].isna().all()
    by_study = read(tmp_path, frame(), COLUMNS | {"study_id": "study"})
    assert by_study["patient_id"].tolist() == ["s1", "s1", "s2", "s3"]
    by_patient = read(tmp_path, frame(), COLUMNS | {"patient_id": "patient"})
    assert by_patient["study_id"].tolist() == PATHS
    named = read(tmp_path, frame().assign(name=list("wxyz")), COLUMNS | {"image_id": "name"})
    assert named["image_id"].tolist() == named["patient_id"].tolist() == list("wxyz")


def test_parquet_gives_the_same_index_whatever_type_a_column_has(tmp_path: Path) -> None:
    text = read(tmp_path, frame())
    typed = frame().assign(
        patient=pd.Series([17.0, 17.0, 4.0, 5.0]),
        view=frame()["view"].astype("category"),
        fracture=pd.array([1, 0, -1, None], dtype="Int8"),
        **{"Scoliosis (°)": [1.0, 0.0, np.nan, -1.0]},
    )
    for name, table in (("floats", typed), ("integers", typed.assign(patient=[17, 17, 4, 5]))):
        table.to_parquet(tmp_path / f"{name}.parquet")
        index = read_release("table", tmp_path, table=Table(file=f"{name}.parquet", **ALL))
        pd.testing.assert_frame_equal(index, text)


def test_truth_values_count_as_1_and_0(tmp_path: Path) -> None:
    table = frame().assign(fracture=[True, False, True, False])
    expected = [1, 0, 1, 0]
    np.testing.assert_array_equal(read(tmp_path, table)["fracture"], expected)
    table.to_parquet(tmp_path / "own.parquet")
    np.testing.assert_array_equal(
        read_release("table", tmp_path, table=Table(file="own.parquet", **ALL))["fracture"], expected
    )


def test_views_of_a_table_are_filtered(tmp_path: Path) -> None:
    assert read(tmp_path, frame(), views=["PA"])["path"].tolist() == [PATHS[0], PATHS[2]]
    with pytest.raises(UserError, match="it names no views"):
        read(tmp_path, frame(), COLUMNS, views=["PA"])


def replaced(column: str, row: int, value: object) -> pd.DataFrame:
    table = frame().astype("object")
    table.loc[row, column] = value
    return table


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (replaced("file", 1, "a.png"), r"line 3, column 'file': it stood on an earlier line"),
        (replaced("file", 1, "./c/..//a.png"), r"line 3, column 'file': it leaves the root"),
        (replaced("file", 1, ".//a.png"), r"line 3, column 'file': it stood on an earlier line"),
        (replaced("file", 2, "/etc/hosts"), r"line 4, column 'file': it leaves the root"),
        (replaced("file", 2, "c/.."), r"line 4, column 'file': it leaves the root"),
        (replaced("file", 0, None), r"line 2, column 'file': a path was expected, found a blank"),
        (replaced("patient", 3, None), r"line 5, column 'patient': an identifier was expected, found a blank"),
        (replaced("patient", 1, 99), r"line 3, column 'study': this study stood under another patient"),
        (replaced("patient", 3, 4), r"line 5, column 'patient': this patient also lies in another official split"),
        (replaced("fracture", 1, "2"), r"line 3, column 'fracture': expected 1, 0, -1 or a blank, found '2'"),
        (replaced("fracture", 1, "NaN"), r"line 3, column 'fracture': .* found 'NaN'"),
        (replaced("fracture", 1, "inf"), r"line 3, column 'fracture': .* found 'inf'"),
        (replaced("fracture", 1, "present"), r"line 3, column 'fracture': .* found 'present'"),
        (replaced("fold", 2, "val"), r"line 4, column 'fold': expected train, validation, test or a blank .* 'validation'"),
        (replaced("fold", 3, "Test"), r"line 5, column 'fold': .*did you mean 'test'\?.* found 'Test'"),
        (replaced("fold", 3, "7"), r"line 5, column 'fold': expected train, validation, test or a blank, found '7'"),
        (frame().rename(columns={"file": "File", "view": "View"}), r"'file', 'view' are missing; .*'File' for 'file', 'View' for"),
        (frame()[:0], "there is a header and no row"),
    ],
)  # fmt: skip
def test_faults_are_named_by_line(tmp_path: Path, table: pd.DataFrame, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path, table)
    assert "my labels.csv" in str(caught.value) and "\n" not in str(caught.value)
    assert not any(path in str(caught.value) for path in (*PATHS, "/etc/hosts"))


def test_lines_are_counted_as_an_editor_counts_them(tmp_path: Path) -> None:
    text = 'file,note,fracture\n\na.png,"two\nlines",1\n\nc/d/e.dcm,,3\n'
    with pytest.raises(UserError, match=r"line 6, column 'fracture': .*found '3'"):
        read(tmp_path, text, {"path": "file", "labels": ["fracture"]})


def test_an_identifier_is_no_label(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="column 'patient' is given as a label and as a path or identifier"):
        read(tmp_path, frame(), ALL | {"labels": ["patient"]})


def test_links_that_leave_the_root_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    touch(tmp_path / "elsewhere" / "e.dcm")
    root.mkdir()
    (root / "away").symlink_to(tmp_path / "elsewhere")
    table = replaced("file", 2, "away/e.dcm")
    with pytest.raises(UserError, match=r"leaves the root \(row 3 of the index"):
        read(root, table)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([2.0**60, 1.0, 2.0, 3.0], r"column 'patient' holds floats beyond 2\^53"),
        ([b"1", b"2", b"3", b"4"], "column 'patient' holds binary"),
        ([[1], [2], [3], [4]], "column 'patient' holds list"),
        ([None] * 4, r"row 1, column 'patient': an identifier was expected"),
    ],
)
def test_columns_of_a_parquet_file_that_are_no_identifiers(
    tmp_path: Path, column: list, message: str
) -> None:
    frame().assign(patient=column).to_parquet(tmp_path / "own.parquet")
    with pytest.raises(UserError, match=message):
        read_release("table", tmp_path, table=Table(file="own.parquet", **ALL))


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    frame().to_parquet(tmp_path / "own.parquet")
    (tmp_path / "own.parquet").write_bytes((tmp_path / "own.parquet").read_bytes()[:-9])
    with pytest.raises(UserError, match=r"own\.parquet: not a readable Parquet file"):
        read_release("table", tmp_path, table=Table(file="own.parquet", **ALL))
