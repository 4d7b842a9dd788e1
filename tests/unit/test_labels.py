"""Raw label values become targets (decision 5); Parquet columns are read as by pandas, without importing
it."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from moco_transfer.data.labels import COLUMNS, has_labels, label_columns, read_targets
from moco_transfer.files import as_numpy, read_columns, rows_among


@pytest.fixture
def index() -> pd.DataFrame:
    frame = pd.DataFrame({column: ["a", "b", "c", "d"] for column in COLUMNS})
    frame["Edema"] = np.array([1, 0, -1, np.nan], dtype=np.float32)
    frame["No Finding"] = np.array([np.nan, 1, np.nan, np.nan], dtype=np.float32)
    return frame


def test_label_columns_are_those_after_view(index):
    assert label_columns(index.columns) == ["Edema", "No Finding"]


@pytest.mark.parametrize(("uncertain", "value"), [("zero", 0), ("one", 1), ("mask", np.nan)])
def test_uncertain_labels_are_configurable_and_blanks_are_zero(index, uncertain, value, tmp_path):
    index.to_parquet(tmp_path / "index.parquet")
    classes, targets = read_targets(tmp_path / "index.parquet", uncertain)
    assert classes == ["Edema", "No Finding"]
    assert targets.dtype == np.float32
    np.testing.assert_array_equal(targets, [[1, 0], [0, 1], [value, 0], [0, 0]])


def test_an_uncertain_label_is_a_label(index):
    np.testing.assert_array_equal(has_labels(index), [True, True, True, False])


def test_readers_agree_with_pandas(tmp_path):
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "row": generator.permutation(1000),
            "label": generator.random(1000).astype(np.float32),
            "blank": np.where(generator.random(1000) < 0.3, np.nan, 1.0),
            "split": generator.choice(["train", "validation", "test", None], 1000),
        }
    )
    frame["missing"] = frame["blank"].astype("Float64")
    path = tmp_path / "table.parquet"
    frame.to_parquet(path, row_group_size=300)
    table = read_columns(path, [*frame.columns, "absent"])
    for name in ("row", "label", "blank", "missing"):
        found = as_numpy(table[name])
        np.testing.assert_array_equal(
            found,
            frame[name].to_numpy(dtype=found.dtype, na_value=np.nan) if name == "missing" else frame[name],
        )
        assert found.dtype == (np.float64 if name == "missing" else frame[name].dtype)
    for names in (["train"], ["validation", "test"], ["nothing"]):
        np.testing.assert_array_equal(
            rows_among(table["split"], names), np.flatnonzero(frame["split"].isin(names))
        )


def test_reading_imports_no_pandas(tmp_path):
    path = tmp_path / "table.parquet"
    pd.DataFrame({"row": [3, 1], "split": ["train", "test"]}).to_parquet(path)
    code = (
        "import sys; from pathlib import Path; from moco_transfer.data.labels import split_rows, subset_rows; "
        f"path = Path({str(path)!r}); assert subset_rows(path).tolist() == [3, 1]; "
        "assert split_rows(path, ['test']).tolist() == [1]; assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
