"""What a training that ends leaves to a job that was sent while it was at work.

A Snakemake that is started again after a kill sends a second job for a training that the first one's job is still at. If
that job starts while the first is at work, it waits (``lock``). If it stands in a queue until the first has ended, it is
worse: Snakemake deletes the finished files before it starts the job, and days would be trained again. So Snakemake, when
it starts, leaves a mark beside each training that has begun; a training that ends and finds the mark keeps links to its
files; and the second job puts them back.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

MARK = "second_job_sent"
KEPT = "kept"
FINGERPRINT = "fingerprint.json"

log = logging.getLogger(__name__)


def expect_second_jobs(run: Path) -> None:
    """Leave a mark beside each training below the folder ``run`` that has begun: one that has a lock."""
    for lock in run.glob("**/state/lock"):
        expect_second_job(lock.parent)


def expect_second_job(state: Path) -> None:
    """Leave a mark in the folder of a training's ``state``, unless it has just ended and removed it."""
    try:
        (state / MARK).touch()
    except FileNotFoundError:
        log.debug("%s: ended in between", state)


def keep(state: Path, fingerprint: Mapping[str, str], outputs: Sequence[Path]) -> None:
    """Keep links to the finished ``outputs`` in ``state`` if a second job was sent; where no links can be made, nothing."""
    if not (state / MARK).exists():
        return
    kept = state / KEPT
    kept.mkdir(exist_ok=True)
    try:
        for path in outputs:
            os.link(path, kept / path.name)
    except OSError as error:
        log.info("%s: no links can be made here (%s); a second job will train again", state, error.strerror)
        return
    # Last, for without it nothing is put back.
    (kept / FINGERPRINT).write_text(json.dumps(dict(fingerprint)), encoding="utf-8")


def put_back(state: Path, fingerprint: Mapping[str, str], outputs: Sequence[Path]) -> bool:
    """Put back what an equal training kept for this job, and return whether there was any; what was kept is removed."""
    kept = state / KEPT
    found = (kept / FINGERPRINT).exists() and json.loads((kept / FINGERPRINT).read_text()) == dict(
        fingerprint
    )
    if found:
        for path in outputs:
            path.unlink(missing_ok=True)
            os.link(kept / path.name, path)
            os.utime(path)  # younger than the inputs, or Snakemake would make it anew
    discard(state)
    return found


def discard(state: Path) -> None:
    """Remove the mark, and what was kept."""
    (state / MARK).unlink(missing_ok=True)
    shutil.rmtree(state / KEPT, ignore_errors=True)
