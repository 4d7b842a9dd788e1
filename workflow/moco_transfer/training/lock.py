"""One training, one process: an exclusive lock on a file beside the training's state.

A Snakemake that is killed leaves its jobs running, and the Snakemake started after it would train the same beside them.
The second process waits instead of giving up: if it failed, Snakemake would take what the first is about to finish for
half written. When the first has finished, the second finds that nothing is left to do. The lock is the operating
system's (flock): it ends with its process, however that ends.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from moco_transfer.errors import UserError

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
