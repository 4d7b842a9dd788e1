"""The table of classes: every class of several, the averages below them, and the row of the macro average in table 3."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from moco_transfer.report.tables import auroc_table
from moco_transfer.tables.classes import class_records, class_table

TITLES = {"spine": "Spine", "chest": "Chest"}
CELLS = [
    ("chest", "none", "linear", "10", 100, True),
    ("chest", "chest", "linear", "10", 100, True),
    ("chest", "none", "end_to_end", "10", 25, False),
    ("chest", "none", "end_to_end", "10", 50, True),
    ("chest", "none", "linear", "0.5", 100, True),
    ("spine", "none", "linear", "1", 100, True),
]
LINEAR = "MoCo + Linear Finetuning"


@pytest.fixture
def estimates() -> pd.DataFrame:
    frame = pd.DataFrame(CELLS, columns=["target", "source", "mode", "percent", "epochs", "selected"])
    frame = frame.assign(n_labeled=58, auroc=0.7, macro=0.65, median=0.71, lower=0.69, upper=0.73)
    return frame.assign(macro=np.where(frame["target"] == "spine", 0.7, 0.65))


@pytest.fixture
def classes() -> pd.DataFrame:
    rows = [
        {"target": target, "source": source, "mode": mode, "percent": percent, "epochs": epochs}
        | {"class": name, "positives": positives, "auroc": auroc, "lower": auroc - 0.1, "upper": auroc + 0.05}
        for target, source, mode, percent, epochs, _ in CELLS
        for name, positives, auroc in (("edema", 40, 0.8), ("hernia", 0, np.nan), ("mass", 9, 0.6))
        if target == "chest" or name == "edema"
    ]
    return pd.DataFrame(rows)


def test_each_class_has_a_row_with_its_interval_and_the_averages_follow(classes, estimates):
    table = class_table(classes, estimates, TITLES, "weighted")
    names = table["", "Class"].tolist()
    assert names == 2 * ["edema", "hernia", "mass", "weighted average", "macro average"]
    assert table["", "Lab. % (#)"].tolist() == 5 * ["0.5% (58)"] + 5 * ["10% (58)"]
    assert table["", "Positives"].tolist() == 2 * ["40", "0", "9", "", ""]
    assert set(table["", "Target"]) == {"Chest"}  # spine's one class is in table 2 already
    of_none = ["0.800 (0.700–0.850)", "", "0.600 (0.500–0.650)", "0.700 (0.690–0.730)", "0.650"]
    assert table[LINEAR, "No MoCo"].tolist() == 2 * of_none
    assert table[LINEAR, "Chest MoCo"].tolist() == 5 * [""] + of_none
    assert table["MoCo + End-to-end Finetuning", "No MoCo"].tolist() == 5 * [""] + of_none


def test_a_run_that_averages_by_macro_has_one_average(classes, estimates):
    names = class_table(classes, estimates, TITLES, "macro")["", "Class"].tolist()
    assert names == 2 * ["edema", "hernia", "mass", "macro average"]


def test_targets_of_one_class_are_shown_where_there_is_no_other(classes, estimates):
    frames = (frame[frame["target"] == "spine"] for frame in (classes, estimates))
    table = class_table(*frames, TITLES, "weighted")
    assert table["", "Class"].tolist() == ["edema", "weighted average", "macro average"]


def test_records_hold_every_class_of_every_budget_and_target(classes, estimates):
    records = class_records(classes, estimates)
    assert len(records) == len(classes) and records["n_labeled"].eq(58).all()
    assert records[~records["selected"]]["epochs"].unique().tolist() == [25]


def test_table_3_has_a_row_of_macro_averages_and_table_2_with_one_class_has_none(estimates):
    chest = auroc_table(estimates, "chest", "Chest", None)
    assert chest["", "Result"].tolist() == 2 * ["this run", "this run, macro"]
    linear = chest[LINEAR + " on Chest", "No MoCo"].tolist()
    assert linear == 2 * ["0.710 (0.690–0.730)", "0.650"]
    spine = auroc_table(estimates, "spine", "Spine", None)
    assert ("", "Result") not in spine.columns and len(spine) == 1
