"""Which GPUs a job gets, real processes and GPUs that are only named, and in which precision they compute."""

import os
import select
import signal
import subprocess
import sys
import uuid

import pytest
import torch
from torch import nn

from moco_transfer.errors import UserError
from moco_transfer.training import device as module
from moco_transfer.training.device import autocast, open_device, visible_gpus

CPU, GPU = torch.device("cpu"), torch.device("cuda")
CHOICES = {"CUDA_VISIBLE_DEVICES", *module.SCHEDULED_JOB, "LOCAL_RANK", "LOCAL_WORLD_SIZE"}
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

# Taking GPUs needs no PyTorch, whose import takes seconds in each process.
TAKE = (
    "import logging, signal, sys, types; sys.modules['torch'] = types.ModuleType('torch')\n"
    "from moco_transfer.training import device\n"
    "logging.basicConfig(level=logging.INFO, format='%(message)s', stream=sys.stdout)\n"
    "sys.stdout.reconfigure(line_buffering=True); device.SECONDS_BETWEEN_LOOKS = 0.01; signal.alarm(60)\n"
    "names, count, after = sys.argv[1:]\n"
    "taken = device.take_gpus(names.split(','), int(count))\n"
    "exec(after)\n"
    "print('took', *taken); input()\n"
)


@pytest.fixture
def prefix():
    """What begins the names of this test's GPUs, so that no other test's process meets its own."""
    return f"GPU-{uuid.uuid4()}-"


@pytest.fixture
def start(prefix):
    """A function that starts a process which takes GPUs and holds them until it is told or killed."""
    processes = []
    plain = {name: value for name, value in os.environ.items() if name not in CHOICES}

    def start(available, count=1, after="", **environment):
        names = ",".join(f"{prefix}{name}" for name in available)
        process = subprocess.Popen(
            [sys.executable, "-c", TAKE, names, str(count), after],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=plain | environment,
        )
        processes.append(process)
        return process

    def taken(process):
        while (line := process.stdout.readline()).startswith("waiting"):
            pass
        word, *names = line.split()
        assert word == "took"
        return "".join(name.removeprefix(prefix) for name in names)

    start.taken = taken
    yield start
    for process in processes:
        process.kill()
        process.communicate()


def waits(process):
    assert process.stdout.readline().startswith("waiting for a free GPU")


def end(process, number=signal.SIGKILL):
    process.send_signal(number)
    return process.wait()


def test_each_job_gets_a_gpu_of_its_own_and_the_third_waits_for_the_one_that_is_killed(start):
    first, second = start("01"), start("01")
    owners = {start.taken(first): first, start.taken(second): second}
    assert sorted(owners) == ["0", "1"]
    third = start("01")
    waits(third)
    end(owners["1"])
    assert start.taken(third) == "1"


def test_a_job_that_ends_by_itself_frees_its_gpu(start):
    first = start("0")
    assert start.taken(first) == "0"
    first.communicate("\n")
    assert start.taken(start("0")) == "0"


def test_jobs_that_want_several_gpus_do_not_wait_in_a_circle(start):
    single = start("012", 3)
    assert start.taken(single) == "012"
    jobs = {start(seen, 2): seen for seen in ("01", "12", "20")}
    for job in jobs:
        waits(job)
    end(single)
    while jobs:
        ready, _, _ = select.select([job.stdout for job in jobs], [], [], 60)
        for job in [job for job in jobs if job.stdout in ready]:
            assert start.taken(job) == jobs.pop(job)
            end(job)


def test_a_job_that_waits_for_several_gpus_holds_none_of_them(start):
    single = start("0")
    start.taken(single)
    both = start("01", 2)
    waits(both)
    other = start("1")
    assert start.taken(other) == "1"
    end(other)
    end(single)
    assert start.taken(both) == "01"


def test_gpus_are_passed_on_in_the_order_in_which_they_are_named(start):
    assert start.taken(start("201", 2)) == "20"


def test_a_signal_ends_the_wait(tmp_path, start, prefix):
    start.taken(start("0"))
    code = (
        "import logging, sys; from pathlib import Path\n"
        "from moco_transfer.training.checkpoint import Checkpoint\n"
        "from moco_transfer.training.device import take_gpus\n"
        "logging.basicConfig(level=logging.INFO, format='%(message)s', stream=sys.stdout)\n"
        "with Checkpoint(Path(sys.argv[1]), {}): take_gpus([sys.argv[2]])\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "checkpoint.pt"), f"{prefix}0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as waiting:
        waits(waiting)
        assert end(waiting, signal.SIGTERM) == 143


def test_a_child_of_the_job_does_not_keep_the_lock(start):
    child = "import subprocess; print(subprocess.Popen(['sleep', '60'], close_fds=False).pid)"
    process = start("0", after=child)
    number = int(process.stdout.readline())
    try:
        assert start.taken(process) == "0"
        end(process)
        assert start.taken(start("0")) == "0"
    finally:
        os.kill(number, signal.SIGKILL)


@pytest.mark.parametrize("variable", module.SCHEDULED_JOB)
def test_scheduled_jobs_that_both_call_their_gpu_0_do_not_wait_for_each_other(start, variable):
    given = {"CUDA_VISIBLE_DEVICES": "0"}
    for process in (
        start("0", **given, **{variable: "17"}),
        start("0", **given, **{variable: "18"}),
        start("0"),
    ):
        assert start.taken(process) == "0"
    waits(start("0", **given, **{variable: "17"}))


def test_jobs_of_a_scheduler_that_gives_no_gpus_share_the_machines(start):
    start.taken(start("0", SLURM_JOB_ID="17"))
    waits(start("0", SLURM_JOB_ID="18"))


@pytest.fixture
def machine(monkeypatch):
    """A function that pretends as many GPUs as it is told; returns what was taken of which."""
    for name in CHOICES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda on: None)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    took = []
    monkeypatch.setattr(module, "take_gpus", lambda names, count: took.append(names) or names[-count:])

    def machine(count, usable=True):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: usable)
        return took

    yield machine
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)


def test_on_a_gpu_algorithms_are_deterministic_and_new_memory_is_not_filled(machine, monkeypatch):
    machine(1)
    asked = []
    monkeypatch.setattr(torch, "use_deterministic_algorithms", asked.append)
    open_device("cuda")
    assert asked == [True] and not torch.utils.deterministic.fill_uninitialized_memory


def test_a_job_sees_only_the_gpu_that_it_has_taken(machine):
    took = machine(8)
    assert open_device("cuda") == torch.device("cuda", 0)
    assert took == [list("01234567")] and os.environ["CUDA_VISIBLE_DEVICES"] == "7"


@pytest.mark.parametrize("rank", [0, 1])
def test_each_rank_uses_one_of_the_gpus_that_rank_0_has_taken(machine, monkeypatch, rank):
    took = machine(3)
    monkeypatch.setenv("LOCAL_RANK", str(rank))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    sent = []

    def broadcast(message):
        sent.append(list(message))
        message[0] = ["1", "2"]

    monkeypatch.setattr(torch.distributed, "broadcast_object_list", broadcast)
    assert open_device("cuda") == torch.device("cuda", rank)
    assert sent == [[["1", "2"]] if rank == 0 else [None]]
    assert len(took) == (rank == 0) and os.environ["CUDA_VISIBLE_DEVICES"] == "1,2"


def test_of_the_gpus_that_are_named_and_exist_one_is_taken(machine, monkeypatch):
    took = machine(2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6,GPU-8f,9,0")
    open_device("cuda")
    assert took == [["6", "GPU-8f"]] and os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-8f"


def test_slices_of_gpus_are_taken_before_cuda_is_asked_anything(machine, monkeypatch):
    took = machine(1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-01,MIG-02")

    def is_available():
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "MIG-02"
        return True

    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: pytest.fail("this initialises CUDA"))
    assert open_device("cuda") == torch.device("cuda", 0)
    assert took == [["MIG-01", "MIG-02"]]


@pytest.mark.parametrize(("named", "gpus"), [(None, 2), ("MIG-01,MIG-02", 1)], ids=["whole", "slices"])
def test_more_ranks_than_gpus_are_refused_before_anything_is_taken(machine, monkeypatch, named, gpus):
    took = machine(2)
    if named:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(UserError, match=rf"pretraining.ranks is 4 .* {gpus} GPUs"):
        open_device("cuda")
    assert took == []


@pytest.mark.parametrize(("count", "usable"), [(0, False), (1, False)], ids=["none", "broken driver"])
def test_a_gpu_that_cannot_be_used_is_an_error(machine, count, usable):
    machine(count, usable)
    with pytest.raises(UserError, match="no GPU here"):
        open_device("cuda")


def test_a_job_that_may_see_no_gpu_is_told_so():
    code = "from moco_transfer.training.device import open_device; open_device('cuda')"
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (
        run.returncode == 1 and "UserError: config: device is 'cuda' and PyTorch finds no GPU" in run.stderr
    )


def test_the_processor_takes_no_gpu(machine):
    assert open_device("cpu") == CPU and machine(8) == []


def test_gpus_are_read_as_cuda_reads_them():
    def named(value):
        return visible_gpus({"CUDA_VISIBLE_DEVICES": value})

    assert visible_gpus({"SLURM_JOB_GPUS": "0,1"}) is None
    assert named("") == named("-1") == named("NoDevFiles") == named("1,2,1") == []
    assert named("2,-1,3") == ["2"]
    assert named("3, GPU-8f,MIG-01") == ["3", "GPU-8f", "MIG-01"]


def product(device, precision):
    """Return the types of a convolution's output, its batch norm's statistics and its weight's gradient."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(device)
    with autocast(device, precision):
        middle = network[0](torch.ones(2, 3, 8, 8, device=device))
        network[1](middle).float().square().sum().backward()
    return middle.dtype, network[1].running_var.dtype, network[0].weight.grad.dtype


@pytest.mark.parametrize(
    ("precision", "computed"),
    [("auto", torch.float32), ("float32", torch.float32), ("bfloat16", torch.bfloat16)],
)
def test_on_the_processor_bfloat16_is_only_what_is_asked_for(precision, computed):
    assert product(CPU, precision) == (computed, torch.float32, torch.float32)


@pytest.mark.parametrize("native", [True, False])
def test_on_a_gpu_auto_is_bfloat16_if_the_hardware_has_it(monkeypatch, native):
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: native or including_emulation
    )
    entered = []
    monkeypatch.setattr(torch, "autocast", lambda kind, dtype: entered.append((kind, dtype)))
    autocast(GPU, "auto")
    assert entered == ([("cuda", torch.bfloat16)] if native else [])
    autocast(GPU, "float32")
    assert len(entered) == native


def test_bfloat16_that_the_gpu_would_only_emulate_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    with pytest.raises(UserError, match="precision is 'bfloat16' and this GPU has none"):
        autocast(GPU, "bfloat16")


@needs_gpu
def test_a_real_gpu_computes_in_bfloat16():
    assert product(GPU, "bfloat16") == (torch.bfloat16, torch.float32, torch.float32)
