"""Labels made from columns by rules: what they become, which rules and values are refused, and how they are described."""

from __future__ import annotations

import time
import unicodedata
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_releases import read_release
from pydantic import ValidationError

from moco_transfer.config import stages
from moco_transfer.config.datasets import Table
from moco_transfer.config.listing import is_number, plain
from moco_transfer.data import adapters
from moco_transfer.data.adapters.label_rules import made_labels
from moco_transfer.data.adapters.reading import Reading, in_words, read_reading, written
from moco_transfer.errors import UserError

WHERE = Path("own.csv")
VALUES = ["a", "b", "c", "2", "2.0", "A"]


def table(**keys) -> Table:
    return Table(file="own.csv", path="file", **keys)


def made(cells: dict[str, list[str | None]], **keys) -> pd.DataFrame:
    rows = pd.DataFrame(cells, dtype="str")
    rows.index = pd.RangeIndex(2, len(rows) + 2, name="line")
    return made_labels(rows, table(**keys), WHERE)


def one(cells: list[str | None], **rule) -> list[float | None]:
    values = made({"x": cells}, labels={"l": {"from": "x", **rule}})["l"]
    assert values.dtype == np.float32
    return [None if np.isnan(value) else value for value in values]


@pytest.mark.parametrize(
    ("cells", "rule", "expected"),
    [
        (["0", "1", "2", "3", None], {"positive": [2, 3]}, [0, 0, 1, 1, None]),
        (["2", "2.0", "02", "+2", "20", "2 b"], {"positive": ["2"]}, [1, 1, 1, 1, 0, 0]),
        (["2", "2.0"], {"positive": [2.0]}, [1, 1]),
        (["yes", "Yes", "no"], {"positive": ["yes"]}, [1, 0, 0]),
        (["yes", "no", "maybe", None], {"positive": ["yes"], "negative": ["no"]}, [1, 0, -1, None]),
        (["1.9", "2", "1e1", "-3", None, "na"], {"at_least": 2}, [0, 1, 1, 0, None, None]),
        (["0.5", ".25"], {"at_least": 0.5}, [1, 0]),
        (["a|b", "b", "b| c ", "|", None], {"positive": ["a", "c"], "separator": "|"}, [1, 0, 1, None, None]),
        (
            ["a|x", "x|n", "n", "n|n"],
            {"positive": ["a"], "negative": ["n"], "separator": "|"},
            [1, -1, 0, 0],
        ),
        # What programs write for a missing value is a blank, unless a rule says that it is a value.
        (["none", "NA", "mild"], {"positive": ["mild"]}, [None, None, 1]),
        (["none", "NA", "mild"], {"positive": ["mild"], "negative": ["none"]}, [0, None, 1]),
    ],
)
def test_a_rule_makes_a_label(cells, rule, expected):
    assert one(cells, **rule) == expected


cells = st.lists(st.tuples(*[st.sampled_from([None, *VALUES, "a|b", "c|2"])] * 2), min_size=1, max_size=30)


@settings(deadline=None, max_examples=60)
@given(cells, st.sets(st.sampled_from(["a", "b", "2"]), min_size=1), st.booleans())
def test_rules_are_those_of_a_computation_with_pandas(pairs, positive, with_negative):
    negative = {"c", "A"}
    rule = {"from": ["x", "y"], "positive": sorted(positive), "separator": "|"}
    rule |= {"negative": sorted(negative)} if with_negative else {}
    frame = pd.DataFrame(pairs, columns=["x", "y"])
    values = made({name: frame[name].tolist() for name in frame}, labels={"l": rule})["l"]
    # by indicator columns: 2.0 is another spelling of 2
    found = (frame["x"].fillna("") + "|" + frame["y"].fillna("")).str.replace("2.0", "2").str.get_dummies("|")
    yes = found.reindex(columns=sorted(positive), fill_value=0).any(axis=1)
    other = found.drop(columns=["", *positive, *negative], errors="ignore").any(axis=1)
    expected = pd.Series(0.0, frame.index)
    if with_negative:
        expected = expected.mask(other, -1)
    expected = expected.mask(yes, 1).mask(frame.isna().all(axis=1))
    np.testing.assert_array_equal(values, expected)


numbers = st.decimals(-1000, 1000, places=3).map(lambda number: f"{number:f}") | st.sampled_from(
    ["-0", "00", "+1", "1.", ".5", "1.50", "-.0", "007"]
)


@given(numbers, numbers)
def test_numbers_are_equal_if_their_values_are(first, second):
    assert is_number(first)
    assert (plain(first) == plain(second)) == (Decimal(first) == Decimal(second))


@pytest.mark.parametrize("text", ["", ".", "-", "1e3", "1,5", "1.2.3", "0x1", "٣", "nan"])
def test_other_text_is_no_number(text):
    assert not is_number(text) and plain(text) == text


def test_long_cells_of_zeros_are_compared_at_once():
    cells = ["0" * 20_000 + "x", "-" + "0" * 20_000 + "2.5" + "0" * 20_000, "." + "0" * 20_000 + "x"]
    start = time.perf_counter()
    assert one(cells, positive=[-2.5]) == [0, 1, 0]
    with pytest.raises(UserError, match="'at_least' expects a number"):
        one(cells, at_least=1)
    assert time.perf_counter() - start < 5


def test_letters_with_accents_are_the_same_in_both_forms_of_unicode():
    apart = unicodedata.normalize("NFD", "gutärtig")
    assert apart != "gutärtig" and one([apart, "gutärtig"], positive=["gutärtig"]) == [1, 1]
    assert one([apart, "gutärtig"], positive=[apart]) == [1, 1]


def test_classes_are_one_of_many():
    found = made({"kl": ["0", "2.0", None, "1"]}, classes={"from": "kl", "values": [0, 1, 2]})
    expected = pd.get_dummies(pd.Series([0, 2, np.nan, 1])).astype(float)
    expected.loc[2] = np.nan
    assert list(found) == ["kl 0", "kl 1", "kl 2"]
    np.testing.assert_array_equal(found, expected)
    named = made({"x": ["b", "none"]}, classes={"from": "x", "values": ["none", "b"]})
    assert list(named) == ["none", "b"] and named.to_numpy().tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"classes": {"from": "x", "values": ["Doe", "b"]}},
            r"own\.csv, line 3, column 'x': expected one of the values in 'classes', found another.* \(2 such",
        ),
        ({"labels": {"l": {"from": "x", "at_least": 2}}}, r"line 2, column 'x': 'at_least' expects a number"),
        ({"labels": ["x"]}, r'found text; .*labels: {NAME: {from: "x", positive: '),
        ({"labels": ["n"]}, r'another number; .* grade, .*labels: {NAME: {from: "n", at_least: 2}}'),
        ({"labels": {"l": {"from": "inf", "at_least": 2}}}, r"line 2, column 'inf': 'at_least' expects"),
    ],
)
def test_a_value_that_no_rule_allows_is_refused_and_not_repeated(keys, message):
    cells = {"x": ["Doe", "SECRET", "Miller", "b"], "n": ["4", "1", "0", "0"], "inf": ["inf", "1", "1", "1"]}
    with pytest.raises(UserError, match=message) as caught:
        made(cells, **keys)
    assert not {"SECRET", "Miller"} & set(str(caught.value).split()) and "\n" not in str(caught.value)


RULE = {"from": "x", "positive": ["a"]}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "give either 'labels' or 'classes'"),
        ({"labels": ["x"], "classes": {"from": "x", "values": ["a", "b"]}}, "give either 'labels' or"),
        ({"labels": {"l": {"from": "x"}}}, "give either 'positive', .* or 'at_least'"),
        ({"labels": {"l": RULE | {"at_least": 2}}}, "give either 'positive', .* or 'at_least'"),
        ({"labels": {"l": {"from": "x", "at_least": 2, "negative": ["a"]}}}, "belong to 'positive'"),
        ({"labels": {"l": RULE | {"negative": ["b", "a"]}}}, "'a' is in both"),
        ({"labels": {"l": {"from": "x", "positive": ["2"], "negative": [2.0]}}}, "'2' is in both"),
        ({"labels": {"l": {"from": "x", "positive": [2, "2.0"]}}}, "'2.0' is listed twice"),
        ({"labels": {"l": RULE | {"positive": ["a|b"], "separator": "|"}}}, "'a.b' holds the separator"),
        ({"labels": {"l": {"positive": ["a"]}}}, "from"),
        ({"labels": {"l": RULE | {"positive": [True]}}}, "in quotes.* YAML reads yes, no"),
        ({"labels": {"l": RULE | {"positive": [None]}}}, "valid string"),
        ({"labels": {"l": RULE, " l": RULE}}, "two labels are named 'l'"),
        ({"labels": {"l": {"from": [], "positive": ["a"]}}}, "at least 1 item"),
        ({"labels": {}}, "at least 1 item"),
        ({"classes": {"from": "x", "values": ["a"]}}, "at least 2 items"),
        ({"classes": {"from": "x", "values": ["a", " a"]}}, "'a' is listed twice"),
        ({"classes": {"from": "x", "values": [1, "x 1"]}}, "two of them become a label named 'x 1'"),
    ],
)
def test_rules_that_mean_nothing_are_refused(keys, message):
    with pytest.raises(ValidationError, match=message):
        table(**keys)


def test_rules_return_from_json_unchanged():
    keys = {"adapter": "table", "labeler": "chexpert", "views": None, "folders": None}
    for labels in (
        {
            "labels": {
                "l": RULE | {"negative": [0], "separator": "|"},
                "m": {"from": ["x", "y"], "at_least": 2},
            }
        },
        {"classes": {"from": "x", "values": [1, "b"]}},
        {"labels": ["x"]},
    ):
        chosen = stages.Index(table=table(**labels), **keys)
        text = chosen.model_dump_json()
        assert stages.Index.model_validate_json(text) == chosen and "from_" not in text
        assert ('"from"' in text) == (labels != {"labels": ["x"]})


GRADES = [0, 1, 2, 3, 4] * 8


@pytest.fixture
def release(tmp_path) -> Path:
    """A table of 40 images of 20 patients with a grade, a text and a column of identifiers."""
    count = len(GRADES)
    frame = pd.DataFrame(
        {
            "file": [f"{n}.png" for n in range(count)],
            "person": [f"p{n // 2}" for n in range(count)],
            "grade": GRADES,
            "finding": ["none", "fracture; implant"] * (count // 2),
            "name": [f"DOE {n}" for n in range(count)],
            "rare": ["common"] * (count - 1) + ["DOE"],
        }
    )
    frame.to_csv(tmp_path / "own.csv", index=False)
    for name in frame["file"]:
        (tmp_path / name).touch()
    return tmp_path


def reading(root: Path, **keys) -> Reading:
    keys = {"patient_id": "person"} | keys
    chosen = stages.Index(adapter="table", labeler="chexpert", views=None, table=table(**keys), folders=None)
    return adapters.read_release(chosen, root, 0.0)[1]


def test_labels_of_a_table_are_made_by_rules(release):
    rules = {
        "osteoarthritis": {"from": "grade", "at_least": 2},
        "implant": {"from": "finding", "positive": ["implant"], "negative": ["none"], "separator": ";"},
    }
    index = read_release("table", release, table=table(labels=rules, patient_id="person"))
    np.testing.assert_array_equal(index["osteoarthritis"], np.array(GRADES) >= 2)
    # 'fracture' is in neither list, and 'implant' is stronger
    np.testing.assert_array_equal(index["implant"], [0, 1] * 20)


def test_parquet_and_csv_give_the_same_labels(release):
    rule = {"from": "finding", "positive": ["fracture"], "negative": ["none"], "separator": ";"}
    chosen = {"labels": {"l": rule, "oa": {"from": "grade", "positive": [2, 3, 4]}}}
    expected = read_release("table", release, table=table(**chosen))
    frame = pd.read_csv(release / "own.csv", keep_default_na=False)
    frame.astype({"grade": float}).to_parquet(release / "own.parquet")
    found = read_release("table", release, table=Table(file="own.parquet", path="file", **chosen))
    pd.testing.assert_frame_equal(found, expected)
    assert set(expected["l"]) == {0, 1}


def test_the_reading_counts_labels_and_patients(release):
    found = reading(release, labels={"oa": {"from": "grade", "positive": [2, 3, 4]}})
    assert (found.images, found.patients, found.median, found.most, found.studies) == (40, 20, 2.0, 2, 40)
    assert found.roles["patient_id"] == "person" and found.roles["view"] is None
    (label,) = found.labels
    assert (label.rule, label.present, label.absent, label.uncertain, label.blank) == (
        "'2', '3' or '4'", 24, 16, 0, 0,
    )  # fmt: skip
    (column,) = found.columns
    assert column.values == dict.fromkeys("01234", 8) and (column.distinct, column.others) == (5, 0)
    assert found.warnings() == []


def test_values_that_may_be_identifiers_are_only_counted(release):
    found = reading(
        release,
        labels={
            "l": {"from": "name", "positive": ["DOE 3", "Smith"]},
            "m": {"from": "rare", "positive": ["common"]},
        },
    )
    by_name, rare = found.columns
    assert (by_name.values, by_name.distinct, by_name.others) == ({"DOE 3": 1, "Smith": 0}, 40, 39)
    assert (rare.values, rare.others) == ({"common": 39}, 1)
    assert "DOE 4" not in written(found) and '"DOE"' not in written(found)
    assert found.warnings() == [
        "Fewer than 5 images with the value 1: 'l' (1).",
        "The configuration names values that never occur: 'Smith' (label 'l' from name).",
    ]
    assert found.warnings(learned=False) == []


def test_without_patients_only_values_of_the_configuration_are_shown(release):
    found = reading(release, labels={"oa": {"from": "grade", "positive": [4]}}, patient_id=None)
    assert found.columns[0].values == {"4": 8} and found.columns[0].others == 4
    assert "each image counts as a patient" in found.warnings()[0]
    study = reading(
        release, labels={"l": {"from": "grade", "at_least": 1}}, patient_id=None, study_id="person"
    )
    assert "each study counts as a patient" in study.warnings()[0]


def test_values_in_other_capitals_are_pointed_at(tmp_path):
    cells = ["yes", "Yes", " YES ", "no", "left  knee", "A", "a", "maybe"]
    frame = pd.DataFrame({"file": [f"{n}.png" for n in range(8)], "x": cells})
    frame.to_csv(tmp_path / "own.csv", index=False)
    for name in frame["file"]:
        (tmp_path / name).touch()
    rules = {
        "l": {"from": "x", "positive": ["yes", "left knee"], "negative": ["no"]},
        "m": {"from": "x", "positive": ["A"], "negative": ["a"]},
    }
    found = reading(tmp_path, labels=rules, patient_id=None)
    assert [label.spelled for label in found.labels] == [["yes", "left knee"], []]
    warning = next(each for each in found.warnings() if "capitals" in each)
    assert "'yes' (label 'l' from x)" in warning and "YES" not in warning
    assert found.columns[0].values == {"A": 1, "a": 1, "left knee": 0, "no": 1, "yes": 1}


def test_floats_of_a_parquet_file_are_compared_as_they_are_written(release):
    frame = pd.read_csv(release / "own.csv", keep_default_na=False)
    chosen = {"labels": {"l": {"from": "grade", "positive": [0.1]}}}
    for kind in (np.float32, np.float64):
        frame["grade"] = np.array([0.1, 0.25, np.nan, 3, 0.1] * 8, kind)
        frame.to_parquet(release / "own.parquet")
        found = read_release("table", release, table=Table(file="own.parquet", path="file", **chosen))
        np.testing.assert_array_equal(found["l"], [1, 0, np.nan, 0, 1] * 8)
    # A float32 is exact up to 2^24.
    frame["grade"] = np.array([2.0**24 + 2] * 40, np.float32)
    frame.to_parquet(release / "own.parquet")
    with pytest.raises(UserError, match=r"floats beyond 2\^24"):
        read_release("table", release, table=Table(file="own.parquet", path="file", **chosen))


def test_rules_in_words():
    rules = table(
        labels={
            "a": {"from": "x", "at_least": 2.5},
            "b": {"from": "x", "positive": ["u"], "negative": ["v", "w"], "separator": ";"},
            "c": {"from": "x", "positive": list(range(10))},
        }
    ).rules
    assert [in_words(rule) for rule in rules.values()] == [
        "at least 2.5",
        "'u' among the parts between ';'; 0 if 'v' or 'w'; else -1",
        "'0', '1', '2', '3', '4', '5', '6', '7' or 2 more",
    ]


def test_a_reading_that_is_damaged_is_an_error_and_a_release_has_none(tmp_path):
    path = tmp_path / "reading.json"
    path.write_text(written(None))
    assert read_reading(path) is None
    path.write_text('{"source": "table"')
    with pytest.raises(UserError, match="damaged"):
        read_reading(path)


def test_a_value_in_one_of_several_columns_occurs(release):
    rule = {"from": ["finding", "grade"], "positive": ["implant", "4", "5"], "separator": ";"}
    (label,) = reading(release, labels={"l": rule}).labels
    assert label.never == ["5"]
