"""What a training shows of itself: lines with the right rate, events that TensorBoard reads, a table."""

from __future__ import annotations

import re
import time

import pandas as pd
import pytest
from small_trainings import small_trainings
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from moco_transfer.training.log import MetricsLog


@pytest.fixture
def clock(monkeypatch):
    """A list of one number, the seconds that have passed."""
    now = [0.0]
    monkeypatch.setattr("moco_transfer.training.log.time.monotonic", lambda: now[0])
    return now


def long_epoch(log: MetricsLog, clock: list[float], steps: int) -> None:
    """Let ``steps`` steps of 8 images pass, each in 2 seconds."""
    for _ in range(steps):
        clock[0] += 2
        log.step(8)


def test_a_long_epoch_gives_a_line_a_minute_with_the_time_left(clock, capsys):
    log = MetricsLog("MoCo", epochs=3, epoch_images=800)
    long_epoch(log, clock, 100)
    log.epoch(epoch=1, loss=0.5)
    lines = capsys.readouterr().err.splitlines()
    # 4 images/s; the 2400 images of all epochs take 600 s
    assert lines == [
        "MoCo: epoch 1/3, 25% of it, 4 images/s, 50 s, 550 s left",
        "MoCo: epoch 1/3, 55% of it, 4 images/s, 110 s, 490 s left",
        "MoCo: epoch 1/3, 85% of it, 4 images/s, 170 s, 430 s left",
        "MoCo: epoch 1/3, loss 0.5, 4 images/s, 200 s, 400 s left",
    ]


def test_short_epochs_give_a_line_in_ten_seconds(clock, capsys):
    log = MetricsLog("MoCo", epochs=20, epoch_images=8)
    for epoch in range(1, 21):
        long_epoch(log, clock, 1)
        log.epoch(epoch=epoch, loss=1.0)
    shown = re.findall(r"epoch (\d+)/20", capsys.readouterr().err)
    assert shown == ["1", "6", "11", "16", "20"]


def test_a_training_that_goes_on_within_an_epoch_counts_what_all_attempts_saw(clock, capsys):
    first = MetricsLog("MoCo", epochs=1, epoch_images=160)
    long_epoch(first, clock, 15)
    state = first.state()
    long_epoch(first, clock, 3)  # lost: the next attempt repeats them
    clock[0] = 5000.0
    second = MetricsLog("MoCo", epochs=1, epoch_images=160)
    second.load_state(state)
    long_epoch(second, clock, 5)
    second.epoch(epoch=1, loss=0.5)
    *_, goes_on, last = capsys.readouterr().err.splitlines()
    assert goes_on == "MoCo: attempt 2 resumes after 0 of 1 epochs, 30 s so far"
    assert last == "MoCo: epoch 1/1, loss 0.5, 4 images/s, 40 s, 0 s left (attempt 2)"


def test_what_was_not_measured_is_empty_in_the_table_and_nowhere_else(clock, capsys, tmp_path):
    log = MetricsLog("MoCo", 2, 10, tmp_path / "tensorboard")
    log.epoch(epoch=1, loss=0.5, probe=None)
    clock[0] = 60
    log.epoch(epoch=2, loss=0.25, probe=0.75)
    log.write(tmp_path / "metrics.csv")
    assert (tmp_path / "metrics.csv").read_text() == "epoch,loss,probe\n1,0.5,\n2,0.25,0.75\n"
    first, last = capsys.readouterr().err.splitlines()
    assert "probe" not in first and "probe 0.75" in last
    assert scalars(tmp_path / "tensorboard")["probe"] == [(2, 0.75)]


def scalars(folder) -> dict[str, list[tuple[int, float]]]:
    """Return what TensorBoard's own reader finds: the (step, value) of each tag."""
    found = EventAccumulator(str(folder)).Reload()
    return {tag: [(each.step, each.value) for each in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_tensorboard_reads_the_metrics_and_the_times(clock, tmp_path):
    log = MetricsLog("MoCo", 3, 80, tmp_path)
    for epoch in (1, 2):
        long_epoch(log, clock, 10)
        log.epoch(epoch=epoch, loss=2.0**-epoch, lr=0.125)
    assert scalars(tmp_path) == {  # of a training that has not ended
        "loss": [(1, 0.5), (2, 0.25)],
        "lr": [(1, 0.125), (2, 0.125)],
        "images_per_second": [(1, 4.0), (2, 4.0)],
        "seconds": [(1, 20.0), (2, 40.0)],
    }


def test_events_go_on_from_the_state_and_begin_anew_without_one(clock, tmp_path):
    first = MetricsLog("MoCo", 4, 80, tmp_path)
    first.epoch(epoch=1, loss=1.0)
    first.epoch(epoch=2, loss=2.0)
    state = first.state() | {"rows": [*first.rows]}
    first.epoch(epoch=3, loss=3.0)
    second = MetricsLog("MoCo", 4, 80, tmp_path)
    second.load_state(state)
    second.epoch(epoch=3, loss=30.0)
    second.epoch(epoch=4, loss=40.0)
    assert scalars(tmp_path)["loss"] == [(1, 1.0), (2, 2.0), (3, 30.0), (4, 40.0)]

    MetricsLog("MoCo", 4, 80, tmp_path).epoch(epoch=1, loss=7.0)
    assert scalars(tmp_path)["loss"] == [(1, 7.0)]
    assert len(list(tmp_path.iterdir())) == 1


def test_every_budget_is_a_run_of_its_own(tmp_path):
    with MetricsLog("end to end", 3, 80, tmp_path) as log:
        for budget, epoch in ((1, 1), (2, 1), (2, 2)):
            log.epoch(budget=budget, epoch=epoch, loss=budget + epoch)
    assert scalars(tmp_path / "1epochs")["loss"] == [(1, 2)]
    assert scalars(tmp_path / "2epochs")["loss"] == [(1, 3), (2, 4)]


def test_a_folder_that_takes_no_events_is_said_once_and_stops_nothing(tmp_path, caplog):
    (tmp_path / "tensorboard").touch()
    with MetricsLog("MoCo", 2, 80, tmp_path / "tensorboard") as log:
        log.epoch(epoch=1, loss=1.0)
        log.epoch(epoch=2, loss=1.0)
    assert len(caplog.messages) == 1 and "takes no more TensorBoard events" in caplog.messages[0]
    assert len(log.rows) == 2


def test_a_killed_pretraining_has_every_epoch_once(tmp_path):
    job = small_trainings(tmp_path / "inputs", 3)["pretrain"]
    process = job.start(tmp_path / "out")
    events = tmp_path / "out" / "tensorboard"
    while process.poll() is None and not any(events.glob("*")):
        time.sleep(0.01)
    process.kill()
    process.communicate()
    job.finish(tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "metrics.csv")
    found = scalars(events)
    assert {"images_per_second", "seconds"} <= set(found)
    for name in table.columns.drop("epoch"):
        measured = table.dropna(subset=name)
        assert [step for step, _ in found[name]] == measured["epoch"].tolist()
        assert [value for _, value in found[name]] == pytest.approx(measured[name].tolist(), rel=1e-6)
