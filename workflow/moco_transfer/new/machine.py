"""What this machine has: cores, memory, and a GPU. Nothing is imported that takes long, so PyTorch is not asked."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# Where Linux says how much of the machine a container may use (version 2 and 1 of control groups).
CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")
MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


@dataclass(frozen=True)
class Machine:
    """``cores`` this process may use, and memory in MB; ``gpu_mb`` is that of the largest GPU, 0 if there is none."""

    cores: int
    memory_mb: int
    gpu_mb: int = 0


def this_machine() -> Machine:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = CPU_LIMIT.read_text().split()
        cores = max(1, min(cores, int(quota) // int(period)))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in MEMORY_LIMITS:
        with suppress(OSError, ValueError):
            memory = min(memory, int(limit.read_text()))
    return Machine(cores, memory // 2**20, _gpu_memory())


def _gpu_memory() -> int:
    """Return the memory of the largest NVIDIA GPU in MB, or 0."""
    if not shutil.which("nvidia-smi"):
        return 0
    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return 0
    return max((int(line) for line in told.split() if line.isdigit()), default=0)
