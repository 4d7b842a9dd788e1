"""What might make a step slow, one suspicion at a time: the speed with one thing changed, beside that of the part ``speed``.

- any algorithm: deterministic algorithms are off, and cuDNN chooses the fastest
- filled memory: PyTorch fills new memory, as it does by default with deterministic algorithms
- TF32: also outside convolutions
- one group: MoCo normalises the whole batch at once, not in groups
- CUDA graph: the forward and backward pass of the network are launched as one

A suspicion that fails is noted, and the others go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import Part, Record
from scale import Files, scale_of
from speed import Bench, fastest_algorithms

from moco_transfer.training.device import open_device
from moco_transfer.training.loop import SupervisedTraining


def run(part: Part, record: Record, work: Path, device: str) -> None:
    """Measure the speed with one change each."""
    scale = scale_of(device)
    bench = Bench(part, scale, Files(work), open_device(device))
    usual, small, large = scale.precisions[0], scale.end_to_end[0], scale.moco[-1]

    def try_out(kind: str, batch: int, precision: str, name: str, during: Any = None, **changes: Any) -> None:
        try:
            with during or nullcontext():
                bench.ours(kind, batch, precision, f", {name}", **changes)
        except Exception as error:  # any suspicion may be impossible here
            part.note(
                f"{kind}, batch {batch}, {name}: not measured: {type(error).__name__}: {str(error)[:300]}"
            )

    try_out("end to end", small, usual, "as it is")
    try_out("end to end", small, usual, "any algorithm", fastest_algorithms())
    if device == "cuda":
        try_out("end to end", small, usual, "CUDA graph", prepare=_graphed)
    try_out("MoCo", large, usual, "one group", groups=1)
    try_out("end to end", small, usual, "filled memory", _filled_memory())
    try_out("end to end", small, "float32", "TF32", _tf32())


@contextmanager
def _filled_memory() -> Iterator[None]:
    torch.utils.deterministic.fill_uninitialized_memory = True
    try:
        yield
    finally:
        torch.utils.deterministic.fill_uninitialized_memory = False


@contextmanager
def _tf32() -> Iterator[None]:
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


def _graphed(training: SupervisedTraining) -> None:
    """Let ``training`` launch its forward and backward passes as CUDA graphs; all its batches have one size."""
    first = [np.arange(training.recipe.optimizer.batch)]
    ((_, images),) = training.pool.batches(first, training.device)
    half = training.recipe.computing.precision == "bfloat16"
    # A graph would keep the cached copies of the weights of its first step.
    with torch.autocast(training.device.type, torch.bfloat16, enabled=half, cache_enabled=False):
        training._forward = torch.cuda.make_graphed_callables(
            training.network.train(), (training.recipe.view.of(images),)
        )
