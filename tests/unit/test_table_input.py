"""Tables as input: encodings, errors, a user's own table, and the documentation page about it."""

import csv
import gzip
import io
import logging
import os
import re
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up_releases import read_release, touch, write_chest, write_nih

from moco_transfer.config import composition, experiment
from moco_transfer.config.datasets import Table
from moco_transfer.data.adapters import tables
from moco_transfer.data.adapters.tables import read_table
from moco_transfer.data.index import check
from moco_transfer.data.releases import find_tables
from moco_transfer.errors import UserError

TEXT = 'name,größe,finding\n"a, b",1,\nc,,0\n'
EXPECTED = [["a, b", "1", None], ["c", None, "0"]]
OWN = Table(file="own.csv", path="path", labels=["finding"], patient_id="patient", official_split="fold")
VALID = b"path,patient,fold,finding\na.png,1,train,1\nb.png,2,test,0\nc.png,2,test,\n"
# What breaks readers: quotes, separators, line ends, NULs, byte order marks, words for missing values.
PIECES = [
    b'"',
    b'""',
    b",",
    b";",
    b"\n",
    b"\r",
    b"\r\n",
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xe9",
    b"nan",
]
PIECES += [b"../", b"1e400"]
AT = st.integers(0, len(VALID))


def cells(path: Path) -> list[list[str | None]]:
    table = read_table(path, ["name", "größe", "finding"])
    return table.astype(object).where(table.notna(), None).to_numpy().tolist()


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        b"\xef\xbb\xbf" + TEXT.encode(),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "\r").encode(),
        TEXT.rstrip("\n").encode(),
        TEXT.replace("\n", "\n\n").encode(),
        b'"name","gr\xc3\xb6\xc3\x9fe","finding"\n"a, b","1",""\n"c","","0"\n',
        gzip.compress(TEXT.encode(), mtime=0),
    ],
)  # fmt: skip
def test_different_encodings_of_a_table_give_the_same_values(tmp_path, content):
    for name in ("own.csv", "own.csv.gz"):
        (tmp_path / name).write_bytes(content)
        assert cells(tmp_path / name) == EXPECTED


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.lists(
            st.text('ab03 ",;\nüN', max_size=5) | st.sampled_from(["003", "NA", "nan", "1.0"]),
            min_size=2,
            max_size=2,
        ),
        min_size=1,
    )
)
def test_values_are_the_written_text_and_the_index_is_the_line(tmp_path, records):
    path = tmp_path / "own.csv"
    with path.open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle, lineterminator="\n").writerows([["a", "b"], *records])
    table = read_table(path, ["b", "a"])
    assert table.fillna("")[["a", "b"]].to_numpy().tolist() == [
        ["" if x.strip().lower() in ("na", "nan") else x.strip() for x in record] for record in records
    ]
    lengths = [1 + sum(value.count("\n") for value in record) for record in records]
    assert table.index.tolist() == [2 + sum(lengths[:number]) for number in range(len(records))]


def test_latin_1_is_read_with_one_warning(tmp_path, caplog):
    (tmp_path / "own.csv").write_bytes(TEXT.encode("latin-1"))
    with caplog.at_level(logging.WARNING):
        assert cells(tmp_path / "own.csv") == EXPECTED
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'own.csv'}: not in UTF-8, read as Latin-1; check names with accents"
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\xef\xbb\xbf", "the file is empty"),
        (b"\n\nname\n", "the first line is blank"),
        (TEXT.splitlines()[0].encode(), "the table has no rows"),
        (TEXT.replace(",", ";").encode(), "separated by semicolons; save it with commas"),
        (TEXT.replace(",", "\t").encode(), "separated by tabs; save it with commas"),
        (TEXT.encode("utf-16"), "NUL bytes, .* or one in UTF-16"),
        (TEXT.replace("c,", "c\0,").encode(), "NUL bytes"),
        (TEXT.replace('"a, b",1,', "a,1,").replace("c,,0", 'c,,"0').encode() + b"d,1,1\n", r"not a readable CSV \(unexpected end"),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "NUL bytes"),
        (b"<!DOCTYPE html>\n<html><head>\n", r"a web page \(a login page\?\), not a CSV"),
        (b"PK\x03\x04\x00", "an Excel workbook or a zip archive, not a CSV"),
        (b"\x28\xb5\x2f\xfdabc\n", "packed with zstd, not a CSV"),
        (b"file|fracture\n", "separated by bars"),
        (TEXT.replace("c,,0", "c,0").encode(), "line 3: expected 3 fields, as in the header, found 2"),
        (TEXT.replace("c,,0", "c,,0,7").encode(), "line 3: expected 3 fields, as in the header, found 4"),
        (TEXT.replace("c,,0", 'c,",0').encode(), r"not a readable CSV \(unexpected end of data\)"),
        (TEXT.replace("c,,0", 'c,"a"b,0').encode(), "not a readable CSV"),
        (gzip.compress(TEXT.encode(), mtime=0)[:-12], "not a readable CSV"),
        (gzip.compress(TEXT.encode(), mtime=0)[:-8] + bytes(8), r"not a readable CSV \(CRC check failed"),
        (b"\x1f\x8b" + bytes(40), "not a readable CSV"),
        (TEXT.replace("größe", "name").encode(), "column 'größe' is missing; found name, name, finding"),
        (TEXT.replace("finding", "name").replace("größe", "finding").encode(), "column 'größe' is missing"),
        (TEXT.replace("finding\n", "finding,name\n").replace("0\n", "0,\n").encode(), "column 'name' occurs 2 times"),
        (TEXT.replace("name", "Name").encode(), "column 'name' is missing; found Name, "),
        (b'name,"gr\n\xc3\xb6\xc3\x9fe",finding\na,1,1\n', "column 'größe' is missing; found name, gr öße, finding"),
        (b"10000032,50414267,1\n", "are missing; found none of them among 3; is the first line a header"),
    ],
)  # fmt: skip
def test_an_invalid_csv_is_reported(tmp_path, content, message):
    path = tmp_path / "own.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        cells(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert "10000032" not in str(caught.value)


def test_a_table_may_not_unpack_to_more_than_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MOST_BYTES", 10_000)
    monkeypatch.setattr(tables, "MOST_ROWS", 1_000)
    path, header = tmp_path / "own.csv", TEXT.splitlines()[0].encode()
    for content in (
        gzip.compress(TEXT.encode() + bytes(10**6)),
        TEXT.encode() + b"c,,0\n" * 5_000,
        header + b"\n" * 5_000,
        gzip.compress(header + b"\r" * 5_000),
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"more than (10,000 bytes|1,000 rows)"):
            cells(path)
    frames = {
        "rows": pd.DataFrame({"name": np.zeros(2_000, np.int8)}),
        "bytes": pd.DataFrame({"name": [str(number) * 10 for number in range(999)]}),
        "one text repeated": pd.DataFrame({"name": ["x" * 1_000] * 900}),
    }
    for table in frames.values():
        table.assign(größe=1, finding=0).to_parquet(path, compression="zstd")
        with pytest.raises(UserError, match=r"more than (10,000 bytes|1,000 rows)"):
            cells(path)


def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "own.csv")
    with pytest.raises(UserError, match="not a regular file"):
        cells(tmp_path / "own.csv")
    assert find_tables("table", tmp_path, file="own.csv") == ([], ["own.csv"])
    os.mkfifo(tmp_path / "Data_Entry_2017.csv")
    assert "Data_Entry_2017*.csv" in find_tables("nih_chestxray14", tmp_path)[1]


def test_files_that_cannot_be_opened_are_reported(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        cells(tmp_path / "own.csv")
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\)"):
        cells(tmp_path)


def own_index(root: Path, content: bytes) -> pd.DataFrame | None:
    """Return the index of a table with that content, or None if it is refused in one line."""
    (root / OWN.file).write_bytes(content)
    try:
        return read_release("table", root, table=OWN, max_quarantined=1.0)
    except UserError as error:
        assert str(error) and "\n" not in str(error) and "\0" not in str(error)
        return None


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    for name in "abc":
        touch(folder / f"{name}.png")
    assert own_index(folder, VALID)["path"].tolist() == ["a.png", "b.png", "c.png"]
    return folder


fuzz = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@fuzz
@given(
    st.lists(
        st.tuples(AT, st.integers(0, 6), st.one_of(st.sampled_from(PIECES), st.binary(max_size=3))),
        max_size=4,
    )
)
def test_a_mutated_table_is_refused_or_gives_a_valid_index(root, edits):
    content = VALID
    for start, length, piece in edits:
        content = content[:start] + piece + content[start + length :]
    index = own_index(root, content)
    if index is not None:
        check(index, "fuzz", undivided="patient_id")
        assert set(index["path"]) & {"a.png", "b.png", "c.png"}


@fuzz
@given(
    st.one_of(
        st.binary(max_size=200), st.binary(max_size=60).map(lambda tail: VALID.splitlines()[0] + b"\n" + tail)
    )
)
def test_random_bytes_are_refused_or_give_a_valid_index(root, content):
    for written in (content, gzip.compress(content), gzip.compress(content)[:-3]):
        index = own_index(root, written)
        assert index is None or len(index) > 0


@settings(fuzz, max_examples=60)
@given(adapter=st.sampled_from(["mimic_cxr_jpg", "nih_chestxray14"]), data=st.data())
def test_a_mutated_release_is_refused_or_gives_a_valid_index(adapter, data, tmp_path_factory):
    root = tmp_path_factory.mktemp(adapter)
    {"mimic_cxr_jpg": write_chest, "nih_chestxray14": write_nih}[adapter](root)
    path = data.draw(st.sampled_from(sorted(root.glob("*.csv*"))), "file")
    zipped = path.suffix == ".gz"
    content = gzip.decompress(path.read_bytes()) if zipped else path.read_bytes()
    start = data.draw(st.integers(0, len(content)), "start")
    length = data.draw(st.integers(0, 9), "length")
    piece = data.draw(st.one_of(st.sampled_from(PIECES), st.binary(max_size=3)), "piece")
    content = content[:start] + piece + content[start + length :]
    path.write_bytes(gzip.compress(content) if zipped else content)
    try:
        index = read_release(adapter, root, max_quarantined=1.0)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        check(index, "fuzz", undivided="patient_id")


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


def own(root: Path, table: pd.DataFrame | str, columns: dict[str, Any] = ALL, **options: Any) -> pd.DataFrame:
    """Index ``table``, a frame or the text of a CSV, next to its images."""
    for path in PATHS:
        touch(root / path)
    path = root / "my labels.csv"
    path.write_text(table if isinstance(table, str) else table.to_csv(index=False), encoding="utf-8")
    return read_release("table", root, table=Table(file=path.name, **columns), **options)


def test_a_table_becomes_an_index(tmp_path):
    index = own(tmp_path, frame())
    assert index["image_id"].tolist() == index["path"].tolist() == PATHS
    assert index["patient_id"].tolist() == ["17", "17", "4", "5"]
    assert index["study_id"].tolist() == ["s1", "s1", "s2", "s3"]
    assert index["official_split"].tolist() == ["train", "train", "validation", "test"]
    assert index["view"].fillna("").tolist() == ["PA", "LATERAL", "PA", ""]
    np.testing.assert_array_equal(index["fracture"], [1, 0, -1, np.nan])
    np.testing.assert_array_equal(index["Scoliosis (°)"], [1, 0, np.nan, -1])


def test_missing_columns_fall_back(tmp_path):
    alone = own(tmp_path, frame(), COLUMNS)
    assert alone["patient_id"].tolist() == alone["study_id"].tolist() == PATHS
    assert alone["official_split"].isna().all() and alone["view"].isna().all()
    by_study = own(tmp_path, frame(), COLUMNS | {"study_id": "study"})
    assert by_study["patient_id"].tolist() == ["s1", "s1", "s2", "s3"]
    by_patient = own(tmp_path, frame(), COLUMNS | {"patient_id": "patient"})
    assert by_patient["study_id"].tolist() == PATHS
    named = own(tmp_path, frame().assign(name=list("wxyz")), COLUMNS | {"image_id": "name"})
    assert named["image_id"].tolist() == named["patient_id"].tolist() == list("wxyz")


def test_parquet_gives_the_same_index_whatever_type_a_column_has(tmp_path):
    text = own(tmp_path, frame())
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


INVISIBLE = ("", " ", "\u00a0", "\ufeff", "\u200b\t", "\u202a", "\u3000\x0c")


@pytest.mark.parametrize("adapter", ["csv", "quoted", "parquet"])
def test_blanks_around_names_and_values_do_not_count(tmp_path, adapter):
    clean = own(tmp_path, frame())
    text = frame().astype("object").map(lambda value: "" if value is None or value != value else str(value))
    blank = iter(INVISIBLE * 20)
    table = text.map(lambda value: next(blank) + value + next(blank))
    table.columns = [next(blank) + name + next(blank) for name in table.columns]
    name = "own.parquet" if adapter == "parquet" else "own.csv"
    if adapter == "parquet":
        table.to_parquet(tmp_path / name)
    else:
        quoting = csv.QUOTE_ALL if adapter == "quoted" else csv.QUOTE_MINIMAL
        table.to_csv(tmp_path / name, index=False, quoting=quoting)
    pd.testing.assert_frame_equal(read_release("table", tmp_path, table=Table(file=name, **ALL)), clean)


def test_backslashes_are_read_as_slashes_unless_a_file_is_named_so(tmp_path, caplog):
    touch(tmp_path / "a\\b.png")
    names = ["über den Rücken\\b 1.png", ".\\c\\d\\e.dcm", "a\\b.png"]
    text = "file,finding\n" + "".join(f"{name},1\n" for name in names)
    index = own(tmp_path, text, {"path": "file", "labels": ["finding"]})
    assert index["path"].tolist() == [PATHS[1], PATHS[2], "a\\b.png"]
    assert "slashes for backslashes" in caplog.text and "files are there as written: 2" in caplog.text


def test_a_path_with_the_accents_of_another_system_is_found(tmp_path):
    for form in ("NFC", "NFD"):
        paths = [unicodedata.normalize(form, path) for path in PATHS]
        assert own(tmp_path, frame().assign(file=paths))["path"].tolist() == PATHS


def test_paths_relative_to_another_folder_are_explained(tmp_path):
    root = tmp_path / "hip"
    with pytest.raises(
        UserError, match=f"relative to {tmp_path}: set the root to it and table.file to hip/my labels.csv"
    ):
        own(root, frame().assign(file=[f"hip/{path}" for path in PATHS]))
    frame().to_csv(root / "c" / "own.csv", index=False)
    (root / "c" / "a.png").touch()
    for path in PATHS:
        (root / path).unlink()
    touch(root / "c" / "c" / "d" / "e.dcm")
    with pytest.raises(
        UserError, match=f"relative to {root}/c: set the root to it and table.file to own.csv"
    ):
        read_release("table", root, table=Table(file="c/own.csv", **ALL))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (["Train", "TRAINING", "val", "TEST"], ["train", "train", "validation", "test"]),
        (["train", "training", "Valid", "testing"], ["train", "train", "validation", "test"]),
        (["train", None, "dev", "Test"], ["train", None, "validation", "test"]),
    ],
)
def test_usual_names_of_splits_are_accepted(tmp_path, written, meant):
    index = own(tmp_path, frame().assign(fold=written))
    assert (
        index["official_split"].astype(object).where(index["official_split"].notna(), None).tolist() == meant
    )


def test_no_cell_is_repeated(tmp_path):
    secrets = ["SECRET-1", "SECRET-2", "SECRET-1", "SECRET-2"]
    for column in ("fracture", "fold"):
        with pytest.raises(UserError) as caught:
            own(tmp_path, frame().assign(**{column: secrets}))
        assert "SECRET" not in str(caught.value)
    with pytest.raises(UserError) as caught:
        own(tmp_path, frame().assign(view=secrets), views=["AP"])
    assert "SECRET" not in str(caught.value) and "look into the table" in str(caught.value)
    missing = [f"SECRET-{number // 2}/{number}.png" for number in range(4)]
    with pytest.raises(UserError) as caught:
        own(tmp_path, frame().assign(file=missing), COLUMNS)
    assert "SECRET" not in str(caught.value)


def test_a_table_without_a_header_shows_no_identifier(tmp_path):
    with pytest.raises(UserError, match="is the first line a header") as caught:
        own(tmp_path, "patient17,files17,1\n", {"path": "file", "labels": ["patient"]})
    assert "17" not in str(caught.value).removeprefix(str(tmp_path))


def test_truth_values_count_as_1_and_0(tmp_path):
    for words in ("True False TRUE false", "Yes no YES NO", "1.0 0 1e0 0.00"):
        np.testing.assert_array_equal(
            own(tmp_path, frame().assign(fracture=words.split()))["fracture"], [1, 0, 1, 0]
        )
    table = frame().assign(fracture=[True, False, True, False])
    expected = [1, 0, 1, 0]
    np.testing.assert_array_equal(own(tmp_path, table)["fracture"], expected)
    table.to_parquet(tmp_path / "own.parquet")
    np.testing.assert_array_equal(
        read_release("table", tmp_path, table=Table(file="own.parquet", **ALL))["fracture"], expected
    )


def test_views_of_a_table_are_filtered(tmp_path):
    assert own(tmp_path, frame(), views=["PA"])["path"].tolist() == [PATHS[0], PATHS[2]]
    with pytest.raises(UserError, match="the release names no views"):
        own(tmp_path, frame(), COLUMNS, views=["PA"])


def replaced(column: str, row: int, value: object) -> pd.DataFrame:
    table = frame().astype("object")
    table.loc[row, column] = value
    return table


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (replaced("file", 1, "a.png"), r"line 3, column 'file': it is also on an earlier line"),
        (replaced("file", 1, "./c/..//a.png"), r"line 3, column 'file': it leaves the root"),
        (replaced("file", 1, ".//a.png"), r"line 3, column 'file': it is also on an earlier line"),
        (replaced("file", 2, "/etc/hosts"), r"line 4, column 'file': it leaves the root"),
        (replaced("file", 2, "c/.."), r"line 4, column 'file': it leaves the root"),
        (replaced("file", 0, None), r"line 2, column 'file': expected a path, found a blank"),
        (replaced("patient", 3, None), r"line 5, column 'patient': expected an identifier, found a blank"),
        (replaced("patient", 3, "NaN"), r"line 5, column 'patient': expected an identifier, found a blank"),
        (replaced("patient", 3, "1.2E+08"), r"line 5, column 'patient': .*export the column as text"),
        (replaced("patient", 3, "'4"), r"line 5, column 'patient': it differs from an earlier one only in"),
        (replaced("patient", 3, '="4"'), r"line 5, column 'patient': it differs from an earlier one only in"),
        (replaced("patient", 1, 99), r"line 3, column 'study': this study has another patient"),
        (replaced("patient", 3, 4), r"line 5, column 'patient': this patient is also in another official split"),
        (replaced("fracture", 1, "2"), r"line 3, column 'fracture': expected 1, 0, -1 or a blank, .*grade"),
        (replaced("fracture", 1, "inf"), r"line 3, column 'fracture': .* found another number"),
        (replaced("fracture", 1, "present"), r"line 3, column 'fracture': .* found text"),
        (replaced("fold", 2, "fold2"), r"line 4, column 'fold': expected train, validation, test or a blank, found another"),
        (replaced("patient", 3, "04"), r"line 5, column 'patient': it differs from an earlier one only in"),
        (replaced("patient", 3, "4.0"), r"line 5, column 'patient': it differs from an earlier one only in"),
        (replaced("study", 3, "S1"), r"line 5, column 'study': it differs from an earlier one only in"),
        (replaced("file", 2, "C:\\images\\c.png"), r"line 4, column 'file': it leaves the root"),
        (replaced("file", 2, "..\\c.png"), r"line 4, column 'file': it leaves the root"),
        (frame().rename(columns={"file": "File", "view": "View"}), "columns 'file', 'view' are missing; found File, "),
        (frame()[:0], "the table has no rows"),
    ],
)  # fmt: skip
def test_errors_are_located_by_line(tmp_path, table, message):
    with pytest.raises(UserError, match=message) as caught:
        own(tmp_path, table)
    assert "my labels.csv" in str(caught.value) and "\n" not in str(caught.value)
    assert not any(path in str(caught.value) for path in (*PATHS, "/etc/hosts"))


def test_lines_are_counted_as_an_editor_counts_them(tmp_path):
    text = 'file,note,fracture\n\na.png,"two\nlines",1\n\nc/d/e.dcm,,3\n'
    with pytest.raises(UserError, match=r"line 6, column 'fracture': expected"):
        own(tmp_path, text, {"path": "file", "labels": ["fracture"]})


def test_names_that_do_not_fit_into_a_command_are_refused_with_the_configuration():
    fitting = [f"label {number}" for number in range(4_000)]
    assert len(Table(file="own.csv", path="file", labels=fitting).labels) == 4_000
    for labels in ([name * 4 for name in fitting], ["it's " * 200] * 90):
        with pytest.raises(ValueError, match="that fit into a command; choose fewer labels"):
            Table(file="own.csv", path="file", labels=labels)


def test_an_identifier_cannot_be_a_label(tmp_path):
    with pytest.raises(UserError, match="column 'patient' is given as a label and as a path or identifier"):
        own(tmp_path, frame(), ALL | {"labels": ["patient"]})


def test_links_that_leave_the_root_are_refused(tmp_path):
    root = tmp_path / "root"
    touch(tmp_path / "elsewhere" / "e.dcm")
    root.mkdir()
    (root / "away").symlink_to(tmp_path / "elsewhere")
    table = replaced("file", 2, "away/e.dcm")
    with pytest.raises(UserError, match=r"leaves the root \(row 3 of the index"):
        own(root, table)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([2.0**60, 1.0, 2.0, 3.0], r"column 'patient' holds floats beyond 2\^53"),
        ([b"1", b"2", b"3", b"4"], "column 'patient' holds binary"),
        ([[1], [2], [3], [4]], "column 'patient' holds list"),
        ([None] * 4, r"row 1, column 'patient': expected an identifier"),
    ],
)
def test_parquet_columns_that_cannot_be_identifiers_are_refused(tmp_path, column, message):
    frame().assign(patient=column).to_parquet(tmp_path / "own.parquet")
    with pytest.raises(UserError, match=message):
        read_release("table", tmp_path, table=Table(file="own.parquet", **ALL))


def test_a_damaged_parquet_file_is_reported(tmp_path):
    frame().to_parquet(tmp_path / "own.parquet")
    (tmp_path / "own.parquet").write_bytes((tmp_path / "own.parquet").read_bytes()[:-9])
    with pytest.raises(UserError, match=r"own\.parquet: not a readable Parquet file"):
        read_release("table", tmp_path, table=Table(file="own.parquet", **ALL))


ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/own-data.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    """Return the first block of the page in that language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)[0]


@pytest.fixture(scope="module")
def example() -> experiment.Config:
    return experiment.check(composition.composed(yaml.safe_load(block("yaml"))))


def test_the_example_reads_its_table(tmp_path, example):
    (tmp_path / "labels.csv").write_text(block("csv"))
    rows = pd.read_csv(io.StringIO(block("csv")))
    for name in rows["file"]:
        touch(tmp_path / name)
    hips = example.datasets["hips"]
    index = read_release("table", tmp_path, table=hips.table, views=hips.views)
    assert index["patient_id"].tolist() == ["17", "23"] and index["view"].tolist() == ["AP", "AP"]
    labels = index[list(hips.table.labels)].astype(object).where(index[list(hips.table.labels)].notna(), None)
    assert labels.to_numpy().tolist() == [[1, 0, 0, 1], [0, 1, -1, None]]


def test_paths_on_the_page_exist(example):
    for path in re.findall(r"\]\(\.\./([^)]+)\)|--configfile (config/\S+)", PAGE):
        assert (ROOT / (path[0] or path[1])).is_file()
    assert f"results/{example.run}/cards/hips.md" in PAGE
    assert f"results/data/{example.data}/hips/store" in PAGE
