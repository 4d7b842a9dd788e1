"""Images per second of MoCo and end to end at the paper's settings, and how busy the GPU is.

Our steps are those of the real loops, from the stored images to the new weights, with deterministic algorithms. A window of
steps is timed after a few to warm up. In a second window, PyTorch's profiler adds up the time in which at least one kernel or copy
runs; divided by the time of as many unprofiled steps, this is the share in which the GPU is busy. In a third one, every place at
which a step waits for the GPU is counted.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from record import Part, Record
from scale import Files, Scale, moco_settings, paper, scale_of
from torch import nn

import reference
from moco_transfer.config import Precision, stages
from moco_transfer.config.augmentation import operations_of
from moco_transfer.finetune.end_to_end import masked_bce
from moco_transfer.model import Classifier
from moco_transfer.networks import load_encoder, seeded
from moco_transfer.pretrain import train_moco
from moco_transfer.training import images as image_module
from moco_transfer.training.device import open_device
from moco_transfer.training.images import ImagePool, View, predict
from moco_transfer.training.loop import Recipe, SupervisedTraining

CLASSES, SEED = 14, 1


class Enough(Exception):
    """Ends a training after the steps that a Clock wants."""


class Clock:
    """Times the steps of a loop, and if it ``looks``, opens the other two windows; ``train_moco`` takes it for a checkpoint.

    Attributes
    ----------
    step_seconds : of the timed steps
    busy_seconds : of the GPU in one step; None if the profiler saw nothing
    waits : the places where the steps of the third window waited for the GPU, with their number per step
    """

    received = None

    def __init__(self, scale: Scale, device: torch.device, looks: bool) -> None:
        self.scale, self.device, self.looks = scale, device, looks and device.type == "cuda"
        self.count, self.step_seconds, self.busy_seconds = 0, float("nan"), None
        self.waits: Counter[str] = Counter()

    def read(self) -> None:
        """Return no state: every training starts anew."""

    def after_step(self, _: object = None) -> None:
        """Count a step; raises Enough after the last one."""
        self.count += 1
        timed = self.scale.warm + self.scale.timed
        if self.count == self.scale.warm:
            self._wait()
            self._start = time.perf_counter()
        elif self.count == timed:
            self._wait()
            self.step_seconds = (time.perf_counter() - self._start) / self.scale.timed
            if not self.looks:
                raise Enough
            self._profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])
            self._profiler.__enter__()
        elif self.count == timed + self.scale.profiled:
            self._wait()
            self._profiler.__exit__(None, None, None)
            self.busy_seconds = _busy(self._profiler) / self.scale.profiled or None
            self._caught = warnings.catch_warnings(record=True)
            self._warned = self._caught.__enter__()
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
        elif self.count == timed + 2 * self.scale.profiled:
            torch.cuda.set_sync_debug_mode("default")
            self._caught.__exit__(None, None, None)
            places = Counter(
                f"{Path(each.filename).name}:{each.lineno}"
                for each in self._warned
                if "synchronizing" in str(each.message)
            )
            self.waits = Counter({place: number / self.scale.profiled for place, number in places.items()})
            raise Enough

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def _busy(profiler: torch.profiler.profile) -> float:
    """Return the seconds in which at least one kernel or copy ran."""
    intervals = sorted(
        (event.time_range.start, event.time_range.end)
        for event in profiler.events()
        if event.device_type == torch.autograd.DeviceType.CUDA and not event.is_user_annotation
    )
    busy, until = 0.0, float("-inf")
    for start, end in intervals:
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    return busy / 1e6


def run(part: Part, record: Record, work: Path, device: str) -> None:
    """Measure all batches in the precision of the paper's configuration, then some in the others and from pinned memory."""
    bench = Bench(part, scale_of(device), Files(work), open_device(device))
    first, *others = bench.scale.precisions
    for kind, batches in (("MoCo", bench.scale.moco), ("end to end", bench.scale.end_to_end)):
        for batch in batches:
            bench.compare(kind, batch, first)
    bench.forward()
    for precision in others:
        for kind, batches in (("MoCo", bench.scale.moco), ("end to end", bench.scale.end_to_end)):
            bench.compare(kind, batches[0], precision)
    for kind, batches in (("MoCo", bench.scale.moco), ("end to end", bench.scale.end_to_end)):
        bench.ours(kind, batches[-1], first, note=", images pinned", pinned=True)


class Bench:
    """The steps of this project and of the reference, on the images of the part ``images``, many times over."""

    def __init__(self, part: Part, scale: Scale, files: Files, device: torch.device) -> None:
        self.part, self.scale, self.files, self.device = part, scale, files, device
        rows = np.tile(np.arange(scale.images), scale.copies)
        # Both are kept, because the images of a pool stay on the device once they are there.
        self._pool, self._pinned_pool = (ImagePool([(files.images, rows)]) for _ in range(2))

    def compare(self, kind: str, batch: int, precision: Precision) -> None:
        """Measure this project's steps and the reference's, in turn."""
        self._measure(kind, batch, precision, "", self._reference(kind, batch, precision))

    def ours(self, kind: str, batch: int, precision: Precision, note: str, **changes: Any) -> float:
        """Measure this project's steps, and return their seconds."""
        return self._measure(kind, batch, precision, note, None, **changes)

    def _measure(
        self,
        kind: str,
        batch: int,
        precision: Precision,
        note: str,
        reference: Callable[[Clock], None] | None,
        **changes: Any,
    ) -> float:
        ours = {"MoCo": self._moco, "end to end": self._end_to_end}[kind]
        seconds, theirs = float("inf"), float("inf")
        on_gpu = self.device.type == "cuda"
        for repeat in range(self.scale.repeats):
            clock = self._clocked(partial(ours, batch, precision, **changes), looks=repeat == 0)
            seconds = min(seconds, clock.step_seconds)
            if repeat == 0:
                looked, memory = clock, torch.cuda.max_memory_allocated() / 2**30 if on_gpu else None
            if reference:
                theirs = min(theirs, self._clocked(reference, looks=False).step_seconds)
        values: dict[str, float | None] = {
            "images/s": batch / seconds,
            "reference": batch / theirs if reference else None,
            "ratio": theirs / seconds if reference else None,
            "ms": 1000 * seconds,
            "GPU busy": looked.busy_seconds / seconds if looked.busy_seconds else None,
            "waits": sum(looked.waits.values()) if on_gpu else None,
            "GiB": memory,
        }
        self.part.measure(f"{kind}, batch {batch}, {precision}{note}", **values)
        if reference and looked.waits:
            places = ", ".join(f"{place} {number:.3g}" for place, number in looked.waits.most_common(6))
            self.part.note(f"{kind}, batch {batch}, {precision}: waits for the GPU per step: {places}")
        return seconds

    def _clocked(self, train: Callable[[Clock], None], looks: bool) -> Clock:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        clock = Clock(self.scale, self.device, looks)
        try:
            train(clock)
        except Enough:
            return clock
        raise RuntimeError("a training ended before its steps were timed")

    def _moco(
        self, batch: int, precision: Precision, clock: Clock, pinned: bool = False, **changes: Any
    ) -> None:
        settings = moco_settings(self.scale, batch, precision, epochs=1000, **changes)
        backbone = load_encoder(self.files.encoder(self.scale.crop))
        with self._delivered(pinned) as pool:
            train_moco(settings, backbone, pool, {}, self.device, clock, None)

    def _end_to_end(
        self,
        batch: int,
        precision: Precision,
        clock: Clock,
        pinned: bool = False,
        prepare: Callable[[SupervisedTraining], None] = lambda _: None,
        **changes: Any,
    ) -> None:
        with self._delivered(pinned) as pool:
            training = self._training(pool, batch, precision, **changes)
            prepare(training)
            for _ in training.steps():
                clock.after_step()

    @contextmanager
    def _delivered(self, pinned: bool) -> Iterator[ImagePool]:
        """Yield a pool whose images come to the device in the usual way, or from pinned memory."""
        if not pinned:
            yield self._pool
            return
        # On the CPU, the thread that reads ahead stands for pinned memory.
        way = "pinned" if self.device.type == "cuda" else "ahead"
        with patch.object(image_module, "delivery", lambda *_: way):
            yield self._pinned_pool

    def _training(
        self, pool: ImagePool, batch: int, precision: Precision, compiled: bool = False
    ) -> SupervisedTraining:
        """Return a training end to end with full batches, with the optimiser that the paper uses with this batch."""
        config = paper()
        with seeded(SEED):
            network = Classifier(load_encoder(self.files.encoder(self.scale.crop)), CLASSES)
        optimizer = config.finetune.optimizer("chest" if batch == max(self.scale.end_to_end) else "spine")
        recipe = Recipe(
            optimizer=optimizer.model_copy(update={"batch": batch}),
            section="gpu",
            epochs=1000,
            operations=[] if config.finetune.augment == "none" else operations_of(config.finetune.augment),
            view=View(self.scale.crop, self.scale.encoder(self.scale.crop)),
            computing=stages.Computing(precision=precision, compile=compiled),
            seed=SEED,
            stream=("gpu",),
        )
        labels = np.random.default_rng(SEED).integers(0, 2, (len(pool), CLASSES)).astype(np.float32)
        return SupervisedTraining(network, pool, labels, masked_bce, recipe, self.device)

    def _reference(self, kind: str, batch: int, precision: Precision) -> Callable[[Clock], None]:
        def run(clock: Clock) -> None:
            network, size = reference_network(self.scale), self.scale.crop
            if kind == "MoCo":
                step = reference.moco_step(network, paper().moco, batch, size, self.device, precision)
            else:
                step = reference.end_to_end_step(network, batch, size, self.device, precision)
            with fastest_algorithms():
                while True:
                    step()
                    clock.after_step()

        return run

    def forward(self) -> None:
        """Measure predictions, which are always in float32."""
        network = load_encoder(self.files.encoder(self.scale.crop)).to(self.device)
        pool = ImagePool(
            [(self.files.images, np.tile(np.arange(self.scale.images), min(8, self.scale.copies)))]
        )
        view = View(self.scale.crop, self.scale.encoder(self.scale.crop))
        best = float("inf")
        for _ in range(1 + self.scale.repeats):
            start = time.perf_counter()
            predict(network, pool, view, self.device)
            best = min(best, time.perf_counter() - start)
        self.part.measure("predictions, float32", **{"images/s": len(pool) / best})


def reference_network(scale: Scale) -> Callable[..., nn.Module]:
    """Return torchvision's network of this architecture as a function of ``num_classes``; a tiny one for tests of the parts."""
    from torchvision.models import DenseNet, densenet121

    if scale.network.startswith("densenet121"):
        return densenet121
    return partial(DenseNet, growth_rate=8, block_config=(2, 3, 4, 3), num_init_features=16)


@contextmanager
def fastest_algorithms() -> Iterator[None]:
    """Let PyTorch and cuDNN use any algorithm."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(deterministic)
        torch.backends.cudnn.benchmark = False
