"""Scalars for TensorBoard, in files that it reads from a training's folder: the metrics with the times beside them.

The package ``tensorboard`` frames the records; importing what is needed of it costs 0.1 s once torch is there, as much
as PyTorch's ``SummaryWriter``. That one writes from a thread, where a kill loses what waits and a full disk is a
traceback; here a record is in its file before the next epoch begins, and a disk that is full ends the events alone.


What a trainer tells: how far it is, TensorBoard events, and a table of metrics that is equal for equal runs.

How far it is stands in a progress bar where the trainer writes to a terminal, and in a plain line now and then where
it writes to a file.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moco_transfer.files import write_text

if TYPE_CHECKING:
    from tensorboard.summary.writer.record_writer import RecordWriter
    from tqdm import tqdm

log = logging.getLogger(__name__)


class Events:
    """The event files of one training in ``folder``, those of its earlier attempts among them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._run: str | None = None
        self._records: RecordWriter | None = None
        self._full = False

    def clear(self) -> None:
        """Delete what an earlier training wrote here."""
        for path in self.folder.rglob("events.out.tfevents.*"):
            path.unlink()

    def write(self, run: str, step: int, scalars: Mapping[str, float]) -> None:
        """Append ``scalars`` of ``step`` to ``run``, a folder inside this one, or this one itself where it is empty.

        The first step that is written to a run in this attempt tells TensorBoard to forget later ones: a training that
        goes on from a state repeats what came after it. A disk that takes no more is said once, and is no error.
        """
        if self._full:
            return
        try:
            if run != self._run:
                self._open(run, step)
            self._append(step, scalars)
        except OSError as error:
            self._full = True
            log.warning("%s takes no more TensorBoard events: %s", self.folder, error.strerror)

    def close(self) -> None:
        """Close the file that is open; a later ``write`` opens another."""
        if self._records is not None:
            self._records.close()
        self._records = self._run = None

    def _open(self, run: str, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        self.close()
        folder = self.folder / run
        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads the files of a run in the order of their names.
        path = folder / f"events.out.tfevents.{time.time_ns()}"
        self._records = RecordWriter(path.open("wb", buffering=0))
        self._run = run
        for event in (
            Event(wall_time=time.time(), file_version="brain.Event:2"),
            Event(wall_time=time.time(), step=step, session_log=SessionLog(status=SessionLog.START)),
        ):
            self._records.write(event.SerializeToString())

    def _append(self, step: int, scalars: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        event = Event(wall_time=time.time(), step=step, summary=Summary(value=values))
        self._records.write(event.SerializeToString())


BETWEEN_LINES = 10.0
"""Seconds from a line to that of the first epoch that ends after them."""
BETWEEN_LINES_OF_AN_EPOCH = 60.0
"""Seconds from a line to the next while no epoch ends."""


class MetricsLog:
    """Collects a row of metrics an epoch, and shows how far the training is.

    Timings go to what is shown and to TensorBoard alone, so that ``metrics.csv`` does not differ between two equal
    runs. A training that goes on after a kill counts the images and the time of all its attempts, each up to the state
    that the next one read.

    Parameters
    ----------
    what : names the training in its lines
    epochs : how many there will be
    epoch_images : images that each of them sees
    events : the folder for TensorBoard, or None
    """

    def __init__(self, what: str, epochs: int, epoch_images: int, events: Path | None = None) -> None:
        self.what, self.epochs, self.epoch_images = what, epochs, epoch_images
        self.rows: list[dict[str, float | int | None]] = []
        self.attempts = 1
        self._seen = 0  # images of the epoch that has begun
        self._started = time.monotonic()
        self._printed = -BETWEEN_LINES
        self._events = None if events is None else Events(events)
        self._bar: tqdm | None = None
        self._is_terminal = sys.stderr.isatty()

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, *_: object) -> None:
        """End the line of the progress bar, so that what is said next has its own, and close the event file."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        if self._events is not None:
            self._events.close()

    def step(self, images: int) -> None:
        """Count the ``images`` of one step, which need not end an epoch."""
        self._seen += images
        if self._is_terminal:
            self._move_bar()
        elif self._elapsed() - self._printed >= BETWEEN_LINES_OF_AN_EPOCH:
            share = self._seen / self.epoch_images
            self._print_line(f"epoch {len(self.rows) + 1}/{self.epochs}, {share:.0%} of it")

    def epoch(self, **metrics: float | int | None) -> None:
        """Record the metrics of the epoch that ends; one that is None was not measured in it."""
        self.rows.append(metrics)
        self._seen = 0
        if self._events is not None:
            self._write_events(self._events, metrics)
        last = len(self.rows) == self.epochs
        if self._is_terminal:
            self._move_bar()
        elif last or self._elapsed() - self._printed >= BETWEEN_LINES:
            self._print_line(f"epoch {len(self.rows)}/{self.epochs}, {_written_out(metrics)}")

    def state(self) -> dict[str, Any]:
        """Return what has been recorded, and the time it took."""
        return {"rows": self.rows, "seen": self._seen, "seconds": self._elapsed(), "attempts": self.attempts}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what ``state`` returned in an earlier attempt."""
        self.rows, self._seen = state["rows"], state["seen"]
        self._started, self.attempts = time.monotonic() - state["seconds"], state["attempts"] + 1
        print(
            f"{self.what}: attempt {self.attempts} goes on after {len(self.rows)} of {self.epochs} epochs, "
            f"{state['seconds']:.0f} s so far",
            file=sys.stderr,
            flush=True,
        )

    def write(self, path: str | Path) -> None:
        """Write the collected rows as CSV, numbers to nine digits, nothing for None."""
        lines = [
            ",".join(self.rows[0]),
            *(
                ",".join("" if value is None else f"{value:.9g}" for value in row.values())
                for row in self.rows
            ),
        ]
        write_text(path, "\n".join([*lines, ""]))

    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    def _images(self) -> int:
        return len(self.rows) * self.epoch_images + self._seen

    def _print_line(self, where: str) -> None:
        elapsed, images = self._elapsed(), self._images()
        self._printed = elapsed
        left = elapsed / images * (self.epochs * self.epoch_images - images)
        attempts = f" (attempt {self.attempts})" if self.attempts > 1 else ""
        print(
            f"{self.what}: {where}, {images / max(elapsed, 1e-9):.0f} images/s, {elapsed:.0f} s, "
            f"{left:.0f} s left{attempts}",
            file=sys.stderr,
            flush=True,
        )

    def _move_bar(self) -> None:
        if self._bar is None:
            from tqdm import tqdm

            total = self.epochs * self.epoch_images
            # Without smoothing its rate is that of all images in all the time since the start, which an earlier
            # attempt may have begun.
            self._bar = tqdm(total=total, unit="image", smoothing=0, miniters=1, dynamic_ncols=True)
            self._bar.start_t -= self._elapsed()
        running = min(len(self.rows) + 1, self.epochs)
        self._bar.set_description_str(f"{self.what}: epoch {running}/{self.epochs}", refresh=False)
        if self.rows:
            self._bar.set_postfix_str(_written_out(self.rows[-1]), refresh=False)
        self._bar.update(self._images() - self._bar.n)

    def _write_events(self, events: Events, metrics: dict[str, float | int | None]) -> None:
        if self.attempts == 1 and len(self.rows) == 1:
            events.clear()
        # Budgets are trainings of their own, so TensorBoard gets them as runs that it can lay over each other.
        budget = metrics.get("budget")
        elapsed = self._elapsed()
        scalars = {name: value for name, value in metrics.items() if name not in ("budget", "epoch")}
        scalars |= {"images_per_second": self._images() / max(elapsed, 1e-9), "seconds": elapsed}
        events.write(
            "" if budget is None else f"{budget}epochs",
            metrics["epoch"],
            {name: value for name, value in scalars.items() if value is not None},
        )


def _written_out(metrics: dict[str, float | int | None]) -> str:
    known = {name: value for name, value in metrics.items() if name != "epoch" and value is not None}
    return ", ".join(f"{name} {value:.4g}" for name, value in known.items())
