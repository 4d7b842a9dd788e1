"""Several jobs on one machine's GPUs: each locks the GPUs it uses, and waits while none is free.

A job chooses among the GPUs that it may see: those that CUDA_VISIBLE_DEVICES names where a scheduler or the user has set
it, else all of the machine. A lock is the operating system's (flock) on a file that stands for one of them: it ends with
its process, however that ends. The files lie in /tmp and not in TMPDIR, because all users of the machine must meet
there, and TMPDIR is often a user's or a job's own. An allocation of a scheduler has files of its own, as each may call
its first GPU 0. Elsewhere jobs meet only where they call a GPU by the same name: its number, or its UUID.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from types import FrameType
from typing import Any

from moco_transfer.errors import UserError

FOLDER = Path("/tmp")
DRIVER = Path("/proc/driver/nvidia/gpus")
SECONDS_BETWEEN_LOOKS = 1.0

# By which AMD's GPUs are chosen. Many a Slurm sets them beside CUDA_VISIBLE_DEVICES, whatever the GPUs are.
AMD = ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
# What a scheduler sets for a job that it gave GPUs.
GIVEN = ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_GPUS", "SLURM_STEP_GPUS")
# An allocation's id, and with it what tells those apart that share an id and each count their GPUs from 0: the steps of
# a Slurm job (by the machine's numbers of their GPUs), the tasks of an array in LSF and in Grid Engine.
ALLOCATIONS = (
    ("SLURM_JOB_ID", "SLURM_STEP_GPUS"),
    ("PBS_JOBID",),
    ("LSB_JOBID", "LSB_JOBINDEX"),
    ("JOB_ID", "SGE_TASK_ID"),
)

log = logging.getLogger(__name__)


def visible(environment: Mapping[str, str]) -> list[str] | None:
    """Return the GPUs that CUDA_VISIBLE_DEVICES names, in its order and words; None where it is not set.

    They are numbers, or UUIDs of GPUs (``GPU-...``) or of slices of them (``MIG-...``), and are read as CUDA does: what
    is none of these hides itself and all that follows it, and a name that comes twice hides all.
    """
    value = environment.get("CUDA_VISIBLE_DEVICES")
    if value is None:
        return None
    names = list(takewhile(re.compile(r"\d+|(GPU|MIG)-.+").fullmatch, map(str.strip, value.split(","))))
    return names if len(set(names)) == len(names) else []


def left_to_user(environment: Mapping[str, str]) -> bool:
    """Return whether GPUs are chosen by AMD's variables alone, which nothing here reads or narrows."""
    return "CUDA_VISIBLE_DEVICES" not in environment and any(name in environment for name in AMD)


def count_gpus(environment: Mapping[str, str], driver: Path = DRIVER) -> int | None:
    """Return how many GPUs a process may use, without asking CUDA for it; None where that cannot be known.

    They are those that CUDA_VISIBLE_DEVICES names, existent or not, else those that NVIDIA's ``driver`` has a folder for.
    """
    if (names := visible(environment)) is not None:
        return len(names)
    if left_to_user(environment):
        return None
    try:
        return len(list(driver.iterdir()))
    except OSError:
        return None


def allocation(environment: Mapping[str, str]) -> str:
    """Return the name of the allocation that a scheduler has given this process GPUs in; empty where there is none.

    A scheduler that does not know of GPUs gives none: its jobs see all of the machine's, and meet there.
    """
    if any(name in environment for name in GIVEN):
        for names in ALLOCATIONS:
            if environment.get(names[0]):
                return "-".join(environment[name] for name in names if environment.get(name))
    return ""


def job_name(environment: Mapping[str, str]) -> str:
    """Return a name that the ranks of one job share, and no other job on this machine."""
    # The launcher's process is the parent of all its ranks; it numbers its restarts.
    launch = [environment.get(f"TORCHELASTIC_{name}", "") for name in ("RUN_ID", "RESTART_COUNT")]
    return ":".join([str(os.getppid()), *launch])


def take(
    names: Sequence[str],
    *,
    rank: int = 0,
    ranks: int = 1,
    job: str = "",
    allocation: str = "",
    folder: Path = FOLDER,
) -> list[str]:
    """Return ``ranks`` of the GPUs ``names``, in that order, which no other job uses before this one's rank 0 ends.

    Waits until as many are free in ``allocation``. Rank 0 locks the GPUs of all ranks of ``job``, the others are told by
    way of the locks' files. While it waits SIGTERM and SIGINT end the process with 128 + their number, since a
    training's own handlers wait for a step that does not come. Raises UserError where a lock's file cannot be opened.
    """
    paths = {name: _path(folder, name, allocation) for name in names}
    with _ending_at_signals():
        if rank != 0:
            return _told(list(paths.values()), job)
        if allocation:
            _remove_files_of_others(folder, allocation)
        return _lock(paths, ranks, job)


def _lock(paths: Mapping[str, Path], ranks: int, job: str) -> list[str]:
    """Lock ``ranks`` of the GPUs whose locks are ``paths``, by their names.

    Two jobs that each wait for their second GPU while they hold their first would wait for ever. So a job collects
    GPUs only while it stands first in the line for each GPU that it may see: then it waits for jobs that have all they
    need. Those that want a single GPU stand in the same lines, or a job that wants several might starve. All jobs step
    into the lines in one order, so that nobody waits in a circle; jobs that see other GPUs stand in other lines.
    """
    locks = list(paths.values())
    with ExitStack() as lines, ExitStack() as held:
        said = False
        for line in sorted(path.with_name(f"{path.name}.line") for path in locks):
            if (first := _flock(line)) is None:
                said = said or _say_who_is_waited_for(locks)
                first = _flock(line, waiting=True)
            lines.callback(os.close, first)
        taken: dict[str, int] = {}
        while True:
            for name, path in paths.items():
                if len(taken) < ranks and name not in taken and (lock := _flock(path)) is not None:
                    held.callback(os.close, lock)
                    taken[name] = lock
            if len(taken) == ranks:
                break
            said = said or _say_who_is_waited_for(locks)
            time.sleep(SECONDS_BETWEEN_LOOKS)
        names = [name for name in paths if name in taken]
        for lock in taken.values():
            os.ftruncate(lock, 0)
            os.pwrite(lock, json.dumps({"process": os.getpid(), "job": job, "gpus": names}).encode(), 0)
        # From here on the locks are never closed: they end with this process. A child started later does not inherit
        # them, as Python opens files to be closed on exec.
        held.pop_all()
    return names


def _told(paths: Sequence[Path], job: str) -> list[str]:
    """Wait until rank 0 of ``job`` has locked its GPUs, and return their names."""
    while True:
        for path in paths:
            facts = _read(path)
            if facts.get("job") == job:
                return facts["gpus"]
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _path(folder: Path, name: str, allocation: str) -> Path:
    name, allocation = (re.sub(r"[^\w.-]", "_", words, flags=re.ASCII) for words in (name, allocation))
    return folder / f"moco-transfer-gpu{name}{'@' if allocation else ''}{allocation}.lock"


def _remove_files_of_others(folder: Path, allocation: str) -> None:
    """Remove what other allocations have left: each has files of its own, and they would be ever more."""
    own = _path(folder, "", allocation).name.partition("@")[2]
    for path in folder.glob("moco-transfer-gpu*@*"):
        # Another user's, or removed by another job in between.
        with ExitStack() as held, suppress(OSError, UserError):
            if not path.name.partition("@")[2].startswith(own) and (lock := _flock(path)) is not None:
                held.callback(os.close, lock)
                path.unlink()


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
                "or name other GPUs in CUDA_VISIBLE_DEVICES"
            ) from None
        umask = os.umask(0)
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:  # another job has just made it
            continue
        finally:
            os.umask(umask)


def _say_who_is_waited_for(paths: Sequence[Path]) -> bool:
    processes = dict.fromkeys(facts["process"] for path in paths if "process" in (facts := _read(path)))
    # What a process wrote stays when it ends.
    alive = [str(process) for process in processes if Path(f"/proc/{process}").exists()]
    log.info(
        "waiting for a free GPU: %s, or jobs before this one, have the %d that this job may use",
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
