"""Raw label values become targets by a table that can be read off decision 5."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from moco_transfer.data.labels import COLUMNS, has_labels, label_columns, read_targets


@pytest.fixture
def index() -> pd.DataFrame:
    frame = pd.DataFrame({column: ["a", "b", "c", "d"] for column in COLUMNS})
    frame["Edema"] = np.array([1, 0, -1, np.nan], dtype=np.float32)
    frame["No Finding"] = np.array([np.nan, 1, np.nan, np.nan], dtype=np.float32)
    return frame


def test_label_columns_are_those_after_view(index: pd.DataFrame) -> None:
    assert label_columns(index.columns) == ["Edema", "No Finding"]


@pytest.mark.parametrize(("uncertain", "value"), [("zero", 0), ("one", 1), ("mask", np.nan)])
def test_uncertain_is_a_choice_and_blank_is_always_zero(
    index: pd.DataFrame, uncertain: str, value: float, tmp_path: Path
) -> None:
    index.to_parquet(tmp_path / "index.parquet")
    classes, targets = read_targets(tmp_path / "index.parquet", uncertain)
    assert classes == ["Edema", "No Finding"]
    assert targets.dtype == np.float32
    np.testing.assert_array_equal(targets, [[1, 0], [0, 1], [value, 0], [0, 0]])


def test_an_uncertain_label_is_a_label(index: pd.DataFrame) -> None:
    np.testing.assert_array_equal(has_labels(index), [True, True, True, False])
