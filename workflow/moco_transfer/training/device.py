"""Which device a network runs on, which GPUs a job gets, and in which precision they compute.

Several jobs may run on one machine's GPUs. Each locks the GPUs that it uses and waits while none is free. It chooses among
the GPUs that it may see: those in CUDA_VISIBLE_DEVICES if a scheduler or the user has set it, else all of the machine.
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
from typing import Literal

import torch

from moco_transfer.errors import UserError

Precision = Literal["auto", "float32", "bfloat16"]

SECONDS_BETWEEN_LOOKS = 1.0
SCHEDULED_JOB = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")

log = logging.getLogger(__name__)

_held: list[socket.socket] = []  # the locks of this process, which end with it


def open_device(name: str) -> torch.device:
    """Return the device ``name`` ('cpu' or 'cuda'), and on a GPU switch PyTorch to deterministic algorithms.

    On 'cuda' this process takes one GPU for itself and waits while none is free; the ranks of one job take one each
    (torchrun's LOCAL_RANK of LOCAL_WORLD_SIZE, after ``open_ranks``). It must be called before CUDA is initialised. On
    the processor, all that is used here is deterministic already, and the switch would cost an import of seconds.

    Raises UserError if there is no GPU, because a slow run on the processor would look like a hang, and if there are fewer
    GPUs than ranks.
    """
    if name != "cuda":
        return torch.device(name)
    names = visible_gpus(os.environ)
    if names and names[0].startswith("MIG-"):
        # PyTorch would count slices by initialising CUDA. CUDA shows a process only the first of several.
        most = 1
    else:
        # This count asks the driver's library (NVML), and leaves out GPUs that are named and do not exist.
        most = torch.cuda.device_count()
        names = [str(number) for number in range(most)] if names is None else names[:most]
    if not names:
        raise _no_gpu()
    rank, ranks = int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if ranks > min(most, len(names)):
        raise UserError(
            f"config: pretraining.ranks is {ranks} and PyTorch finds {min(most, len(names))} GPUs here; lower it, or "
            "ask the cluster for as many GPUs"
        )
    taken = [take_gpus(names, ranks) if rank == 0 else None]
    if ranks > 1:
        torch.distributed.broadcast_object_list(taken)
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(taken[0])
    if not torch.cuda.is_available():
        raise _no_gpu()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    device = torch.device("cuda", rank)
    torch.cuda.set_device(device)
    return device


def visible_gpus(environment: Mapping[str, str]) -> list[str] | None:
    """Return the GPUs that CUDA_VISIBLE_DEVICES names, in its order and words, or None if it is not set.

    They are numbers, or UUIDs of GPUs (``GPU-...``) or of slices of them (``MIG-...``), and are read as CUDA does: an
    entry that is none of these hides itself and all that follow, and a name that comes twice hides all.
    """
    value = environment.get("CUDA_VISIBLE_DEVICES")
    if value is None:
        return None
    names = list(takewhile(re.compile(r"\d+|(GPU|MIG)-.+").fullmatch, map(str.strip, value.split(","))))
    return names if len(set(names)) == len(names) else []


def take_gpus(names: Sequence[str], count: int = 1) -> list[str]:
    """Lock ``count`` of the GPUs ``names`` until this process ends, and return their names; wait until so many are free.

    A lock is a Unix socket with an abstract name: no two processes can bind the same, whoever their users are, and it
    vanishes with its process, however that ends. Jobs meet only if they call a GPU by the same name, its number or its
    UUID. A scheduler often calls the first GPU of each of its jobs 0, so the job's id belongs to the name.
    """
    given = os.environ if "CUDA_VISIBLE_DEVICES" in os.environ else {}
    job = next((given[variable] for variable in SCHEDULED_JOB if variable in given), "")
    said = False
    while True:
        taken: dict[str, socket.socket] = {}
        for name in names:
            if len(taken) < count and (lock := _lock(f"moco-transfer/{job}/gpu{name}")):
                taken[name] = lock
        if len(taken) == count:
            _held.extend(taken.values())
            return list(taken)
        # Two jobs that each kept one GPU while they waited for a second would wait for ever.
        for lock in taken.values():
            lock.close()
        if not said:
            log.info("waiting for a free GPU: other jobs use the %d that this job may use", len(names))
            said = True
        time.sleep(SECONDS_BETWEEN_LOOKS * random.uniform(0.5, 1.5))


def _lock(name: str) -> socket.socket | None:
    """Return a socket that is bound to the abstract ``name``, or None if another process has one."""
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
    """Return a block whose matrix products and convolutions on ``device`` run in ``precision``.

    'auto' is bfloat16 on GPUs whose hardware has it and float32 elsewhere. In bfloat16, weights, batch statistics and
    gradients of weights stay float32. In float32 nothing is changed (on recent GPUs PyTorch uses TF32 inside
    convolutions). Raises UserError if bfloat16 is asked for and the GPU would only emulate it.
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
