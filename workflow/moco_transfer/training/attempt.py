"""Run each training in one process at a time, and never twice.

A training can outlive the Snakemake that started it, and Snakemake deletes a job's declared outputs before it starts the
job. Therefore the files that protect the work lie undeclared in a folder ``state`` beside the outputs:

- ``lock`` is locked (flock) while a process trains; a second job for the same training waits. The operating system
  releases the lock when the process ends, however it ends.
- ``checkpoint.pt`` is the state from which a killed training resumes (``checkpoint``); files of weights beside it are of its
  finished parts.
- ``finished`` holds hard links to the outputs of a finished training. A job that waited for the lock or in a queue puts
  them back instead of training again. A successful run of Snakemake removes them (``forget_finished``), so a job that the
  user forces after it trains again.
"""

from __future__ import annotations

import glob
import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from moco_transfer.files import locked, write_text, writing_to

if TYPE_CHECKING:
    from moco_transfer.training.checkpoint import Checkpoint
    from moco_transfer.training.ranks import Ranks

RECORD = "fingerprint.json"

log = logging.getLogger(__name__)


def attempt(
    train: Callable[[Checkpoint], None],
    folder: Path,
    fingerprint: Mapping[str, str],
    outputs: Sequence[Path],
    ranks: Ranks | None = None,
) -> None:
    """Run ``train``, which resumes from the given checkpoint and writes ``outputs``, unless it has finished already.

    Parameters
    ----------
    folder : of the state; no rule may declare it or a file in it
    fingerprint : what the training depends on, by name, its code included (``checkpoint.fingerprint``)
    ranks : the processes that share the training; all of them call this. Rank 0 holds the lock and decides for all.
    """
    # Imported here, because Snakemake imports this module, and importing PyTorch takes seconds.
    from moco_transfer.training.checkpoint import Checkpoint
    from moco_transfer.training.ranks import ALONE

    ranks = ranks or ALONE
    path = folder / "checkpoint.pt"
    if ranks.rank > 0:
        if ranks.broadcast(True):
            with Checkpoint(path, fingerprint, ranks) as checkpoint:
                train(checkpoint)
        return
    finished = folder / "finished"
    with writing_to(folder), locked(folder / "lock", "running this training"):
        if ranks.broadcast(not _put_back(finished, fingerprint, outputs)):
            shutil.rmtree(finished, ignore_errors=True)
            # Remove temporary files of processes that were killed while writing; nobody else writes under the lock.
            for written in (path, *outputs):
                for left in written.parent.glob(f".{glob.escape(written.stem)}.*{written.suffix}"):
                    left.unlink()
            with Checkpoint(path, fingerprint, ranks) as checkpoint:
                train(checkpoint)
            _keep(finished, fingerprint, outputs)
        else:
            log.info(
                "nothing to do: this training has finished since the job was submitted, so its files are put back (to "
                "train again, delete %s)",
                finished,
            )
        for state in [*folder.glob("*.pt"), *folder.glob("*.safetensors")]:
            state.unlink()


def forget_finished(run: Path) -> None:
    """Remove the links to finished outputs below the folder ``run``, because no job of that run needs them any more."""
    for finished in run.glob("**/state/finished"):
        shutil.rmtree(finished, ignore_errors=True)


def _keep(finished: Path, record: Mapping[str, str], outputs: Sequence[Path]) -> None:
    finished.mkdir()
    try:
        for path in outputs:
            os.link(path, finished / path.name)
    except OSError as error:
        log.info(
            "%s: no hard links can be made here (%s); a duplicate job that is queued now will train again",
            finished,
            error.strerror,
        )
    # Last, because nothing is put back without the record.
    write_text(finished / RECORD, json.dumps(record, sort_keys=True))


def _put_back(finished: Path, record: Mapping[str, str], outputs: Sequence[Path]) -> bool:
    """Put back the outputs that an equal training kept, and return whether all ``outputs`` are there."""
    kept_record = finished / RECORD
    if not kept_record.exists() or kept_record.read_bytes() != json.dumps(record, sort_keys=True).encode():
        return False
    for path in outputs:
        if (kept := finished / path.name).exists():
            path.unlink(missing_ok=True)
            os.link(kept, path)
            os.utime(path)  # Snakemake would run the job again if an output were older than its inputs
    return all(path.exists() for path in outputs)
