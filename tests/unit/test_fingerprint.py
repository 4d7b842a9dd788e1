"""What a training depends on: every value and input by name, and nothing of where it runs."""

import json
import shutil

import pytest

from moco_transfer.errors import UserError
from moco_transfer.training.checkpoint import changed, fingerprint

SETTINGS = {"model": "m", "schedule": {"lr": 0.1, "epochs": 3}, "stream": ["spine", 1], "average": None}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps({"sha256": {"images.npy": "123"}, "versions": {}}))
    (folder / "initial").write_text("weights")
    (folder / "splits").write_text("rows")
    return folder


def found(folder, settings=SETTINGS):
    files = {"initial": [folder / "initial"], "rows": [folder / "splits", folder / "splits"]}
    return fingerprint(settings, [folder / "images.npy"], files)


def test_another_place_is_the_same_training(folder, tmp_path):
    moved = shutil.copytree(folder, tmp_path / "there")
    assert found(folder) == found(moved)


def test_every_setting_has_a_name(folder):
    names = {"model", "schedule.lr", "schedule.epochs", "stream", "average", "initial", "rows", "images"}
    assert set(found(folder)) == names


@pytest.mark.parametrize(
    "name, settings",
    [
        ("schedule.lr", SETTINGS | {"schedule": {"lr": 0.2, "epochs": 3}}),
        ("stream", SETTINGS | {"stream": ["spine", "1"]}),
        ("average", {key: value for key, value in SETTINGS.items() if key != "average"}),
    ],
)
def test_another_setting_is_named(folder, name, settings):
    assert changed(found(folder), found(folder, settings)) == [name]


@pytest.mark.parametrize(
    "name, file", [("initial", "initial"), ("rows", "splits"), ("images", "manifest.json")]
)
def test_another_input_is_named(folder, name, file):
    before = found(folder)
    (folder / file).write_text(json.dumps({"sha256": {"images.npy": "456"}}))
    assert changed(before, found(folder)) == [name]


def test_a_store_without_its_manifest_is_refused(folder):
    (folder / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"manifest.json: not there.*run again"):
        found(folder)
