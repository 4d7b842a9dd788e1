"""Attempts at one training: what one leaves to the next, and what a second job for the same training does."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from moco_transfer.errors import UserError
from moco_transfer.training import checkpoint as checkpoint_module
from moco_transfer.training.attempt import attempt, forget_finished

TRAIN_WHEN_TOLD = (
    "import json, sys; from pathlib import Path; from moco_transfer.training.attempt import attempt\n"
    "folder = Path(sys.argv[1])\n"
    "def train(checkpoint):\n"
    "    print('training', flush=True); words = input()\n"
    "    for name in ('encoder.safetensors', 'metrics.csv'): (folder / name).write_text(words)\n"
    "attempt(train, folder / 'state', {'lr': '1'}, [folder / 'encoder.safetensors', folder / 'metrics.csv'])\n"
)


@pytest.fixture
def outputs(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint_module, "SECONDS_BETWEEN_SAVES", 0)
    folder = tmp_path / "chest"
    folder.mkdir()
    return [folder / "encoder.safetensors", folder / "metrics.csv"]


def state_of(outputs):
    return outputs[0].parent / "state"


def train(outputs, text, lr="1"):
    """Return whether an attempt trained; it writes ``text`` into its outputs, which Snakemake has deleted before."""
    trained = []

    def write(checkpoint):
        trained.append(checkpoint.read())
        for path in outputs:
            path.write_text(text)

    for path in outputs:
        path.unlink(missing_ok=True)
    attempt(write, state_of(outputs), {"lr": lr}, outputs)
    return bool(trained)


def words(outputs):
    return [path.read_text() for path in outputs]


def fail(outputs):
    def save_and_fail(checkpoint):
        checkpoint.after_step(lambda: {"step": 3})
        raise UserError("the disk is full")

    with pytest.raises(UserError):
        attempt(save_and_fail, state_of(outputs), {"lr": "1"}, outputs)


@pytest.mark.parametrize("lr, found", [("1", {"step": 3}), ("2", None)])
def test_the_next_attempt_reads_the_state_of_one_that_failed_if_it_is_the_same_training(outputs, lr, found):
    fail(outputs)
    states = []

    def resume(checkpoint):
        states.append(checkpoint.read())
        for path in outputs:
            path.write_text("weights")

    attempt(resume, state_of(outputs), {"lr": lr}, outputs)
    assert states == [found] and not list(state_of(outputs).glob("*.pt"))


def test_temporary_files_of_killed_processes_are_removed_and_others_kept(outputs):
    state_of(outputs).mkdir()
    left = [outputs[0].with_name(".encoder.123.safetensors"), state_of(outputs) / ".checkpoint.123.pt"]
    other = outputs[0].with_name(".other.123.safetensors")
    for path in (*left, other):
        path.write_text("half")
    train(outputs, "weights")
    assert not any(path.exists() for path in left) and other.exists()


@pytest.fixture
def first(outputs):
    """Another process that trains until it is told what to write."""
    process = subprocess.Popen(
        [sys.executable, "-c", TRAIN_WHEN_TOLD, str(outputs[0].parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "training\n"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("lr, text", [("1", "theirs"), ("2", "ours")])
def test_a_second_process_waits_and_trains_only_if_the_first_trained_something_else(
    outputs, first, caplog, lr, text
):
    def finish_when_waited_for():
        while not any("waiting" in message for message in caplog.messages):
            time.sleep(0.005)
        first.communicate("theirs\n")

    thread = threading.Thread(target=finish_when_waited_for)
    thread.start()
    with caplog.at_level("INFO"):
        assert train(outputs, "ours", lr) == (text == "ours")
    thread.join()
    assert first.returncode == 0 and words(outputs) == [text, text]
    assert f"process {first.pid} on " in caplog.text


def test_a_second_process_trains_when_the_first_is_killed(outputs, first, caplog):
    def kill_when_waited_for():
        while not any("waiting" in message for message in caplog.messages):
            time.sleep(0.005)
        first.send_signal(signal.SIGKILL)

    thread = threading.Thread(target=kill_when_waited_for)
    thread.start()
    with caplog.at_level("INFO"):
        assert train(outputs, "ours")
    thread.join()
    assert words(outputs) == ["ours", "ours"]


def test_a_job_that_starts_when_another_has_finished_gets_what_that_has_made(outputs, caplog):
    assert train(outputs, "first")
    os.utime(outputs[0], (1, 1))
    for _ in range(2):
        with caplog.at_level("INFO"):
            assert not train(outputs, "second")
        assert words(outputs) == ["first", "first"] and "put back" in caplog.text
        assert outputs[0].stat().st_mtime > 1e9  # or Snakemake would find it older than its inputs


def test_a_job_that_is_forced_after_a_run_that_succeeded_trains_again(outputs, tmp_path):
    train(outputs, "first")
    forget_finished(tmp_path)
    assert words(outputs) == ["first", "first"]
    assert train(outputs, "second") and words(outputs) == ["second", "second"]


def test_another_training_gets_nothing_and_takes_the_place(outputs):
    train(outputs, "first")
    assert train(outputs, "second", lr="2")
    assert train(outputs, "third") and words(outputs) == ["third", "third"]


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]"])
def test_a_damaged_record_gives_nothing(outputs, content):
    train(outputs, "first")
    (state_of(outputs) / "finished" / "fingerprint.json").write_bytes(content)
    assert train(outputs, "second")


def test_a_full_disk_is_one_line(outputs, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", refuse)  # of the finished files
    train(outputs, "first")
    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(UserError, match=r"no space left on .*state"):
        train(outputs, "second")


def test_what_was_killed_before_all_was_kept_trains_again(outputs):
    train(outputs, "first")
    (state_of(outputs) / "finished" / "fingerprint.json").unlink()
    assert train(outputs, "second") and words(outputs) == ["second", "second"]


def test_if_no_links_can_be_made_a_job_trains_again_unless_the_outputs_are_there(
    outputs, monkeypatch, caplog
):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with caplog.at_level("INFO"):
        train(outputs, "first")
    assert "no hard links can be made here (Operation not permitted)" in caplog.text
    # As for a job that has waited: Snakemake deleted its outputs before the other job wrote them.
    attempt(lambda checkpoint: pytest.fail("trained"), state_of(outputs), {"lr": "1"}, outputs)
    assert train(outputs, "second") and words(outputs) == ["second", "second"]


def test_a_file_system_without_locks_is_an_error(outputs, monkeypatch):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(UserError, match=r"lock: .*no locks .*link results/"):
        train(outputs, "first")
