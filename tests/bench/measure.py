"""One line of a benchmark: the same work done by this project and in a reference way, in one run on the same files."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from moco_transfer.job_environment import keep_freed_memory


@dataclass(frozen=True)
class Measure:
    """What was measured; ``goal`` is the ratio asked for. ``reference`` is a limit where no other way is compared.

    Larger ratios are better: for times the reference stands above, for rates ours does.
    """

    measure: str
    ours: float
    reference: float
    unit: str
    goal: float
    larger_is_better: bool = False

    @property
    def ratio(self) -> float:
        """Return ours over reference as a speed."""
        return self.ours / self.reference if self.larger_is_better else self.reference / self.ours


def best_seconds(*works: Callable[[], object], repeats: int = 5) -> list[float]:
    """Return the shortest time of each of the ``works`` in seconds, all of them in turn, ``repeats`` times.

    In turn, so that a machine that slows down slows all; the shortest, because whatever else runs only adds.
    """
    best = [float("inf")] * len(works)
    for _ in range(repeats):
        for number, work in enumerate(works):
            start = time.perf_counter()
            work()
            best[number] = min(best[number], time.perf_counter() - start)
    return best


def measured_as_a_job(script: str) -> list[Measure]:
    """Return what ``script`` gives to ``print_measures`` in a process of its own, which keeps memory as jobs do."""
    keep_freed_memory()
    run = subprocess.run([sys.executable, script], stdout=subprocess.PIPE, text=True, check=True)
    return [Measure(**fields) for fields in json.loads(run.stdout)]


def print_measures(measures: list[Measure]) -> None:
    """Print ``measures`` for ``measured_as_a_job``."""
    print(json.dumps([asdict(measure) for measure in measures]))
