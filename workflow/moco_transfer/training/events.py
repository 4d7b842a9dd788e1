"""Scalars for TensorBoard, in files that it reads from a training's folder: the metrics with the times beside them.

The package ``tensorboard`` frames the records; importing what is needed of it costs 0.1 s once torch is there, as much
as PyTorch's ``SummaryWriter``. That one writes from a thread, where a kill loses what waits and a full disk is a
traceback; here a record is in its file before the next epoch begins, and a disk that is full ends the events alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tensorboard.summary.writer.record_writer import RecordWriter

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
