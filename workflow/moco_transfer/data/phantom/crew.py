"""Work shared out among processes, with results in the order of the jobs."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any


def in_order(function: Callable[..., Any], jobs: Sequence[tuple], workers: int) -> Iterator[Any]:
    """Yield ``function(*job)`` for every job, in order, computed by ``workers`` processes (in this one if 1)."""
    if workers <= 1 or len(jobs) < 2:
        for job in jobs:
            yield function(*job)
        return
    # Forked children inherit the compiled kernels and the imports; they run NumPy and Numba only.
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield from pool.map(
            function, *zip(*jobs, strict=True), chunksize=max(1, min(32, len(jobs) // (4 * workers)))
        )
