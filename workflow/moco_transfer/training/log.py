"""What a training reports: progress lines, TensorBoard events, and a table of metrics.

Equal trainings give equal tables, so times appear only in the lines and in TensorBoard. After a kill, the
images and the time of all attempts count, each up to the state from which the next attempt resumed.
TensorBoard drops what an attempt wrote after that state.
"""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moco_transfer.files import write_text

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

# Seconds between lines: at the end of epochs, and within an epoch.
BETWEEN_LINES = 10.0
BETWEEN_LINES_OF_AN_EPOCH = 60.0

log = logging.getLogger(__name__)


class MetricsLog:
    """Collects one row of metrics per epoch, and prints progress. As a context manager, it closes the TensorBoard events.

    Parameters
    ----------
    what : the training's name in the lines
    epochs, epoch_images : the number of epochs, and of images in each
    events : the folder for TensorBoard, or None
    """

    def __init__(self, what: str, epochs: int, epoch_images: int, events: Path | None = None) -> None:
        self.what, self.epochs, self.epoch_images = what, epochs, epoch_images
        self.rows: list[dict[str, float | int | None]] = []
        self.attempts = 1
        self._seen = 0  # images of the current epoch
        self._started = time.monotonic()
        self._printed = -BETWEEN_LINES
        self._events = events
        self._writer: SummaryWriter | None = None
        self._written_to: Path | None = None

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def step(self, images: int) -> None:
        """Count the ``images`` of one step."""
        self._seen += images
        if self._elapsed() - self._printed >= BETWEEN_LINES_OF_AN_EPOCH:
            share = self._seen / self.epoch_images
            self._print_line(f"epoch {len(self.rows) + 1}/{self.epochs}, {share:.0%} of it")

    def epoch(self, **metrics: float | int | None) -> None:
        """Record the metrics of a finished epoch; None means that a metric was not measured in it."""
        self.rows.append(metrics)
        self._seen = 0
        known = {name: value for name, value in metrics.items() if name != "epoch" and value is not None}
        if self._events is not None:
            self._write_events(metrics["epoch"], **known)
        if len(self.rows) == self.epochs or self._elapsed() - self._printed >= BETWEEN_LINES:
            shown = ", ".join(f"{name} {value:.4g}" for name, value in known.items())
            self._print_line(f"epoch {len(self.rows)}/{self.epochs}, {shown}")

    def state(self) -> dict[str, Any]:
        """Return what has been recorded, and the time so far."""
        return {"rows": self.rows, "seen": self._seen, "seconds": self._elapsed(), "attempts": self.attempts}

    def load_state(self, state: dict[str, Any]) -> None:
        """Resume from what ``state`` returned in an earlier attempt."""
        self.rows, self._seen = state["rows"], state["seen"]
        self._started, self.attempts = time.monotonic() - state["seconds"], state["attempts"] + 1
        self._print(
            f"attempt {self.attempts} resumes after {len(self.rows)} of {self.epochs} epochs, "
            f"{state['seconds']:.0f} s so far"
        )

    def write(self, path: str | Path) -> None:
        """Write the rows as CSV, with nine significant digits, and nothing for None."""
        lines = [",".join(self.rows[0])]
        for row in self.rows:
            lines.append(",".join("" if value is None else f"{value:.9g}" for value in row.values()))
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
        rate = images / max(elapsed, 1e-9)
        self._print(f"{where}, {rate:.0f} images/s, {elapsed:.0f} s, {left:.0f} s left{attempts}")

    def _print(self, line: str) -> None:
        print(f"{self.what}: {line}", file=sys.stderr, flush=True)

    def _write_events(self, epoch: int, budget: int | None = None, **scalars: float | int) -> None:
        """Write ``scalars`` to the events of ``epoch``; a failure is reported once and does not stop the training."""
        elapsed = self._elapsed()
        scalars |= {"images_per_second": self._images() / max(elapsed, 1e-9), "seconds": elapsed}
        # Each budget is a separate training, which TensorBoard can show beside the others.
        folder = self._events if budget is None else self._events / f"{budget}epochs"
        try:
            if folder != self._written_to:
                self._open_events(folder, epoch)
            for name, value in scalars.items():
                self._writer.add_scalar(name, value, epoch)
            self._writer.flush()  # a kill then loses nothing of the finished epochs
        except OSError as error:
            log.warning("%s takes no more TensorBoard events: %s", self._events, error.strerror)
            self._events = self._writer = None

    def _open_events(self, folder: Path, epoch: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        if self._writer is not None:
            self._writer.close()
        elif self.attempts == 1:
            for earlier in self._events.rglob("events.out.tfevents.*"):
                earlier.unlink()
        self._writer, self._written_to = SummaryWriter(str(folder), purge_step=epoch), folder
