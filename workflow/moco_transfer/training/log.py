"""What a trainer tells: a line in the job's log now and then, and a table of metrics that is equal for equal runs."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from moco_transfer.atomic import write_text


class MetricsLog:
    """Collects a row of metrics an epoch; prints at most one line in ``every`` seconds, and the last.

    Timings go to the printed lines alone, so that ``metrics.csv`` does not differ between two equal runs.
    """

    def __init__(self, what: str, epochs: int, every: float = 10.0) -> None:
        self.what, self.epochs, self.every = what, epochs, every
        self.rows: list[dict[str, float | int]] = []
        self.started = time.monotonic()
        self.printed = -every
        self.images = 0

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
            print(
                f"{self.what}: epoch {len(self.rows)}/{self.epochs}, {shown}, "
                f"{self.images / max(elapsed, 1e-9):.0f} images/s, {left:.0f} s left",
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
