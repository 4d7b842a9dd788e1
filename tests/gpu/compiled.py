"""``compile: true``: the losses of compiled trainings beside plain ones, and the speed. Compiling takes most of the time.

The losses are those of the small network, which compiles faster; the speed is that of the paper's network, with its smallest batches.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch
from record import Part, Record
from scale import Files, scale_of
from speed import Bench
from trainings import KINDS, LOSS, train

from moco_transfer.config import Precision
from moco_transfer.training.device import open_device


def run(part: Part, record: Record, work: Path, device: str) -> None:
    """Compare and measure; on the CPU only one training, as a test."""
    scale, where, files = scale_of(device), open_device(device), Files(work)
    usual, full = scale.precisions[0], device == "cuda"
    _check(part, "end to end", files, where, usual)
    if full:
        bench = Bench(part, scale, files, where)
        bench.ours("end to end", scale.end_to_end[0], usual, ", compiled", compiled=True)
        _check(part, "MoCo", files, where, usual)
        bench.ours("MoCo", scale.moco[0], usual, ", compiled", compiled=True)
        for kind in KINDS:
            _check(part, kind, files, where, "float32")


def _check(part: Part, kind: str, files: Files, device: torch.device, precision: Precision) -> None:
    start = time.perf_counter()
    compiled = train(kind, files, device, precision, compiled=True)
    seconds = time.perf_counter() - start
    part.check(
        f"{kind}, {precision}: losses",
        compiled.unlike(train(kind, files, device, precision)),
        LOSS[precision],
    )
    part.note(f"{kind}, {precision}: compiled, and trained for a few steps, in {seconds:.0f} s")
