"""Where networks run: which GPU a job gets, in which precision it computes, and what is said when that cannot be."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from moco_transfer.errors import UserError
from moco_transfer.training import device as device_module
from moco_transfer.training import gpus
from moco_transfer.training.device import autocast, open_device

CPU, GPU = torch.device("cpu"), torch.device("cuda")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture
def machine(monkeypatch):
    """A machine with as many GPUs as ``machine(n)`` says; returns what is done with them."""
    did = {"took": [], "opened": []}
    schedulers = {name for names in gpus.ALLOCATIONS for name in names}
    for name in {*gpus.GIVEN, *gpus.AMD, *schedulers, "LOCAL_RANK", "LOCAL_WORLD_SIZE"}:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda on: None)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    monkeypatch.setattr(torch.cuda, "set_device", did["opened"].append)

    def take(names, *, rank, ranks, job, allocation):
        did["took"].append((names, rank, ranks, job, allocation))
        return names[-ranks:]

    monkeypatch.setattr(gpus, "take", take)

    def machine(count, usable=True):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: usable)
        return did

    yield machine
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)


def test_a_job_sees_the_gpu_it_has_taken_alone(machine):
    did = machine(8)
    assert open_device("cuda") == torch.device("cuda", 0)
    assert did["took"] == [(list("01234567"), 0, 1, gpus.job_name({}), "")]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "7"


def test_each_rank_uses_one_of_the_gpus_its_job_has_taken(machine, monkeypatch):
    did = machine(3)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert open_device("cuda") == torch.device("cuda", 1) == did["opened"][0]
    assert did["took"] == [(["0", "1", "2"], 1, 2, gpus.job_name(os.environ), "")]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1,2"


def test_of_the_gpus_that_are_named_and_exist_one_is_taken(machine, monkeypatch):
    did = machine(2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6,GPU-8f,9,0")
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert open_device("cuda") == torch.device("cuda", 0)
    assert did["took"] == [(["6", "GPU-8f"], 0, 1, gpus.job_name({}), "17")]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-8f"


def test_slices_of_gpus_are_taken_before_cuda_is_asked_anything(machine, monkeypatch):
    did = machine(1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-01,MIG-02")

    def is_available():
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "MIG-02"
        return True

    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: pytest.fail("this initialises CUDA"))
    assert open_device("cuda") == torch.device("cuda", 0)
    assert did["took"][0][0] == ["MIG-01", "MIG-02"]


def test_ranks_cannot_share_a_training_on_slices_of_gpus(machine, monkeypatch):
    did = machine(1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-01,MIG-02")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"pretraining.ranks is 2 .* 1 GPUs"):
        open_device("cuda")
    assert did["took"] == []


@pytest.mark.parametrize("name", gpus.AMD)
def test_gpus_of_amd_are_left_to_the_user(machine, monkeypatch, name):
    did = machine(1)
    monkeypatch.setenv(name, "6")
    assert open_device("cuda") == torch.device("cuda", 0)
    assert did["took"] == [] and "CUDA_VISIBLE_DEVICES" not in os.environ


def test_more_ranks_than_gpus_are_refused_before_anything_is_taken(machine, monkeypatch):
    did = machine(2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(UserError, match=r"pretraining.ranks is 4 .* 2 GPUs"):
        open_device("cuda")
    assert did["took"] == []


@pytest.mark.parametrize(("count", "usable"), [(0, False), (1, False)], ids=["none", "broken driver"])
def test_a_gpu_that_cannot_be_used_is_an_error(machine, count, usable):
    machine(count, usable)
    with pytest.raises(UserError, match="no GPU here"):
        open_device("cuda")


def test_a_job_that_may_see_no_gpu_is_told_so():
    code = "from moco_transfer.training.device import open_device; open_device('cuda')"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert (
        run.returncode == 1 and "UserError: config: device is 'cuda' and PyTorch finds no GPU" in run.stderr
    )


def test_the_processor_takes_no_gpu(machine):
    did = machine(8)
    assert open_device("cpu") == CPU
    assert did == {"took": [], "opened": []}


def test_gpus_are_read_as_cuda_reads_them():
    def named(value):
        return gpus.visible({"CUDA_VISIBLE_DEVICES": value})

    assert gpus.visible({"SLURM_JOB_GPUS": "0,1"}) is None
    assert named("") == named("-1") == named("NoDevFiles") == named("1,2,1") == []
    assert named("2,-1,3") == ["2"]
    assert named("GPU-8f,MIG-01") == ["GPU-8f", "MIG-01"]


def test_gpus_are_counted_without_cuda(tmp_path):
    assert gpus.count_gpus({}, driver=tmp_path / "none") is None
    for folder in ("0000:01:00.0", "0000:41:00.0", "0000:81:00.0"):
        (tmp_path / folder).mkdir()
    assert gpus.count_gpus({}, driver=tmp_path) == 3
    assert gpus.count_gpus({"CUDA_VISIBLE_DEVICES": "4,5"}, driver=tmp_path) == 2
    assert gpus.count_gpus({"CUDA_VISIBLE_DEVICES": ""}, driver=tmp_path) == 0
    assert gpus.count_gpus({"HIP_VISIBLE_DEVICES": "0"}, driver=tmp_path) is None


def test_amds_variables_beside_cudas_are_a_schedulers_habit():
    both = {"CUDA_VISIBLE_DEVICES": "0", "ROCR_VISIBLE_DEVICES": "0"}
    assert not gpus.left_to_user({}) and not gpus.left_to_user(both)
    assert gpus.left_to_user({"ROCR_VISIBLE_DEVICES": "0"}) and gpus.left_to_user({"HIP_VISIBLE_DEVICES": ""})


def test_ranks_of_one_launch_share_a_name_that_a_restart_changes():
    launch = {"TORCHELASTIC_RUN_ID": "abc", "TORCHELASTIC_RESTART_COUNT": "0", "RANK": "0"}
    assert gpus.job_name(launch) == gpus.job_name(launch | {"RANK": "1"})
    assert gpus.job_name(launch) != gpus.job_name(launch | {"TORCHELASTIC_RESTART_COUNT": "1"})
    assert str(os.getppid()) in gpus.job_name({})


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
def test_on_a_gpu_auto_is_bfloat16_where_the_hardware_has_it(monkeypatch, native):
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: native or including_emulation
    )
    entered = []
    monkeypatch.setattr(device_module.torch, "autocast", lambda kind, dtype: entered.append((kind, dtype)))
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
