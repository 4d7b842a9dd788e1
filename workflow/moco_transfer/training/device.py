"""Which device a network runs on, which GPUs a job gets, and in which precision they compute.

Several jobs may share a machine's GPUs. Each job locks the GPUs that it uses, and waits while too few are free. It chooses
from the GPUs in CUDA_VISIBLE_DEVICES if a scheduler or the user has set it, otherwise from all GPUs of the machine.
"""

from __future__ import annotations

import logging
import os
import random
import re
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from errno import EADDRINUSE
from itertools import takewhile

import torch

from moco_transfer.config import Precision
from moco_transfer.errors import UserError

SECONDS_BETWEEN_LOOKS = 1.0
SCHEDULED_JOB = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")

log = logging.getLogger(__name__)

_held: list[socket.socket] = []  # the locks of this process, which the operating system releases when it ends


def open_device(name: str) -> torch.device:
    """Return the device ``name`` ('cpu' or 'cuda'); on a GPU, switch PyTorch to deterministic algorithms.

    For 'cuda', this process locks one GPU and waits while none is free. The ranks of one job take one GPU
    each (torchrun's LOCAL_RANK of LOCAL_WORLD_SIZE, after ``open_ranks``). Call this before CUDA is
    initialised. On the CPU, everything used here is deterministic already, and the switch would import
    modules for seconds.

    Raises UserError if there is no GPU, because a slow run on the CPU would look like a hang, or if there are
    fewer GPUs than ranks.
    """
    if name != "cuda":
        return torch.device(name)
    rank, ranks = int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    names = _usable_gpus(ranks)
    taken = [take_gpus(names, ranks) if rank == 0 else None]
    if ranks > 1:
        torch.distributed.broadcast_object_list(taken)
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(taken[0])
    if not torch.cuda.is_available():
        raise _no_gpu()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    # With deterministic algorithms, PyTorch also fills the memory of every new tensor, so that code which reads what it never
    # wrote repeats itself. Nothing here reads such memory, and the filling would be one more kernel for most tensors.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = False
    device = torch.device("cuda", rank)
    torch.cuda.set_device(device)
    return device


def check_gpus(*, ranks: int) -> None:
    """Check that this machine has as many GPUs as the ``ranks`` of one job need."""
    _usable_gpus(ranks)
    if not torch.cuda.is_available():
        raise _no_gpu()


def _usable_gpus(ranks: int) -> list[str]:
    """Return the names of the GPUs that this process may use. Raises UserError if there are fewer than ``ranks``, or none."""
    names = visible_gpus(os.environ)
    if names and names[0].startswith("MIG-"):
        # PyTorch would initialise CUDA to count slices of GPUs. A process can use only the first of them.
        most = 1
    else:
        # PyTorch asks the driver's library (NVML) for this count, which leaves out named GPUs that do not exist.
        most = torch.cuda.device_count()
        names = [str(number) for number in range(most)] if names is None else names[:most]
    if not names:
        raise _no_gpu()
    if ranks > min(most, len(names)):
        raise UserError(
            f"config: pretraining.ranks is {ranks} and PyTorch finds {min(most, len(names))} GPUs here; lower it, or "
            "request that many GPUs from the cluster"
        )
    return names


def visible_gpus(environment: Mapping[str, str]) -> list[str] | None:
    """Return the GPUs that CUDA_VISIBLE_DEVICES names, in its order and spelling, or None if it is not set.

    They are numbers, or UUIDs of GPUs (``GPU-...``) or of slices of GPUs (``MIG-...``). The rules are CUDA's: any other
    entry hides itself and all that follow, and a name that occurs twice hides all.
    """
    value = environment.get("CUDA_VISIBLE_DEVICES")
    if value is None:
        return None
    names = list(takewhile(re.compile(r"\d+|(GPU|MIG)-.+").fullmatch, map(str.strip, value.split(","))))
    return names if len(set(names)) == len(names) else []


def take_gpus(names: Sequence[str], count: int = 1) -> list[str]:
    """Lock ``count`` of the GPUs ``names`` until this process ends, and return their names; wait until enough are free.

    A lock is a Unix socket bound to an abstract name: no two processes of any users can bind the same name, and it vanishes
    with its process. Two jobs see each other's lock only if both name the GPU by its number, or both by its UUID. Many
    schedulers number the GPUs of every job from 0, so the lock's name includes the job's id.
    """
    given = os.environ if "CUDA_VISIBLE_DEVICES" in os.environ else {}
    job = next((given[variable] for variable in SCHEDULED_JOB if variable in given), "")
    reported = False
    while True:
        taken: dict[str, socket.socket] = {}
        for name in names:
            if len(taken) < count and (lock := _lock(f"moco-transfer/{job}/gpu{name}")):
                taken[name] = lock
        if len(taken) == count:
            _held.extend(taken.values())
            return list(taken)
        # If two jobs each kept one GPU while waiting for a second, they would wait forever.
        for lock in taken.values():
            lock.close()
        if not reported:
            log.info("waiting for a free GPU: other jobs hold the %d GPUs that this job may use", len(names))
            reported = True
        time.sleep(SECONDS_BETWEEN_LOOKS * random.uniform(0.5, 1.5))


def _lock(name: str) -> socket.socket | None:
    """Return a socket that is bound to the abstract ``name``, or None if another process holds the name."""
    lock = socket.socket(socket.AF_UNIX)
    try:
        lock.bind(f"\0{name}")
    except OSError as error:
        lock.close()
        if error.errno != EADDRINUSE:
            raise
        return None
    return lock


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[None]:
    """Return a context manager inside which matrix products and convolutions on ``device`` run in ``precision``.

    'auto' is bfloat16 on GPUs whose hardware supports it and float32 elsewhere. With bfloat16, weights, batch statistics
    and gradients of weights stay float32. With float32, PyTorch's defaults apply (TF32 inside convolutions on recent GPUs).
    Raises UserError if bfloat16 is requested and the GPU would only emulate it.
    """
    if precision == "float32" or (precision == "auto" and device.type != "cuda"):
        return nullcontext()
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        if precision == "auto":
            return nullcontext()
        raise UserError(
            "config: precision is 'bfloat16' and this GPU has none; set precision: auto, or float32"
        )
    return torch.autocast(device.type, dtype=torch.bfloat16)


def _no_gpu() -> UserError:
    return UserError(
        "config: device is 'cuda' and PyTorch finds no GPU here; check nvidia-smi, or set device: cpu "
        "(snakemake --config device=cpu)"
    )
