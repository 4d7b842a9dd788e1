"""Raw label values become targets by a table that can be read off decision 5."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from moco_transfer.data.index import COLUMNS
from moco_transfer.data.labels import has_labels, label_columns, label_matrix


@pytest.fixture
def index() -> pd.DataFrame:
    frame = pd.DataFrame({column: ["a", "b", "c", "d"] for column in COLUMNS})
    frame["Edema"] = np.array([1, 0, -1, np.nan], dtype=np.float32)
    frame["No Finding"] = np.array([np.nan, 1, np.nan, np.nan], dtype=np.float32)
    return frame


def test_label_columns_are_those_after_view(index: pd.DataFrame) -> None:
    assert label_columns(index) == ["Edema", "No Finding"]


@pytest.mark.parametrize(("uncertain", "value"), [("zero", 0), ("one", 1), ("mask", np.nan)])
def test_uncertain_is_a_choice_and_blank_is_always_zero(
    index: pd.DataFrame, uncertain: str, value: float
) -> None:
    targets = label_matrix(index, uncertain)
    assert targets.dtype == np.float32
    np.testing.assert_array_equal(targets, [[1, 0], [0, 1], [value, 0], [0, 0]])
    assert index["Edema"].iloc[2] == -1  # the index itself keeps the raw values


def test_an_uncertain_label_is_a_label(index: pd.DataFrame) -> None:
    np.testing.assert_array_equal(has_labels(index), [True, True, True, False])
