"""An attempt at a training that several processes share: rank 0 holds the lock, the state and the outputs.

The other ranks wait until rank 0 has the lock, read the state that it has found good, and stop after the same step as it
does: whether a signal has come to any of them travels with the gradients.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from moco_transfer.training.attempt import STATE, attempt
from moco_transfer.training.checkpoint import Checkpoint
from moco_transfer.training.ranks import Ranks


class SharedCheckpoint:
    """What a rank sees of the training's ``checkpoint``: all read it, rank 0 writes it."""

    def __init__(self, checkpoint: Checkpoint, ranks: Ranks) -> None:
        self._checkpoint, self._ranks = checkpoint, ranks
        self._stops = False

    @property
    def received(self) -> int | None:
        """The signal that has come to this rank, or None."""
        return self._checkpoint.received

    def agree(self, stops: bool) -> None:
        """Have ``after_step`` stop all ranks; all call this in every step, with the same value."""
        self._stops = stops

    def read(self) -> dict[str, Any] | None:
        """Return the state that was saved last, or None."""
        # Rank 0 comes first, because it may set a state aside that no rank shall read.
        state = self._checkpoint.read() if self._ranks.rank == 0 else None
        self._ranks.hear(True)
        return state if self._ranks.rank == 0 else self._checkpoint.read()

    def after_step(self, state: Callable[[], dict[str, Any]]) -> None:
        """Save ``state()`` on rank 0 if it is time to, and after a signal end every rank by SystemExit."""
        stopped_by = (self.received or signal.SIGTERM) if self._stops else None
        if self._ranks.rank == 0:
            self._checkpoint.save_if_due(state, stopped_by)
        elif stopped_by is not None:
            raise SystemExit(128 + stopped_by)


def shared_attempt(
    train: Callable[[Checkpoint | SharedCheckpoint], None],
    ranks: Ranks,
    folder: Path,
    fingerprint: Mapping[str, str],
    outputs: Sequence[Path],
) -> None:
    """Run ``train`` as ``attempt`` does, on every rank; where rank 0 finds nothing to do, none does anything."""
    if ranks.size == 1:
        attempt(train, folder, fingerprint, outputs)
    elif ranks.rank == 0:
        started = False

        def lead(checkpoint: Checkpoint) -> None:
            nonlocal started
            started = ranks.hear(True)
            train(SharedCheckpoint(checkpoint, ranks))

        attempt(lead, folder, fingerprint, outputs)
        if not started:
            ranks.hear(False)
    elif ranks.hear(True):
        with Checkpoint(folder / STATE, fingerprint) as checkpoint:
            train(SharedCheckpoint(checkpoint, ranks))
