"""``compile: true``: the losses of compiled trainings beside plain ones, and the speed. Compiling takes most of the time.

The losses are those of the small network, which compiles faster; the speed is that of the paper's network, with its smallest batches.
"""

from __future__ import annotations

import time
from pathlib import Path

from record import Part, Record
from scale import PRECISIONS, Files, scale_of
from speed import Bench
from trainings import KINDS, LOSS, train

from moco_transfer.training.device import open_device


def run(part: Part, record: Record, work: Path, device: str) -> None:
    """Compare and measure; on the CPU only one training, as a test."""
    scale, where, files = scale_of(device), open_device(device), Files(work)
    usual, full = scale.precisions[0], device == "cuda"
    for kind in reversed(KINDS) if full else KINDS[1:]:
        for precision in PRECISIONS if full else (usual,):
            start = time.perf_counter()
            compiled = train(kind, files, where, precision, compiled=True)
            plain = train(kind, files, where, precision)
            part.check(f"{kind}, {precision}: losses", compiled.unlike(plain), LOSS[precision])
            part.note(f"{kind}, {precision}: {time.perf_counter() - start:.0f} s, most of them to compile")
    if full:
        bench = Bench(part, scale, files, where)
        bench.ours("end to end", scale.end_to_end[0], usual, ", compiled", compiled=True)
        bench.ours("MoCo", scale.moco[0], usual, ", compiled", compiled=True)
