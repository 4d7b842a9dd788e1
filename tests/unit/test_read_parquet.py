"""Columns of Parquet files against pandas, and what reading them does not import."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from moco_transfer.files import as_numpy, read_columns, rows_among


def test_numbers_and_rows_are_those_of_pandas(tmp_path):
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
    assert pq.read_metadata(path).num_rows == 2
    code = (
        "import sys; from pathlib import Path; from moco_transfer.data.labels import split_rows, subset_rows; "
        f"path = Path({str(path)!r}); assert subset_rows(path).tolist() == [3, 1]; "
        "assert split_rows(path, ['test']).tolist() == [1]; assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
