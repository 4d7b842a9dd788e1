"""Where a network runs and in which precision, and how PyTorch is told to give the same bytes every time."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from moco_transfer.errors import UserError
from moco_transfer.training import gpus

Precision = Literal["auto", "float32", "bfloat16"]


def open_device(name: str) -> torch.device:
    """Return the device ``name`` ('cpu' or 'cuda'), and on a GPU switch PyTorch to deterministic algorithms.

    Of the GPUs that it may see, the machine's or those in CUDA_VISIBLE_DEVICES, this process takes one for itself and
    waits while none is free (``gpus``); GPUs of AMD are left to who has chosen them. The ranks of one job take one each,
    by LOCAL_RANK of LOCAL_WORLD_SIZE (torchrun). To be called before CUDA is initialised. On the processor what is
    used here is deterministic as it is, and the switch costs an import of several seconds.

    Raises UserError where a GPU is asked for and none is there, as a slow run on the processor would look like a hang,
    and where there are fewer GPUs than ranks.
    """
    if name != "cuda":
        return torch.device(name)
    names = _usable_gpus()
    rank, ranks = int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    # Of several slices of GPUs (MIG) CUDA shows a process the first alone.
    count = 1 if names[0].startswith("MIG-") else len(names)
    if ranks > count:
        raise UserError(
            f"config: pretraining.ranks is {ranks} and PyTorch finds {count} GPUs here; lower it, or ask the cluster "
            "for as many GPUs"
        )
    if not gpus.left_to_user(os.environ):
        job, allocation = gpus.job_name(os.environ), gpus.allocation(os.environ)
        taken = gpus.take(names, rank=rank, ranks=ranks, job=job, allocation=allocation)
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(taken)
    if not torch.cuda.is_available():
        raise _no_gpu()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    device = torch.device("cuda", rank)
    torch.cuda.set_device(device)
    return device


def _usable_gpus() -> list[str]:
    """Return the GPUs that this process may use, at least one, by their names in CUDA_VISIBLE_DEVICES or numbers."""
    names = gpus.visible(os.environ)
    if names and names[0].startswith("MIG-"):
        # PyTorch counts slices by CUDA itself, which, once initialised, no longer heeds what is made visible.
        return names
    # This count asks the driver's library (NVML). It leaves out GPUs that are named and do not exist.
    count = torch.cuda.device_count()
    names = [str(number) for number in range(count)] if names is None else names[:count]
    if not names:
        raise _no_gpu()
    return names


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[None]:
    """Return a block whose matrix products and convolutions on ``device`` run in ``precision``.

    'auto' is bfloat16 on GPUs whose hardware has it and float32 elsewhere. In bfloat16 weights, batch statistics and
    gradients of weights stay float32. In float32 nothing is changed (PyTorch's own default on recent GPUs is TF32 inside
    convolutions). Raises UserError where bfloat16 is asked for and the GPU would only emulate it.
    """
    if precision == "auto":
        precision = "bfloat16" if device.type == "cuda" and _has_bfloat16() else "float32"
    if precision == "float32":
        return nullcontext()
    if device.type == "cuda" and not _has_bfloat16():
        raise UserError(
            "config: precision is 'bfloat16' and this GPU has none; set precision: auto, or float32"
        )
    return torch.autocast(device.type, dtype=torch.bfloat16)


def _has_bfloat16() -> bool:
    return torch.cuda.is_bf16_supported(including_emulation=False)


def _no_gpu() -> UserError:
    return UserError(
        "config: device is 'cuda' and PyTorch finds no GPU here; check nvidia-smi, or set device: cpu "
        "(snakemake --config device=cpu)"
    )
