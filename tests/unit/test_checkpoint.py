"""The state on disk: whole or not there, never another training's, and saved once more when a signal comes."""

import errno
import json
import os
import resource
import shutil
import signal

import pytest
import torch

from moco_transfer import checksums
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
    assert caplog.messages[0].endswith("it is damaged") and not path.exists()


@pytest.mark.parametrize("place", [0, 0.3, 0.6, 0.9, -1, -70])
def test_one_flipped_bit_is_noticed(path, caplog, place):
    Checkpoint(path, KNOWN).after_step(lambda: STATE)
    content = bytearray(path.read_bytes())
    content[int(place * len(content)) if 0 < place < 1 else place] ^= 0x40
    path.write_bytes(content)
    with caplog.at_level("INFO"):
        assert Checkpoint(path, KNOWN).read() is None
    assert caplog.messages[0].endswith("it is damaged") and not path.exists()


def test_a_state_that_the_machine_cannot_read_now_stays(path, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    Checkpoint(path, KNOWN).after_step(lambda: STATE)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="Input/output"):
        patch.setattr(torch, "load", fail)
        Checkpoint(path, KNOWN).read()
    assert Checkpoint(path, KNOWN).read()["rows"] == STATE["rows"]


def test_of_many_changes_a_few_are_named(path, caplog):
    Checkpoint(path, {f"code of {number}": "1" for number in range(9)}).after_step(lambda: STATE)
    with caplog.at_level("INFO"):
        assert Checkpoint(path, {}).read() is None
    assert "code of 0, " in caplog.text and caplog.messages[0].endswith("and 4 more")


def test_nothing_is_unpickled_that_could_run(path):
    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(path.parent / "run"),)

    path.parent.mkdir()
    torch.save({"fingerprint": KNOWN, "state": Harmful()}, path)
    checksums.seal(path)
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
    return fingerprint("moco_transfer.seeds", settings, [folder / "images.npy"], files)


def test_another_place_is_the_same_training(folder, tmp_path):
    moved = shutil.copytree(folder, tmp_path / "there")
    assert found(folder) == found(moved)


def test_every_setting_has_a_name(folder):
    names = {"model", "schedule.lr", "schedule.epochs", "stream", "average", "initial", "rows", "images"}
    code = {"code of moco_transfer", "code of seeds"}
    code |= {"version of torch", "version of numpy", "version of timm"}
    assert set(found(folder)) == names | code


@pytest.mark.parametrize("version, changes", [("2.1.0+cpu", []), ("9.0", ["version of torch"])])
def test_another_pytorch_is_named_and_another_device_is_not(folder, monkeypatch, version, changes):
    monkeypatch.setattr(torch, "__version__", "2.1.0+cu126")
    before = found(folder)
    monkeypatch.setattr(torch, "__version__", version)
    assert changed(before, found(folder)) == changes


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"sha256": {}}', '{"sha256": 1}', '{"sha256": {"images.npx": "12"}}', "{"]
)
def test_a_damaged_or_older_manifest_is_one_line(folder, content):
    (folder / "manifest.json").write_text(content)
    with pytest.raises(UserError, match=r"manifest\.json: .*; pack the dataset again$"):
        found(folder)


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
