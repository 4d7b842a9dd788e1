"""The processes that share a training, one a GPU: those that torchrun has started, or this one alone.

Plain data parallelism: every rank has the whole network, knows the whole batch, computes its share of it and adds what
it found to what the others found. A batch is cut where grouped batch normalisation cuts it (``moco``), so that each group
lies within one rank, and any number of ranks gives what one process with as many groups gives.


An attempt at a training that several processes share: rank 0 holds the lock, the state and the outputs.

The other ranks wait until rank 0 has the lock, read the state that it has found good, and stop after the same step as it
does: whether a signal has come to any of them travels with the gradients.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch import distributed as dist

from moco_transfer.errors import UserError
from moco_transfer.training.attempt import STATE, attempt
from moco_transfer.training.checkpoint import Checkpoint

# Rank 0 may wait for days until another job lets go of the training's lock. A rank that dies is torchrun's to notice.
PATIENCE = timedelta(days=30)


@dataclass(frozen=True)
class Ranks:
    """``rank`` is this process's number among ``size``, from 0. Where ``size`` is 1 nothing is sent anywhere.

    ``group`` carries the tensors that ``gather`` and ``sum`` send; None is the one that ``open_ranks`` has opened.
    """

    rank: int = 0
    size: int = 1
    group: dist.ProcessGroup | None = None

    def on(self, device: torch.device) -> Ranks:
        """Return these ranks with tensors sent from GPU to GPU (NCCL) where ``device`` is one; all ranks call this."""
        if self.size == 1 or device.type != "cuda":
            return self
        return replace(self, group=dist.new_group(backend="nccl", timeout=PATIENCE))

    def shares(self, n: int, groups: int) -> list[tuple[int, int]]:
        """Return first row and end of each rank's share of ``n`` rows in ``groups``, cut as ``tensor_split`` does."""
        ends = np.cumsum([0, *(len(group) for group in np.array_split(np.arange(n), groups))]).tolist()
        cuts = ends[:: groups // self.size]
        return list(pairwise(cuts))

    @torch.no_grad()
    def gather(self, rows: Tensor, shares: Sequence[tuple[int, int]]) -> Tensor:
        """Return the rows of all ranks, [n, ...], of which this rank's share is ``rows``; gradients stay behind."""
        if self.size == 1:
            return rows.detach()
        sizes = [stop - start for start, stop in shares]
        # Collectives want equal sizes; shares differ by at most one row for each of their groups.
        padded = rows.new_zeros(max(sizes), *rows.shape[1:])
        padded[: len(rows)] = rows
        found = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(found, padded, self.group)
        return torch.cat([each[:size] for each, size in zip(found, sizes, strict=True)])

    @torch.no_grad()
    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace ``tensors``, of one type and device, by their sums over all ranks: as one message."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat, group=self.group)
        sums = flat.split([tensor.numel() for tensor in tensors])
        for tensor, total in zip(tensors, sums, strict=True):
            tensor.copy_(total.view(tensor.shape))

    def hear(self, said: bool) -> bool:
        """Return what rank 0 says; the other ranks wait for it."""
        if self.size == 1:
            return said
        message = torch.tensor([said], dtype=torch.int64)
        dist.broadcast(message, 0)
        return bool(message.item())


ALONE = Ranks()


@contextmanager
def open_ranks() -> Iterator[Ranks]:
    """Join the other processes that torchrun has started, or be alone where it has not.

    Messages go by gloo, between processors; no GPU is touched, so one may still be chosen. A UserError of another rank
    than 0 names its rank.
    """
    if not dist.is_torchelastic_launched() or os.environ["WORLD_SIZE"] == "1":
        yield ALONE
        return
    dist.init_process_group("gloo", timeout=PATIENCE)
    ranks = Ranks(dist.get_rank(), dist.get_world_size())
    try:
        yield ranks
    except UserError as error:
        if ranks.rank == 0:
            raise
        raise UserError(f"rank {ranks.rank}: {error}") from None
    dist.destroy_process_group()


class SharedCheckpoint:
    """What a rank sees of the training's ``checkpoint``: all read it, rank 0 writes it."""

    def __init__(self, checkpoint: Checkpoint, ranks: Ranks) -> None:
        self._checkpoint, self._ranks = checkpoint, ranks
        self._stops = False

    @property
    def received(self) -> int | None:
        """The signal that has come to this rank, or None."""
        return self._checkpoint.received

    def agree(self, stops: bool) -> None:
        """Have ``after_step`` stop all ranks; all call this in every step, with the same value."""
        self._stops = stops

    def read(self) -> dict[str, Any] | None:
        """Return the state that was saved last, or None."""
        # Rank 0 comes first, because it may set a state aside that no rank shall read.
        state = self._checkpoint.read() if self._ranks.rank == 0 else None
        self._ranks.hear(True)
        return state if self._ranks.rank == 0 else self._checkpoint.read()

    def after_step(self, state: Callable[[], dict[str, Any]]) -> None:
        """Save ``state()`` on rank 0 if it is time to, and after a signal end every rank by SystemExit."""
        stopped_by = (self.received or signal.SIGTERM) if self._stops else None
        if self._ranks.rank == 0:
            self._checkpoint.save_if_due(state, stopped_by)
        elif stopped_by is not None:
            raise SystemExit(128 + stopped_by)


def shared_attempt(
    train: Callable[[Checkpoint | SharedCheckpoint], None],
    ranks: Ranks,
    folder: Path,
    fingerprint: Mapping[str, str],
    outputs: Sequence[Path],
) -> None:
    """Run ``train`` as ``attempt`` does, on every rank; where rank 0 finds nothing to do, none does anything."""
    if ranks.size == 1:
        attempt(train, folder, fingerprint, outputs)
    elif ranks.rank == 0:
        started = False

        def lead(checkpoint: Checkpoint) -> None:
            nonlocal started
            started = ranks.hear(True)
            train(SharedCheckpoint(checkpoint, ranks))

        attempt(lead, folder, fingerprint, outputs)
        if not started:
            ranks.hear(False)
    elif ranks.hear(True):
        with Checkpoint(folder / STATE, fingerprint) as checkpoint:
            train(SharedCheckpoint(checkpoint, ranks))
