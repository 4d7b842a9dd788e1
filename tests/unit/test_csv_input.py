"""Reading CSV files: spellings that are read alike, damage that is named, and a fuzz that finds nothing else."""

from __future__ import annotations

import gzip
import io
import logging
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up_releases import touch, write_chest, write_nih

from moco_transfer.config.datasets import Table
from moco_transfer.data.adapters import read_release
from moco_transfer.data.adapters.tables import read_table as read_columns
from moco_transfer.data.index import check
from moco_transfer.errors import UserError

TEXT = 'name,größe,finding\n"a, b",1,\nc,,0\n'
EXPECTED = [["a, b", "1", None], ["c", None, "0"]]
OWN = Table(file="own.csv", path="path", labels=["finding"], patient_id="patient", official_split="fold")
VALID = b"path,patient,fold,finding\na.png,1,train,1\nb.png,2,test,0\nc.png,2,test,\n"
# What breaks readers: quotes, separators, line ends, NULs, marks of encodings, words for nothing.
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
    b"../",
    b"1e400",
]
AT = st.integers(0, len(VALID))


def cells(path: Path) -> list[list[str | None]]:
    table = read_columns(path, ["name", "größe", "finding"])
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
        gzip.compress(TEXT.encode()),
    ],
)  # fmt: skip
def test_spellings_of_one_table_are_read_alike(tmp_path: Path, content: bytes) -> None:
    for name in ("own.csv", "own.csv.gz"):
        (tmp_path / name).write_bytes(content)
        assert cells(tmp_path / name) == EXPECTED


def test_latin_1_is_read_with_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "own.csv").write_bytes(TEXT.encode("latin-1"))
    with caplog.at_level(logging.WARNING):
        assert cells(tmp_path / "own.csv") == EXPECTED
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'own.csv'}: not in UTF-8, read as Latin-1; check names with accents"
    ]


def parquet() -> bytes:
    buffer = io.BytesIO()
    pd.DataFrame({"name": ["a"]}).to_parquet(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\xef\xbb\xbf", "the file is empty"),
        (b"\n\nname\n", "the first line is blank"),
        (TEXT.splitlines()[0].encode(), "a header and no row"),
        (TEXT.replace(",", ";").encode(), "separated by semicolons; save it with commas"),
        (TEXT.replace(",", "\t").encode(), "separated by tabs; save it with commas"),
        (TEXT.encode("utf-16"), r"NUL bytes, so it is no CSV \(or one in UTF-16\)"),
        (TEXT.replace("c,", "c\0,").encode(), "NUL bytes"),
        (parquet(), "NUL bytes"),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "NUL bytes"),
        (b"<!DOCTYPE html>\n<html><head>\n", r"a web page, not a CSV \(a login page\?\)"),
        (TEXT.replace("c,,0", "c,0").encode(), "line 3: 3 fields were expected, as in the header, found 2"),
        (TEXT.replace("c,,0", "c,,0,7").encode(), "line 3: 3 fields were expected, as in the header, found 4"),
        (TEXT.replace("c,,0", 'c,",0').encode(), r"not a readable CSV \(unexpected end of data\)"),
        (TEXT.replace("c,,0", 'c,"a"b,0').encode(), "not a readable CSV"),
        (gzip.compress(TEXT.encode())[:-12], "not a readable CSV"),
        (gzip.compress(TEXT.encode())[:-8] + bytes(8), r"not a readable CSV \(CRC check failed"),
        (b"\x1f\x8b" + bytes(40), "not a readable CSV"),
        (TEXT.replace("größe", "name").encode(), "column 'größe' is missing; found name, name, finding"),
        (TEXT.replace("finding", "name").replace("größe", "finding").encode(), "column 'größe' is missing"),
        (TEXT.replace("finding\n", "finding,name\n").replace("0\n", "0,\n").encode(), "column 'name' occurs 2 times"),
        (TEXT.replace("name", "Name").encode(), r"column 'name' is missing; found .* did you mean 'Name'\?"),
        (b"10000032,50414267,1\n", "are missing; found none of them among 3; is the first line a header"),
    ],
)  # fmt: skip
def test_what_is_no_such_csv_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "own.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        cells(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert "10000032" not in str(caught.value)


def test_files_that_cannot_be_opened_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        cells(tmp_path / "own.csv")
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\)"):
        cells(tmp_path)


def own_index(root: Path, content: bytes) -> pd.DataFrame | None:
    """Return the index of a table with that content, or None where it is refused in one line."""
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
def test_a_mutated_table_is_refused_or_gives_a_valid_index(
    root: Path, edits: list[tuple[int, int, bytes]]
) -> None:
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
def test_random_bytes_are_refused_or_give_a_valid_index(root: Path, content: bytes) -> None:
    for written in (content, gzip.compress(content), gzip.compress(content)[:-3]):
        index = own_index(root, written)
        assert index is None or len(index) > 0


@settings(fuzz, max_examples=60)
@given(adapter=st.sampled_from(["mimic_cxr_jpg", "nih_chestxray14"]), data=st.data())
def test_a_mutated_release_is_refused_or_gives_a_valid_index(
    adapter: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
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
