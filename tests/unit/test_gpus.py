"""Jobs that share GPUs, a machine's, or those of an allocation: real processes, GPUs that are only named."""

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
    "import logging, os, signal, sys; from pathlib import Path; from moco_transfer.training import gpus\n"
    "logging.basicConfig(level=logging.INFO, format='%(message)s', stream=sys.stdout)\n"
    "sys.stdout.reconfigure(line_buffering=True); gpus.SECONDS_BETWEEN_LOOKS = 0.01; signal.alarm(60)\n"
    "folder, available, rank, ranks, job, before, after = sys.argv[1:]\n"
    "names = gpus.visible(os.environ) or [str(number) for number in range(int(available))]\n"
    "exec(before)\n"
    "taken = gpus.take(names, rank=int(rank), ranks=int(ranks), job=job,\n"
    "    allocation=gpus.allocation(os.environ), folder=Path(folder))\n"
    "exec(after)\n"
    "print('took', *taken); input()\n"
)
CHOICES = {*gpus.GIVEN, *gpus.AMD, *(name for names in gpus.ALLOCATIONS for name in names)}


@pytest.fixture
def start(tmp_path):
    """A function that starts a process which takes GPUs and holds them until it is told or killed.

    ``before`` and ``after`` are code for that process, around the taking. Unless ``chosen``, variables of the
    environment, names GPUs, it sees as many as are ``available``.
    """
    processes = []
    plain = {name: value for name, value in os.environ.items() if name not in CHOICES}

    def start(available=0, rank=0, ranks=1, job="job", before="", after="", umask=-1, **chosen):
        arguments = [str(value) for value in (tmp_path, available, rank, ranks, job, before, after)]
        process = subprocess.Popen(
            [sys.executable, "-c", TAKE, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            umask=umask,
            env=plain | chosen,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def taken(process, at_once=False):
    """Return the names of the GPUs that ``process`` has taken, once it has; ``at_once`` it may not have waited."""
    # Jobs that start at the same moment say that they wait, if only for each other's turn.
    while (line := process.stdout.readline()).startswith("waiting") and not at_once:
        pass
    word, *names = line.split()
    assert word == "took"
    return names


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
    assert sorted(owners) == ["0", "1"]
    third = start(2)
    waits(third, first, second)
    end(owners["1"])
    assert taken(third) == ["1"]


def test_a_job_that_ends_by_itself_frees_its_gpu(start):
    first = start(1)
    assert taken(first) == ["0"]
    first.communicate("\n")
    assert taken(start(1)) == ["0"]


def test_two_jobs_that_want_both_gpus_do_not_wait_for_each_other(start):
    single = start(2)
    assert taken(single) == ["0"]
    big = [start(2, ranks=2, job="a"), start(2, ranks=2, job="b")]
    for process in big:
        waits(process, single)
    end(single)
    head = next_to_take(big)
    other = big[1 - big.index(head)]
    assert taken(head) == ["0", "1"]
    end(head)
    assert taken(other) == ["0", "1"]


def next_to_take(processes):
    """Return the one of ``processes`` that has something to read first."""
    ready, _, _ = select.select([process.stdout for process in processes], [], [], 60)
    return next(process for process in processes if process.stdout is ready[0])


def test_a_single_gpu_job_does_not_overtake_one_that_collects(start):
    singles = [start(2), start(2)]
    owners = {taken(process)[0]: process for process in singles}
    big = start(2, ranks=2)
    waits(big, *singles)
    late = start(2)
    waits(late, *singles)
    end(owners["0"])
    time.sleep(0.1)  # many looks, at a GPU that is free and not for it
    end(owners["1"])
    assert taken(big) == ["0", "1"]
    end(big)
    assert taken(late) in (["0"], ["1"])  # whichever the operating system lets go of first


def test_a_job_that_is_killed_while_it_collects_lets_the_next_pass(start):
    single = start(2)
    taken(single)
    big = start(2, ranks=2)
    waits(big, single)
    late = start(2)
    waits(late, single)
    end(big)
    assert taken(late) == ["1"]


def test_the_ranks_of_a_job_are_told_what_its_first_has_locked(start):
    other = start(3, job="other")
    assert taken(other) == ["0"]
    late = start(3, rank=1, ranks=2, job="mine")
    first = start(3, rank=0, ranks=2, job="mine")
    assert taken(first) == taken(late) == ["1", "2"]


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
    assert taken(process) == ["0"]
    assert end(process, signal.SIGTERM) == 7


def test_a_child_of_the_job_does_not_keep_the_lock(start):
    child = "import subprocess; print(subprocess.Popen(['sleep', '60'], close_fds=False).pid)"
    process = start(1, after=child)
    number = int(process.stdout.readline())
    try:
        assert taken(process) == ["0"]
        end(process)
        assert taken(start(1)) == ["0"]
    finally:
        os.kill(number, signal.SIGKILL)


def test_files_are_for_every_user_whatever_the_umask(start, tmp_path):
    taken(start(2, ranks=2, umask=0o077, after="import os; assert os.umask(0) == 0o077"))
    assert len(files := list(tmp_path.iterdir())) == 4
    assert {path.stat().st_mode & 0o777 for path in files} == {0o666}


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    path = tmp_path / "moco-transfer-gpu0.lock"
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"gpu0.lock: .*cannot be opened.*CUDA_VISIBLE_DEVICES"):
        gpus.take(["0"], folder=tmp_path)
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
    assert taken(first) == ["0"]
    assert len(list(tmp_path.iterdir())) == 2
    waits(start(1), first)


@pytest.mark.parametrize("alone", [{}, {"SLURM_JOB_ID": "17"}], ids=["user", "inside one allocation"])
def test_jobs_take_different_ones_of_the_gpus_that_are_named(start, alone):
    named = alone | {"CUDA_VISIBLE_DEVICES": "3, GPU-8f,nothing,0"}
    first, second = start(**named), start(**named)
    owners = {taken(first)[0]: first, taken(second)[0]: second}
    assert set(owners) == {"3", "GPU-8f"}
    third = start(**named)
    waits(third, first, second)
    end(owners["GPU-8f"])
    assert taken(third) == ["GPU-8f"]


def test_gpus_are_passed_on_in_the_order_in_which_they_are_named(start):
    assert taken(start(ranks=2, CUDA_VISIBLE_DEVICES="MIG-GPU-8f/1/0,2")) == ["MIG-GPU-8f/1/0", "2"]
    assert taken(start(ranks=2, job="other", CUDA_VISIBLE_DEVICES="1,10,0")) == ["1", "10"]


@pytest.mark.parametrize(
    "names",
    [
        "SLURM_JOB_ID",
        "SLURM_JOB_ID SLURM_STEP_GPUS",
        "PBS_JOBID",
        "LSB_JOBID LSB_JOBINDEX",
        "JOB_ID SGE_TASK_ID",
    ],
)
def test_allocations_that_both_call_their_gpu_0_do_not_wait_for_each_other(start, names):
    *shared, different = names.split()
    given = {"CUDA_VISIBLE_DEVICES": "0"} | dict.fromkeys(shared, "17")
    one, other = (given | {different: value} for value in ("2", "5[1].a/b"))
    first = start(**one)
    for process in (first, start(**other), start(1)):
        assert taken(process, at_once=True) == ["0"]
    waits(start(**one), first)


def test_jobs_of_a_scheduler_that_gives_no_gpus_share_the_machines(start):
    taken(first := start(1, PBS_JOBID="17"))
    waits(start(1, PBS_JOBID="18"), first)


def test_a_job_does_not_stand_in_the_line_for_gpus_that_it_does_not_see(start):
    taken(first := start(CUDA_VISIBLE_DEVICES="0"))
    waits(start(CUDA_VISIBLE_DEVICES="0"), first)
    assert taken(start(CUDA_VISIBLE_DEVICES="1"), at_once=True) == ["1"]


def test_jobs_that_see_some_of_the_same_gpus_do_not_wait_in_a_circle(start):
    taken(single := start(3))
    first = start(3, ranks=3)
    waits(first, single)
    slow = "lock = gpus._flock; gpus._flock = lambda *a, **k: (lock(*a, **k), gpus.time.sleep(0.1))[0]"
    circle = {start(ranks=2, before=slow, CUDA_VISIBLE_DEVICES=seen): seen for seen in ("0,1", "1,2", "2,0")}
    for process in circle:
        waits(process)
    end(first)
    end(single)
    while circle:
        process = next_to_take(list(circle))
        assert taken(process) == circle.pop(process).split(",")
        end(process)


def test_files_of_allocations_that_have_ended_are_removed(start, tmp_path):
    lasting = {"SLURM_JOB_ID": "17", "CUDA_VISIBLE_DEVICES": "0"}
    taken(first := start(**lasting))
    taken(ended := start(SLURM_JOB_ID="18", CUDA_VISIBLE_DEVICES="0,1"))
    end(ended)
    assert len(list(tmp_path.glob("*@18.*"))) == 3
    taken(start(SLURM_JOB_ID="19", CUDA_VISIBLE_DEVICES="0"))
    assert not list(tmp_path.glob("*@18.*"))
    waits(start(**lasting), first)
