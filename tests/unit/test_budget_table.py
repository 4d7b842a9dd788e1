"""The table of budgets: what full and matched validation images choose, and its last line against counts by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from moco_transfer.tables.budgets import budget_records, budget_table

SOURCES = ["none", "spine", "chest"]
TITLES = {"spine": "Spine", "chest": "Chest"}
FULL, MATCHED, LESS = "Full validation", "Matched validation", "Matched less full"
# (target, percent, labelled images, source), full and matched images, and the epochs that each of them chooses.
CELLS = [
    ("spine", "10", 580, "chest", 500, 500, 50, 50),
    ("spine", "1", 58, "spine", 500, 58, 50, 25),
    ("spine", "1", 58, "none", 500, 58, 25, 25),
    ("spine", "1", 58, "none-longer", 500, 58, 25, 50),
    ("chest", "0.05", 11, "none", 400, 11, 50, None),
    ("chest", "0.05", 11, "chest", 400, 11, 25, 50),
]
TESTED = {25: 0.70, 50: 0.73}


@pytest.fixture
def budgets() -> pd.DataFrame:
    rows = [
        {"target": target, "source": source, "percent": percent, "epochs": epochs, "selected": epochs == full}
        | {"images_full": n_full, "images_matched": n_matched}
        | {"selected_full": epochs == full, "selected_matched": epochs == matched}
        for target, percent, _, source, n_full, n_matched, full, matched in CELLS
        for epochs in TESTED
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def estimates() -> pd.DataFrame:
    rows = [
        {"target": target, "source": source, "percent": percent, "n_labeled": n, "mode": mode}
        | {"epochs": epochs, "auroc": 0.01 + auroc if source == "chest" else auroc}
        for target, percent, n, source, *_ in CELLS
        for mode, epochs, auroc in [("linear", 50, 0.1), *(("end_to_end", *pair) for pair in TESTED.items())]
    ]
    return pd.DataFrame(rows)


def test_records_hold_both_choices_with_the_test_auroc_of_each(budgets, estimates):
    records = budget_records(budgets, estimates, SOURCES).set_index(["target", "percent", "source"])
    assert records.index.tolist() == [
        ("spine", "1", "none"),
        ("spine", "1", "spine"),
        ("spine", "10", "chest"),
        ("chest", "0.05", "none"),
        ("chest", "0.05", "chest"),
    ]
    assert records["n_labeled"].tolist() == [58, 58, 580, 11, 11]
    assert records["epochs_full"].tolist() == [25, 50, 50, 50, 25]
    assert records["epochs_matched"].fillna(-1).tolist() == [25, 25, 50, -1, 50]
    assert records["auroc_full"].tolist() == pytest.approx([0.70, 0.73, 0.74, 0.73, 0.71])
    assert records["auroc_matched"].tolist() == pytest.approx([0.70, 0.70, 0.74, np.nan, 0.74], nan_ok=True)
    assert records["difference"].tolist() == pytest.approx([0, -0.03, 0, np.nan, 0.03], nan_ok=True)


def test_a_line_says_both_choices_and_the_last_one_how_far_they_differ(budgets, estimates):
    table = budget_table(budget_records(budgets, estimates, SOURCES), TITLES)
    assert table["", "Target"].tolist() == ["Spine", "Spine", "Spine", "Chest", "Chest", "In sum"]
    assert table["", "Lab. % (#)"].tolist()[:4] == ["1% (58)", "1% (58)", "10% (580)", "0.05% (11)"]
    assert table["", "Source"].tolist()[:2] == ["No MoCo", "Spine MoCo"]
    assert table[MATCHED, "Images"].tolist() == ["58", "58", "500", "11", "11", ""]
    assert table[FULL, "Epochs"].tolist() == ["25", "50", "50", "50", "25", ""]
    # The matched images of spine at 10% are all there are: not counted. Those of one cell hold one value: counted apart.
    changed = "2 of 3 change, 1 without a choice"
    assert table[MATCHED, "Epochs"].tolist() == ["25", "25", "50", "no choice", "50", changed]
    assert table[MATCHED, "Test AUROC"].tolist() == ["0.700", "0.700", "0.740", "", "0.740", ""]
    found = table[LESS, "Test AUROC"].tolist()
    assert found[:5] == ["+0.0000", "-0.0300", "+0.0000", "", "+0.0300"]
    assert found[5].startswith("mean +0.0000, largest ")


def test_the_largest_difference_keeps_its_sign_and_the_mean_is_over_all_that_are_compared(budgets, estimates):
    estimates.loc[(estimates["source"] == "spine") & (estimates["epochs"] == 25), "auroc"] = 0.64
    last = budget_table(budget_records(budgets, estimates, SOURCES), TITLES).iloc[-1]
    assert last[LESS, "Test AUROC"] == "mean -0.0200, largest -0.0900"


def test_without_fewer_matched_images_nothing_is_compared(budgets, estimates):
    every = budgets[budgets["percent"] == "10"]
    last = budget_table(budget_records(every, estimates, SOURCES), TITLES).iloc[-1]
    assert last[MATCHED, "Epochs"] == "0 of 0 change" and last[LESS, "Test AUROC"] == ""
