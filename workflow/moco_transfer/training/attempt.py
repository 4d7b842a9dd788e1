"""One attempt at a training that may have been begun, or may be under way, in another process."""

from __future__ import annotations

import glob
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from moco_transfer.training import handover
from moco_transfer.training.checkpoint import Checkpoint
from moco_transfer.training.lock import locked

STATE = "checkpoint.pt"
"""The file of the state in an attempt's folder."""

log = logging.getLogger(__name__)


def attempt(
    train: Callable[[Checkpoint], None], folder: Path, fingerprint: Mapping[str, str], outputs: Sequence[Path]
) -> None:
    """Run ``train``, which writes ``outputs``, as the only process that does; what is killed goes on when called again.

    The state lies in ``folder`` until the outputs are written. No rule may declare that folder or a part of it:
    Snakemake deletes declared outputs before every attempt. If another process is at the same training, this one waits,
    and then either goes on from its state or, if the outputs are there, is done. If another one has ended since this job was
    sent, what it made is put back.
    """

    def is_done(facts: dict[str, Any]) -> bool:
        return facts.get("finished") == dict(fingerprint) and all(path.exists() for path in outputs)

    with locked(folder / "lock", is_done) as lock:
        if lock is None:
            log.info("nothing to do: the process waited for has finished this training")
            handover.discard(folder)
            _remove(folder)
            return
        if handover.put_back(folder, fingerprint, outputs):
            log.info(
                "nothing to do: this training has finished since the job was sent; its files are put back"
            )
            lock.path.unlink()
            _remove(folder)
            return
        path = folder / STATE
        # Temporary files of processes that were killed while they wrote: with the lock held nobody writes here now.
        for written in (path, *outputs):
            for left in written.parent.glob(f".{glob.escape(written.stem)}.*{written.suffix}"):
                left.unlink()
        with Checkpoint(path, fingerprint) as checkpoint:
            train(checkpoint)
        handover.keep(folder, fingerprint, outputs)
        lock.write({"finished": dict(fingerprint)})
        for state in folder.glob("*.pt"):
            state.unlink()
        lock.path.unlink()
        _remove(folder)


def _remove(folder: Path) -> None:
    # Not empty: another process that waits has just made the lock anew, or something is kept for a second job.
    with suppress(OSError):
        folder.rmdir()
