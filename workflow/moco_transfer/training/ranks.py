"""The processes that share a training, one per GPU: those that torchrun has started, or this process alone.

This is plain data parallelism: every rank holds the whole network, computes its share of the batch, and adds its results to
those of the others. A batch is divided between the groups of batch normalisation (``moco``), so that each group lies within
one rank, and any number of ranks gives the result of one process with the same number of groups.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch import distributed as dist

from moco_transfer.errors import UserError

# Rank 0 may wait for days until another job releases the training's lock. If a rank dies, torchrun notices.
PATIENCE = timedelta(days=30)


@dataclass(frozen=True)
class Ranks:
    """``rank`` is this process's number among ``size``, from 0. If ``size`` is 1, nothing is sent anywhere.

    ``gather`` and ``sum`` send tensors through ``group``; None is the group that ``open_ranks`` has opened.
    """

    rank: int = 0
    size: int = 1
    group: dist.ProcessGroup | None = None

    def on(self, device: torch.device) -> Ranks:
        """Return these ranks; if ``device`` is a GPU, they send tensors from GPU to GPU (NCCL). All ranks call this."""
        if self.size == 1 or device.type != "cuda":
            return self
        return replace(self, group=dist.new_group(backend="nccl", timeout=PATIENCE))

    def shares(self, n: int, groups: int) -> list[tuple[int, int]]:
        """Return start and stop of each rank's share of ``n`` rows, if ``tensor_split`` cuts them into ``groups``."""
        ends = np.cumsum([0, *(len(group) for group in np.array_split(np.arange(n), groups))]).tolist()
        return list(pairwise(ends[:: groups // self.size]))

    @torch.no_grad()
    def gather(self, rows: Tensor, shares: Sequence[tuple[int, int]]) -> Tensor:
        """Return the rows of all ranks, [n, ...], of which this rank's share is ``rows``, without gradients."""
        if self.size == 1:
            return rows.detach()
        sizes = [stop - start for start, stop in shares]
        # all_gather needs equal sizes; shares differ by at most one row per group.
        padded = rows.new_zeros(max(sizes), *rows.shape[1:])
        padded[: len(rows)] = rows
        found = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(found, padded, self.group)
        return torch.cat([each[:size] for each, size in zip(found, sizes, strict=True)])

    @torch.no_grad()
    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace ``tensors``, which have one type and device, by their sums over all ranks, in one message."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat, group=self.group)
        sums = flat.split([tensor.numel() for tensor in tensors])
        for tensor, total in zip(tensors, sums, strict=True):
            tensor.copy_(total.view(tensor.shape))

    def broadcast(self, decision: bool) -> bool:
        """Return the ``decision`` of rank 0; the other ranks wait for it."""
        if self.size == 1:
            return decision
        message = torch.tensor([decision], dtype=torch.int64)
        dist.broadcast(message, 0)
        return bool(message.item())


ALONE = Ranks()


@contextmanager
def open_ranks() -> Iterator[Ranks]:
    """Join the other processes that torchrun has started; without torchrun, this process is alone.

    Messages travel between CPUs (gloo), so that each rank can still choose its GPU. A UserError in a rank other than 0 names
    the rank.
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
