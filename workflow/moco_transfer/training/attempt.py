"""One training, one process: an exclusive lock on a file beside the training's state.

A Snakemake that is killed leaves its jobs running, and the Snakemake started after it would train the same beside them.
The second process waits instead of giving up: if it failed, Snakemake would take what the first is about to finish for
half written. When the first has finished, the second finds that nothing is left to do. The lock is the operating
system's (flock): it ends with its process, however that ends.


What a training that ends leaves to a job that was sent while it was at work.

A Snakemake that is started again after a kill sends a second job for a training that the first one's job is still at. If
that job starts while the first is at work, it waits (``lock``). If it stands in a queue until the first has ended, it is
worse: Snakemake deletes the finished files before it starts the job, and days would be trained again. So Snakemake, when
it starts, leaves a mark beside each training that has begun; a training that ends and finds the mark keeps links to its
files; and the second job puts them back.


One attempt at a training that may have been begun, or may be under way, in another process.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import json
import logging
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moco_transfer.errors import UserError

if TYPE_CHECKING:
    from moco_transfer.training.checkpoint import Checkpoint

log = logging.getLogger(__name__)


class Lock:
    """A file locked by this process."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self._descriptor = path, descriptor

    def write(self, facts: dict[str, Any]) -> None:
        """Write ``facts`` for those who wait."""
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps(facts).encode(), 0)


@contextmanager
def locked(path: Path, is_done: Callable[[dict[str, Any]], bool]) -> Iterator[Lock | None]:
    """Hold an exclusive lock on the file ``path``, made if need be; wait while another process holds it.

    ``is_done`` gets what the process that held it last has written, and says whether nothing is left to do; then the
    block gets None instead of a lock. Raises UserError where the file system has no locks.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # another process has just finished and removed the folder
            continue
        try:
            _wait(descriptor, path)
            if is_done(_read(descriptor)):
                yield None
                return
            # Who finished while this process waited has removed the file; a lock on a removed file keeps nobody out.
            if not _is_at(descriptor, path):
                continue
            lock = Lock(path, descriptor)
            lock.write({"process": os.getpid(), "host": socket.gethostname()})
            yield lock
            return
        finally:
            os.close(descriptor)


def _wait(descriptor: int, path: Path) -> None:
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read(descriptor)
            who = f"process {holder.get('process', '?')} on {holder.get('host', '?')}"
            log.info("waiting: %s trains this already (it holds %s)", who, path)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise UserError(
                f"{path}: this file system has no locks ({error.strerror}), which keep two jobs from training the same; "
                "link results/ to a disk that has them"
            ) from None
        raise


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _read(descriptor: int) -> dict[str, Any]:
    try:
        return json.loads(os.pread(descriptor, 1 << 20, 0))
    except ValueError:  # empty: its process has only just made it
        return {}


MARK = "second_job_sent"
KEPT = "kept"
FINGERPRINT = "fingerprint.json"


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


STATE = "checkpoint.pt"
"""The file of the state in an attempt's folder."""


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
            discard(folder)
            _remove(folder)
            return
        if put_back(folder, fingerprint, outputs):
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
        # Imported here, because Snakemake imports this module, and PyTorch takes seconds.
        from moco_transfer.training.checkpoint import Checkpoint

        with Checkpoint(path, fingerprint) as checkpoint:
            train(checkpoint)
        keep(folder, fingerprint, outputs)
        lock.write({"finished": dict(fingerprint)})
        for state in folder.glob("*.pt"):
            state.unlink()
        lock.path.unlink()
        _remove(folder)


def _remove(folder: Path) -> None:
    # Not empty: another process that waits has just made the lock anew, or something is kept for a second job.
    with suppress(OSError):
        folder.rmdir()
