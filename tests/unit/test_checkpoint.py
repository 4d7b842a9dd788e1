"""The state on disk: whole or not there, never another training's, and saved once more when a signal comes."""

import json
import os
import resource
import shutil
import signal

import pytest
import torch

from moco_transfer.errors import UserError
from moco_transfer.training import checkpoint as module
from moco_transfer.training.checkpoint import Checkpoint, changed, fingerprint
from moco_transfer.training.ranks import Ranks

KNOWN = {"lr": "0.1", "initial": "abc"}
STATE = {
    "weights": {"a": torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last)},
    "buffers": [None, torch.arange(3)],
    "rows": [{"loss": 0.1 + 0.2, "epoch": 3}],
}


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SECONDS_BETWEEN_SAVES", 0)
    return tmp_path / "state" / "checkpoint.pt"


def test_what_is_read_is_what_was_saved(path):
    assert Checkpoint(path, KNOWN).read() is None
    Checkpoint(path, KNOWN).after_step(lambda: STATE)
    found = Checkpoint(path, KNOWN).read()
    assert torch.equal(found["weights"]["a"], STATE["weights"]["a"])
    assert found["weights"]["a"].stride() == STATE["weights"]["a"].stride()
    assert found["buffers"][0] is None and found["rows"] == STATE["rows"]


def test_a_state_is_saved_when_its_time_has_come_and_not_before(path, monkeypatch):
    monkeypatch.setattr(module, "SECONDS_BETWEEN_SAVES", 60)
    clock = iter([0.0, 59.9, 60.0, 60.0, 119.9, 120.0, 120.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    checkpoint, saved = Checkpoint(path, KNOWN), []
    for step in range(4):
        checkpoint.after_step(lambda step=step: saved.append(step) or {})
    assert saved == [1, 3]


@pytest.mark.parametrize(
    "known, message",
    [
        ({"lr": "0.2", "initial": "abc"}, "changed since then: lr"),
        ({"lr": "0.1", "initial": "abc", "seed": "1"}, "changed since then: seed"),
        ({"lr": "0.1"}, "changed since then: initial"),
    ],
)
def test_the_state_of_another_training_is_set_aside_and_the_difference_named(path, caplog, known, message):
    Checkpoint(path, KNOWN).after_step(lambda: STATE)
    before = path.read_bytes()
    with caplog.at_level("INFO"):
        assert Checkpoint(path, known).read() is None
    assert len(caplog.messages) == 1 and caplog.messages[0].endswith(message)
    assert not path.exists() and path.with_name("set_aside.pt").read_bytes() == before


@pytest.mark.parametrize("keep", [0, 10, 1000])
def test_bytes_that_are_no_state_are_set_aside(path, caplog, keep):
    Checkpoint(path, KNOWN).after_step(lambda: STATE)
    path.write_bytes(path.read_bytes()[:keep])
    with caplog.at_level("INFO"):
        assert Checkpoint(path, KNOWN).read() is None
    assert caplog.messages[0].endswith("it cannot be read") and not path.exists()


def test_nothing_is_unpickled_that_could_run(path):
    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(path.parent / "run"),)

    path.parent.mkdir()
    torch.save({"fingerprint": KNOWN, "state": Harmful()}, path)
    assert Checkpoint(path, KNOWN).read() is None
    assert not (path.parent / "run").exists()


def test_a_full_disk_leaves_the_state_before(path):
    Checkpoint(path, KNOWN).after_step(lambda: STATE)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
    try:
        with pytest.raises(UserError, match="no space left on") as caught:
            Checkpoint(path, KNOWN).after_step(lambda: STATE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_the_next_step_and_ends_the_process(path, monkeypatch, number, status):
    monkeypatch.setattr(module, "SECONDS_BETWEEN_SAVES", 1e9)
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as caught, Checkpoint(path, KNOWN) as checkpoint:
        checkpoint.read()
        checkpoint.after_step(lambda: {"step": 1})
        assert not path.exists()
        os.kill(os.getpid(), number)
        checkpoint.after_step(lambda: {"step": 2})
    assert caught.value.code == status and signal.getsignal(number) is before
    assert Checkpoint(path, KNOWN).read() == {"step": 2}


def test_a_signal_before_the_state_is_read_ends_the_process_at_once(path):
    with pytest.raises(SystemExit) as caught, Checkpoint(path, KNOWN):
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("went on")
    assert caught.value.code == 143


@pytest.mark.parametrize("rank", [0, 1])
def test_ranks_stop_when_all_agree_and_not_when_a_signal_has_just_come(path, monkeypatch, rank):
    monkeypatch.setattr(module, "SECONDS_BETWEEN_SAVES", 1e9)
    checkpoint = Checkpoint(path, KNOWN, Ranks(rank, 2))
    if rank == 1:
        checkpoint.received = signal.SIGTERM  # after the others were told that there is none
    checkpoint.after_step(lambda: {"step": 1})
    assert not path.exists()
    checkpoint.agree(True)
    with pytest.raises(SystemExit) as stopped:
        checkpoint.after_step(lambda: {"step": 2})
    assert stopped.value.code == 143
    assert path.exists() == (rank == 0)  # rank 0 alone writes


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
