"""Jobs that share a machine's GPUs: real processes, GPUs that are only counted."""

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moco_transfer.errors import UserError
from moco_transfer.training import gpus

TAKE = (
    "import logging, sys; from pathlib import Path; from moco_transfer.training import gpus\n"
    "logging.basicConfig(level=logging.INFO, format='%(message)s', stream=sys.stdout)\n"
    "sys.stdout.reconfigure(line_buffering=True); gpus.SECONDS_BETWEEN_LOOKS = 0.01\n"
    "folder, available, rank, ranks, job, before, after = sys.argv[1:]\n"
    "exec(before)\n"
    "taken = gpus.take(int(available), rank=int(rank), ranks=int(ranks), job=job, folder=Path(folder))\n"
    "exec(after)\n"
    "print('took', *taken); input()\n"
)


@pytest.fixture
def start(tmp_path):
    """A function that starts a process which takes GPUs and holds them until it is told or killed.

    ``before`` and ``after`` are code for that process, around the taking.
    """
    processes = []

    def start(available, rank=0, ranks=1, job="job", before="", after="", umask=-1):
        arguments = [str(value) for value in (tmp_path, available, rank, ranks, job, before, after)]
        process = subprocess.Popen(
            [sys.executable, "-c", TAKE, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            umask=umask,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def taken(process):
    """Return the numbers that ``process`` has taken, once it has."""
    # Jobs that start at the same moment say that they wait, if only for each other's turn.
    while (line := process.stdout.readline()).startswith("waiting"):
        pass
    word, *numbers = line.split()
    assert word == "took"
    return [int(number) for number in numbers]


def waits(process, *holders):
    """Read the line in which ``process`` says that it waits, and for whom."""
    line = process.stdout.readline()
    assert line.startswith("waiting for a free GPU")
    assert all(str(holder.pid) in line for holder in holders)


def end(process, number=signal.SIGKILL):
    process.send_signal(number)
    return process.wait()


def test_each_job_gets_a_gpu_of_its_own_and_the_third_waits_for_the_one_that_is_killed(start):
    first, second = start(2), start(2)
    owners = {taken(first)[0]: first, taken(second)[0]: second}
    assert sorted(owners) == [0, 1]
    third = start(2)
    waits(third, first, second)
    end(owners[1])
    assert taken(third) == [1]


def test_a_job_that_ends_by_itself_frees_its_gpu(start):
    first = start(1)
    assert taken(first) == [0]
    first.communicate("\n")
    assert taken(start(1)) == [0]


def test_two_jobs_that_want_both_gpus_do_not_wait_for_each_other(start):
    single = start(2)
    assert taken(single) == [0]
    big = [start(2, ranks=2, job="a"), start(2, ranks=2, job="b")]
    for process in big:
        waits(process, single)
    end(single)
    head = next_to_take(big)
    other = big[1 - big.index(head)]
    assert taken(head) == [0, 1]
    end(head)
    assert taken(other) == [0, 1]


def next_to_take(processes):
    """Return the one of ``processes`` that has something to read first."""
    ready, _, _ = select.select([process.stdout for process in processes], [], [])
    return next(process for process in processes if process.stdout is ready[0])


def test_a_single_gpu_job_does_not_overtake_one_that_collects(start):
    singles = [start(2), start(2)]
    owners = {taken(process)[0]: process for process in singles}
    big = start(2, ranks=2)
    waits(big, *singles)
    late = start(2)
    waits(late, *singles)
    end(owners[0])
    time.sleep(0.1)  # many looks, at a GPU that is free and not for it
    end(owners[1])
    assert taken(big) == [0, 1]
    end(big)
    assert taken(late) in ([0], [1])  # whichever the operating system lets go of first


def test_a_job_that_is_killed_while_it_collects_lets_the_next_pass(start):
    single = start(2)
    taken(single)
    big = start(2, ranks=2)
    waits(big, single)
    late = start(2)
    waits(late, single)
    end(big)
    assert taken(late) == [1]


def test_the_ranks_of_a_job_are_told_what_its_first_has_locked(start):
    other = start(3, job="other")
    assert taken(other) == [0]
    late = start(3, rank=1, ranks=2, job="mine")
    first = start(3, rank=0, ranks=2, job="mine")
    assert taken(first) == taken(late) == [1, 2]


def catches(process, number):
    """Return whether ``process`` has a handler for the signal ``number``."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("SigCgt:")[1].split()[0], 16) >> (number - 1) & 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_ends_the_wait(start, number, rank):
    taken(start(1))
    waiting = start(1, rank=rank, job="other")
    while not catches(waiting, signal.SIGTERM):  # the last of the handlers it sets
        time.sleep(0.01)
    assert end(waiting, number) == 128 + number


def test_handlers_of_signals_come_back(start):
    process = start(
        1,
        before="import signal; mine = lambda *_: sys.exit(7); signal.signal(signal.SIGTERM, mine)",
        after="assert signal.getsignal(signal.SIGTERM) is mine",
    )
    assert taken(process) == [0]
    assert end(process, signal.SIGTERM) == 7


def test_a_child_of_the_job_does_not_keep_the_lock(start):
    child = "import subprocess; print(subprocess.Popen(['sleep', '60'], close_fds=False).pid)"
    process = start(1, after=child)
    number = int(process.stdout.readline())
    try:
        assert taken(process) == [0]
        end(process)
        assert taken(start(1)) == [0]
    finally:
        os.kill(number, signal.SIGKILL)


def test_files_are_for_every_user_whatever_the_umask(start, tmp_path):
    taken(start(2, ranks=2, umask=0o077, after="import os; assert os.umask(0) == 0o077"))
    assert len(files := list(tmp_path.iterdir())) == 3
    assert {path.stat().st_mode & 0o777 for path in files} == {0o666}


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    path = tmp_path / "moco-transfer-gpu0.lock"
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"gpu0.lock: .*cannot be opened.*CUDA_VISIBLE_DEVICES"):
        gpus.take(1, folder=tmp_path)
    assert not (tmp_path / "elsewhere").exists()


# A cleaner of /tmp removes the file after the process has opened it.
LOSE_THE_FIRST = """
opened = gpus._open
def open_and_lose(path):
    descriptor = opened(path)
    if path.suffix == SUFFIX:
        path.unlink()
        gpus._open = opened
    return descriptor
gpus._open = open_and_lose
"""


@pytest.mark.parametrize("suffix", [".lock", ".line"])
def test_a_lock_on_a_file_that_was_removed_is_not_taken_for_one(start, tmp_path, suffix):
    first = start(1, before=LOSE_THE_FIRST.replace("SUFFIX", repr(suffix)))
    assert taken(first) == [0]
    assert len(list(tmp_path.iterdir())) == 2
    waits(start(1), first)


def test_what_a_cluster_or_a_user_has_assigned_is_seen():
    assert not gpus.assigned({"PATH": "/bin"})
    assert gpus.assigned({"CUDA_VISIBLE_DEVICES": "3"}) and gpus.assigned({"SLURM_JOB_GPUS": "0,1"})
    assert gpus.assigned({"CUDA_VISIBLE_DEVICES": ""})


def test_ranks_of_one_launch_share_a_name_that_a_restart_changes():
    launch = {"TORCHELASTIC_RUN_ID": "abc", "TORCHELASTIC_RESTART_COUNT": "0", "RANK": "0"}
    assert gpus.job_name(launch) == gpus.job_name(launch | {"RANK": "1"})
    assert gpus.job_name(launch) != gpus.job_name(launch | {"TORCHELASTIC_RESTART_COUNT": "1"})
    assert str(os.getppid()) in gpus.job_name({})
