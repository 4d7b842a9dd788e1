"""Attempts at a training: what one leaves when it fails or ends, and what another process at the same one does."""

import subprocess
import sys
import threading
import time

import pytest

from moco_transfer.errors import UserError
from moco_transfer.training import checkpoint as checkpoint_module
from moco_transfer.training.attempt import attempt

TRAIN_WHEN_TOLD = (
    "import sys; from pathlib import Path; from moco_transfer.training.attempt import attempt\n"
    "out = Path(sys.argv[1])\n"
    "def train(checkpoint):\n"
    "    print('training', flush=True); out.write_text(input())\n"
    "attempt(train, out.parent / 'state', {'lr': '1'}, [out])\n"
)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "encoder.safetensors"


def save_and_fail(checkpoint):
    checkpoint.after_step(lambda: {"step": 3})
    raise UserError("the disk is full")


def test_an_attempt_that_fails_keeps_the_state_and_the_next_one_reads_it(out, monkeypatch):
    monkeypatch.setattr(checkpoint_module, "SECONDS_BETWEEN_SAVES", 0)
    found = []

    def train(checkpoint):
        found.append(checkpoint.read())
        out.write_text("weights")

    with pytest.raises(UserError):
        attempt(save_and_fail, out.parent / "state", {"lr": "1"}, [out])
    attempt(train, out.parent / "state", {"lr": "1"}, [out])
    assert found == [{"step": 3}] and list(out.parent.iterdir()) == [out]


def test_success_also_removes_what_was_set_aside(out, monkeypatch):
    monkeypatch.setattr(checkpoint_module, "SECONDS_BETWEEN_SAVES", 0)
    with pytest.raises(UserError):
        attempt(save_and_fail, out.parent / "state", {"lr": "1"}, [out])

    def train(checkpoint):
        assert checkpoint.read() is None
        assert (out.parent / "state" / "set_aside.pt").exists()
        out.write_text("weights")

    attempt(train, out.parent / "state", {"lr": "2"}, [out])
    assert list(out.parent.iterdir()) == [out]


def test_temporary_files_of_killed_processes_are_removed_and_others_kept(out):
    left = [out.with_name(".encoder.123.safetensors"), out.parent / "state" / ".checkpoint.123.pt"]
    (out.parent / "state").mkdir()
    other = out.with_name(".other.123.safetensors")
    for path in (*left, other):
        path.write_text("half")
    attempt(lambda checkpoint: out.write_text("weights"), out.parent / "state", {}, [out])
    assert sorted(out.parent.iterdir()) == [other, out]


@pytest.mark.parametrize("lr, text", [("1", "theirs"), ("2", "ours")])
def test_a_second_process_trains_only_if_the_first_trained_something_else(out, caplog, lr, text):
    process = subprocess.Popen(
        [sys.executable, "-c", TRAIN_WHEN_TOLD, str(out)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "training\n"

    def finish_when_waited_for():
        while not any("waiting" in message for message in caplog.messages):
            time.sleep(0.005)
        process.communicate("theirs\n")

    thread = threading.Thread(target=finish_when_waited_for)
    thread.start()
    with caplog.at_level("INFO"):
        attempt(lambda checkpoint: out.write_text("ours"), out.parent / "state", {"lr": lr}, [out])
    thread.join()
    assert process.returncode == 0
    assert out.read_text() == text and list(out.parent.iterdir()) == [out]
