"""Several jobs on one machine's GPUs: each locks the GPUs it uses, and waits while none is free.

A lock is the operating system's (flock) on a file that stands for one GPU: it ends with its process, however that ends.
The files lie in /tmp and not in TMPDIR, because all users of the machine must meet there, and TMPDIR is often a user's
or a job's own. On a cluster the scheduler has assigned GPUs already, and nothing is locked.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from moco_transfer.errors import UserError

FOLDER = Path("/tmp")
SECONDS_BETWEEN_LOOKS = 1.0

# What schedulers set for the GPUs of a job, or a user by hand; the last two are those of AMD's GPUs.
ASSIGNMENTS = (
    "CUDA_VISIBLE_DEVICES",
    "SLURM_JOB_GPUS",
    "SLURM_STEP_GPUS",
    "ROCR_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
)

log = logging.getLogger(__name__)


def assigned(environment: Mapping[str, str]) -> bool:
    """Return whether a scheduler or the user has said which GPUs this process may use."""
    return any(name in environment for name in ASSIGNMENTS)


def job_name(environment: Mapping[str, str]) -> str:
    """Return a name that the ranks of one job share, and no other job on this machine."""
    # The launcher's process is the parent of all its ranks; it numbers its restarts.
    launch = [environment.get(f"TORCHELASTIC_{name}", "") for name in ("RUN_ID", "RESTART_COUNT")]
    return ":".join([str(os.getppid()), *launch])


def take(available: int, *, rank: int = 0, ranks: int = 1, job: str = "", folder: Path = FOLDER) -> list[int]:
    """Return the numbers of ``ranks`` GPUs, ascending, which no other job uses before this one's rank 0 ends.

    Waits until as many of the machine's ``available`` GPUs are free. Rank 0 locks the GPUs of all ranks of ``job``, the
    others are told by way of the locks' files. While it waits SIGTERM and SIGINT end the process with 128 + their
    number, since a training's own handlers wait for a step that does not come. Raises UserError where a lock's file
    cannot be opened.
    """
    with _ending_at_signals():
        if rank == 0:
            return _lock(available, ranks, job, folder)
        return _told(available, job, folder)


def _lock(available: int, ranks: int, job: str, folder: Path) -> list[int]:
    """Lock ``ranks`` GPUs.

    Two jobs that each wait for their second GPU while they hold their first would wait for ever. So a job collects
    GPUs only while it holds the turnstile: one job at a time holds some and waits for more, and it waits for jobs that
    have all they need. Those that want a single GPU stand in the same line, or a job that wants several might starve.
    """
    paths = [_path(folder, number) for number in range(available)]
    with ExitStack() as until_told, ExitStack() as held:
        line = folder / "moco-transfer-gpus.line"
        said, turnstile = False, _flock(line)
        if turnstile is None:
            said, turnstile = _say_who_is_waited_for(paths), _flock(line, waiting=True)
        until_told.callback(os.close, turnstile)
        locks: dict[int, int] = {}
        while True:
            for number, path in enumerate(paths):
                if len(locks) < ranks and number not in locks and (lock := _flock(path)) is not None:
                    held.callback(os.close, lock)
                    locks[number] = lock
            if len(locks) == ranks:
                break
            said = said or _say_who_is_waited_for(paths)
            time.sleep(SECONDS_BETWEEN_LOOKS)
        numbers = sorted(locks)
        for lock in locks.values():
            os.ftruncate(lock, 0)
            os.pwrite(lock, json.dumps({"process": os.getpid(), "job": job, "gpus": numbers}).encode(), 0)
        # From here on the locks are never closed: they end with this process. A child started later does not inherit
        # them, as Python opens files to be closed on exec.
        held.pop_all()
    return numbers


def _told(available: int, job: str, folder: Path) -> list[int]:
    """Wait until rank 0 of ``job`` has locked its GPUs, and return their numbers."""
    while True:
        for number in range(available):
            facts = _read(_path(folder, number))
            if facts.get("job") == job:
                return facts["gpus"]
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _path(folder: Path, number: int) -> Path:
    return folder / f"moco-transfer-gpu{number}.lock"


def _flock(path: Path, waiting: bool = False) -> int | None:
    """Return a descriptor of the file ``path``, locked; while another process holds it wait, or return None."""
    while True:
        descriptor = _open(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if waiting else fcntl.LOCK_NB))
            # What cleans /tmp may have removed the file in between; a lock on a removed file keeps nobody out.
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            pass
        os.close(descriptor)


def _open(path: Path) -> int:
    """Open the file ``path``, which all users may lock and write, made if need be."""
    while True:
        try:
            # Without O_CREAT first: with it Linux refuses other users' files in a folder like /tmp, permitted or not
            # (fs.protected_regular).
            return os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise UserError(
                f"{path}: this file, which locks a GPU for all users, cannot be opened ({error.strerror}); remove it, "
                "or say by CUDA_VISIBLE_DEVICES which GPU to use"
            ) from None
        umask = os.umask(0)
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:  # another job has just made it
            continue
        finally:
            os.umask(umask)


def _say_who_is_waited_for(paths: list[Path]) -> bool:
    processes = dict.fromkeys(facts["process"] for path in paths if "process" in (facts := _read(path)))
    # What a process wrote stays when it ends.
    alive = [str(process) for process in processes if Path(f"/proc/{process}").exists()]
    log.info(
        "waiting for a free GPU: %s, or jobs before this one, have the %d of this machine",
        f"the processes {', '.join(alive)}" if alive else "other processes",
        len(paths),
    )
    return True


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):  # not there yet, or empty: its process has only just made it
        return {}


@contextmanager
def _ending_at_signals() -> Iterator[None]:
    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
