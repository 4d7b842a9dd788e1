"""The schema with which editors check a configuration: it takes what the configuration takes, and marks what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from test_documents import examples

from moco_transfer.config.schema import schema

CONFIG = Path(__file__).parents[2] / "config"
FILES = sorted(CONFIG.rglob("*.yaml"))


def test_the_schema_is_up_to_date():
    """Run ``python -m moco_transfer.config.schema > config/schema.json`` if it is not."""
    assert json.loads((CONFIG / "schema.json").read_text()) == schema()


def mistakes(overlay: dict) -> list[str]:
    return [error.message for error in Draft202012Validator(schema()).iter_errors(overlay)]


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.relative_to(CONFIG).as_posix())
def test_every_part_and_overlay_fits(file):
    assert mistakes(yaml.safe_load(file.read_text())) == []


@pytest.mark.parametrize("document, overlay", examples())
def test_configurations_in_documents_fit(document, overlay):
    assert mistakes(overlay) == []


@pytest.mark.parametrize(
    "overlay",
    [
        {"sede": 1},
        {"seed": "one"},
        {"device": "gpu"},
        {"uses": "protocol.yaml"},
        {"datasets": {"hips": {"store": {"siez": 64}}}},
        {"datasets": {"hips": {"split": {"test": "Official"}}}},
        {"datasets": {"hips": {"table": {"labels": {"fracture": {"from": "a", "positive": [True]}}}}}},
        {"targets": {"hips": {"percents": [10]}}},
        {"sources": {"imagenet": {"encoder": "resnet50", "input": {"mean": 127.5}}}},
        {"moco": {"augment": [{"rotat": 10}]}},
    ],
    ids=json.dumps,
)
def test_mistakes_are_marked(overlay):
    assert len(mistakes(overlay)) == 1


def test_an_entry_is_removed_by_null():
    assert mistakes({"targets": {"chest": None}, "controls": {"size": {"chest-as-knee": None}}}) == []
    assert mistakes({"targets": None})
