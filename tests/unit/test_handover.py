"""A job that was sent while another was at work, and starts after that one has ended: nothing is trained twice."""

from __future__ import annotations

import os

import pytest

from moco_transfer.training import attempt as handover
from moco_transfer.training.attempt import attempt


@pytest.fixture
def outputs(tmp_path):
    return [tmp_path / "chest" / "encoder.safetensors", tmp_path / "chest" / "metrics.csv"]


def train(outputs, text, lr="1", while_at_work=lambda: None):
    """Return whether an attempt trained; it writes ``text`` into its outputs, which Snakemake has deleted before."""
    trained = []

    def write(checkpoint):
        while_at_work()
        for path in outputs:
            path.write_text(text)
        trained.append(True)

    for path in outputs:
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
    attempt(write, outputs[0].parent / "state", {"lr": lr}, outputs)
    return bool(trained)


def test_a_second_job_that_comes_late_gets_what_the_first_has_made(outputs, tmp_path, caplog):
    train(outputs, "first", while_at_work=lambda: handover.expect_second_jobs(tmp_path))
    os.utime(outputs[0], (1, 1))
    with caplog.at_level("INFO"):
        assert not train(outputs, "second")
    assert [path.read_text() for path in outputs] == ["first", "first"]
    assert outputs[0].stat().st_mtime > 1e9  # or Snakemake would find it older than its inputs
    assert "put back" in caplog.text
    assert sorted(outputs[0].parent.iterdir()) == outputs
    assert train(outputs, "third"), "it is put back once"


def test_without_a_second_job_nothing_is_kept_and_a_forced_job_trains(outputs):
    train(outputs, "first")
    assert sorted(outputs[0].parent.iterdir()) == outputs
    assert train(outputs, "second")


def test_a_mark_made_before_a_training_began_is_not_for_it(outputs, tmp_path):
    """What was killed leaves a lock that nobody holds: the job that is sent is the one that goes on."""
    state = outputs[0].parent / "state"
    state.mkdir(parents=True)
    (state / "lock").touch()
    handover.expect_second_jobs(tmp_path)
    assert train(outputs, "first")
    assert sorted(outputs[0].parent.iterdir()) == outputs


def test_another_training_gets_nothing(outputs, tmp_path):
    train(outputs, "first", while_at_work=lambda: handover.expect_second_jobs(tmp_path))
    assert train(outputs, "second", lr="2")
    assert outputs[0].read_text() == "second" and sorted(outputs[0].parent.iterdir()) == outputs


def test_where_no_links_can_be_made_it_trains_again(outputs, tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with caplog.at_level("INFO"):
        train(outputs, "first", while_at_work=lambda: handover.expect_second_jobs(tmp_path))
    assert "no links can be made here (Operation not permitted)" in caplog.text
    assert train(outputs, "second")
    assert outputs[0].read_text() == "second"


def test_a_training_that_ends_in_between_is_no_error(tmp_path):
    handover.expect_second_job(tmp_path / "gone")
