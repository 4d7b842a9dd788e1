"""Tables as input: encodings, errors, a user's own table, and the documentation page about it."""

import csv
import gzip
import io
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up_releases import read_release, touch, write_chest, write_nih

from moco_transfer.config import experiment
from moco_transfer.config.datasets import Table
from moco_transfer.data.adapters.tables import read_table
from moco_transfer.data.index import check
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
    assert table.fillna("")[["a", "b"]].to_numpy().tolist() == records
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
        (b"<!DOCTYPE html>\n<html><head>\n", r"a web page, not a CSV \(a login page\?\)"),
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


def test_truth_values_count_as_1_and_0(tmp_path):
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
        (replaced("patient", 1, 99), r"line 3, column 'study': this study has another patient"),
        (replaced("patient", 3, 4), r"line 5, column 'patient': this patient is also in another official split"),
        (replaced("fracture", 1, "2"), r"line 3, column 'fracture': expected 1, 0, -1 or a blank, found '2'"),
        (replaced("fracture", 1, "NaN"), r"line 3, column 'fracture': .* found 'NaN'"),
        (replaced("fracture", 1, "inf"), r"line 3, column 'fracture': .* found 'inf'"),
        (replaced("fracture", 1, "present"), r"line 3, column 'fracture': .* found 'present'"),
        (replaced("fold", 2, "val"), r"line 4, column 'fold': expected train, validation, test or a blank, found 'val'"),
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
    with pytest.raises(UserError, match=r"line 6, column 'fracture': .*found '3'"):
        own(tmp_path, text, {"path": "file", "labels": ["fracture"]})


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
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    return found


@pytest.fixture(scope="module")
def example() -> experiment.Config:
    raw: dict = {}
    for text in (
        (ROOT / "config/config.yaml").read_text(encoding="utf-8"),
        (ROOT / "config/nih.yaml").read_text(encoding="utf-8"),
        block("yaml"),
    ):
        raw = experiment.merge(raw, yaml.safe_load(text))
    return experiment.check(raw)


def test_the_example_pretrains_on_chest_and_hip_and_scores_hip(example):
    assert list(example.targets) == ["hip"]
    assert set(example.sources) == {"none", "chest", "hip", "chest+hip"}
    assert set(example.datasets) == {"hip", "chest", "natural"}
    assert (example.datasets["hip"].adapter, example.datasets["hip"].shareable) == ("table", False)


def test_the_example_names_the_columns_of_its_table(example):
    rows = pd.read_csv(io.StringIO(block("csv")))
    table = example.datasets["hip"].table
    named = [table.path, table.patient_id, table.study_id, table.view, *table.labels]
    assert sorted(named) == sorted(rows.columns)
    assert rows[table.labels].isin([1, 0, -1]).where(rows[table.labels].notna(), True).all(axis=None)
    assert set(example.datasets["hip"].views) <= set(rows[table.view])


def test_paths_on_the_page_exist(example):
    for path in re.findall(r"\]\(\.\./([^)]+)\)|--configfile (config/\S+)", PAGE):
        assert (ROOT / (path[0] or path[1])).is_file()
    assert f"results/{example.run}/cards/hip.md" in PAGE
    assert f"results/data/{example.data}/hip/store" in PAGE
