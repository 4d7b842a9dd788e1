"""The example of docs/own-data.md is a valid configuration whose columns are those of its table."""

from __future__ import annotations

import copy
import io
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from moco_transfer import config

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/own-data.md").read_text(encoding="utf-8")


def merged(base: dict, overlay: dict) -> dict:
    """Merge as Snakemake does: mappings key by key, everything else is replaced."""
    result = copy.deepcopy(base)
    for key, value in overlay.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    return found


@pytest.fixture(scope="module")
def example() -> config.Config:
    raw: dict = {}
    for text in (
        (ROOT / "config/config.yaml").read_text(encoding="utf-8"),
        (ROOT / "config/nih.yaml").read_text(encoding="utf-8"),
        block("yaml"),
    ):
        raw = merged(raw, yaml.safe_load(text))
    return config.check(raw)


def test_the_example_pretrains_on_chest_and_hip_and_scores_hip(example: config.Config) -> None:
    assert list(example.targets) == ["hip"]
    assert set(example.sources) == {"none", "chest", "hip", "chest+hip"}
    assert set(example.datasets) == {"hip", "chest", "natural"}
    assert (example.datasets["hip"].adapter, example.datasets["hip"].shareable) == ("table", False)


def test_the_columns_that_the_example_names_are_those_of_its_table(example: config.Config) -> None:
    rows = pd.read_csv(io.StringIO(block("csv")))
    table = example.datasets["hip"].table
    named = [table.path, table.patient_id, table.study_id, table.view, *table.labels]
    assert sorted(named) == sorted(rows.columns)
    assert rows[table.labels].isin([1, 0, -1]).where(rows[table.labels].notna(), True).all(axis=None)
    assert set(example.datasets["hip"].views) <= set(rows[table.view])


def test_paths_of_the_page_are_there(example: config.Config) -> None:
    for path in re.findall(r"\]\(\.\./([^)]+)\)|--configfile (config/\S+)", PAGE):
        assert (ROOT / (path[0] or path[1])).is_file()
    assert f"results/{example.run}/cards/hip.md" in PAGE
    assert f"results/data/{example.data}/hip/store" in PAGE
