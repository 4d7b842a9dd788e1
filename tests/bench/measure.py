"""One line of a benchmark: the same work by this project and by a reference, on the same files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

# As in workflow/rules/common.smk: jobs keep the memory that they free.
KEEP_FREED_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(256 * 2**20),
    "MALLOC_TOP_PAD_": str(64 * 2**20),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
# Peak memory in kB. Not ru_maxrss, which a process inherits from the one that starts it.
PRINT_PEAK = """
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


@dataclass(frozen=True)
class Measure:
    """What was measured; ``goal`` is the ratio to reach. ``reference`` may be a limit instead of another way.

    Larger ratios are better: reference / ours for times, ours / reference for rates.
    """

    measure: str
    ours: float
    reference: float
    unit: str
    goal: float
    larger_is_better: bool = False

    @property
    def ratio(self) -> float:
        """How many times better ours is than the reference."""
        return self.ours / self.reference if self.larger_is_better else self.reference / self.ours


def best_seconds(*works: Callable[[], object], repeats: int = 5) -> list[float]:
    """Return the shortest time of each of ``works`` in seconds, of ``repeats`` runs in turn.

    In turn, so that a machine that slows down slows all of them. The shortest, because other programs only
    add time.
    """
    best = [float("inf")] * len(works)
    for _ in range(repeats):
        for number, work in enumerate(works):
            start = time.perf_counter()
            work()
            best[number] = min(best[number], time.perf_counter() - start)
    return best


def peak_of(code: str, *arguments: object, **options: object) -> float:
    """Run Python ``code`` with ``arguments`` in a process of its own; return its peak memory in bytes."""
    command = [sys.executable, "-c", code + PRINT_PEAK, *map(str, arguments)]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, **options)
    return int(run.stdout.split()[-1]) * 1024


def measured_as_a_job(script: str) -> list[Measure]:
    """Return what ``script`` passes to ``print_measures`` in a process with the memory settings of jobs."""
    environment = KEEP_FREED_MEMORY | dict(os.environ)
    run = subprocess.run(
        [sys.executable, script], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return [Measure(**fields) for fields in json.loads(run.stdout)]


def print_measures(measures: list[Measure]) -> None:
    """Print ``measures`` for ``measured_as_a_job``."""
    print(json.dumps([asdict(measure) for measure in measures]))
