"""One line of a benchmark: the same work done by this project and in a reference way, in one run on the same files."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


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
