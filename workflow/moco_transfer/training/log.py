"""What a trainer tells: a line in the job's log now and then, and a table of metrics that is equal for equal runs."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from moco_transfer.atomic import write_text


class MetricsLog:
    """Collects a row of metrics an epoch; prints at most one line in ``every`` seconds, and the last.

    Timings go to the printed lines alone, so that ``metrics.csv`` does not differ between two equal runs. A training
    that goes on after a kill counts the time of all its attempts, each up to the state that the next one read.
    """

    def __init__(self, what: str, epochs: int, every: float = 10.0) -> None:
        self.what, self.epochs, self.every = what, epochs, every
        self.rows: list[dict[str, float | int]] = []
        self.started = time.monotonic()
        self.printed = -every
        self.images, self.attempts = 0, 1

    def epoch(self, images: int, **metrics: float | int) -> None:
        """Record the metrics of one epoch that has seen ``images`` images."""
        self.rows.append(metrics)
        self.images += images
        elapsed = time.monotonic() - self.started
        last = len(self.rows) == self.epochs
        if last or elapsed - self.printed >= self.every:
            self.printed = elapsed
            left = elapsed / len(self.rows) * (self.epochs - len(self.rows))
            shown = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items() if name != "epoch")
            attempts = f" (attempt {self.attempts})" if self.attempts > 1 else ""
            print(
                f"{self.what}: epoch {len(self.rows)}/{self.epochs}, {shown}, "
                f"{self.images / max(elapsed, 1e-9):.0f} images/s, {elapsed:.0f} s, {left:.0f} s left{attempts}",
                file=sys.stderr,
                flush=True,
            )

    def state(self) -> dict[str, Any]:
        """Return what has been recorded, and the time it took."""
        seconds = time.monotonic() - self.started
        return {"rows": self.rows, "images": self.images, "seconds": seconds, "attempts": self.attempts}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what ``state`` returned in an earlier attempt."""
        self.rows, self.images = state["rows"], state["images"]
        self.started, self.attempts = time.monotonic() - state["seconds"], state["attempts"] + 1
        print(
            f"{self.what}: attempt {self.attempts} goes on after {len(self.rows)} of {self.epochs} epochs, "
            f"{state['seconds']:.0f} s so far",
            file=sys.stderr,
            flush=True,
        )

    def write(self, path: str | Path) -> None:
        """Write the collected rows as CSV, numbers to nine digits."""
        lines = [
            ",".join(self.rows[0]),
            *(",".join(f"{value:.9g}" for value in row.values()) for row in self.rows),
        ]
        write_text(path, "\n".join([*lines, ""]))
