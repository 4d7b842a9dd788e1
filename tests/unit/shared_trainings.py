"""Pretrainings by one process or by a rank of several: ``python shared_trainings.py FOLDER``, in torchrun's environment.

Each case ends with what a process then holds, whole, so that ranks can be compared with each other and with one process.
Networks compute in float64 here: in float32 what rounding changes in one step is a hundred times as large ten steps later.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from made_up_settings import NETWORK, PRETRAIN, changed
from made_up_stores import write_store

from moco_transfer import moco
from moco_transfer import pretrain as module
from moco_transfer.networks import build_network
from moco_transfer.training.images import ImagePool, View
from moco_transfer.training.log import MetricsLog
from moco_transfer.training.ranks import ALONE, Ranks, open_ranks

# Images, batch and groups; with two ranks 58 in four groups is cut 15, 15 | 14, 14, and 15 in two groups 8 | 7.
CASES = {
    "two groups": (32, 16, 2),
    "four groups": (32, 16, 4),
    "uneven groups": (58, 58, 4),
    "uneven ranks": (45, 15, 2),
    "colour": (32, 16, 2),
}
STEPS = 10


class LastState:
    """In place of a checkpoint: keeps the state after the last step."""

    received = None

    def read(self) -> None:
        """Return no state: every case starts anew."""

    def agree(self, stops: bool) -> None:
        """Refuse to be stopped."""
        assert not stops

    def after_step(self, state: Any) -> None:
        """Keep the state."""
        self.state = state()


def write_inputs(folder: Path) -> None:
    """Write noise images in grey and in colour to ``folder``."""
    write_store(folder / "store", (64, 36, 36))
    write_store(folder / "colour", (64, 36, 36, 3))


class DoubleMoCo(moco.MoCo):
    """MoCo in float64."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.double()


@contextmanager
def in_float64() -> Iterator[None]:
    """Let MoCo compute in float64 inside the block, with one thread."""
    threads, prepare = torch.get_num_threads(), View.prepare
    torch.set_num_threads(1)
    with (
        patch.object(moco, "MoCo", DoubleMoCo),
        patch.object(View, "prepare", lambda view, images: prepare(view, images).double()),
    ):
        yield
    torch.set_num_threads(threads)


def train(folder: Path, case: str, ranks: Ranks = ALONE) -> dict[str, Any]:
    """Pretrain on ``folder``'s images and return the state after STEPS steps: both encoders, queue, measures, log."""
    images, batch, groups = CASES[case]
    epochs = -(-STEPS // (images // batch))
    checkpoint = LastState()
    module.train_moco(
        changed(
            PRETRAIN,
            moco__queue=48,
            moco__augment="moco_v2" if case == "colour" else "moco_cxr",
            schedule={"epochs": epochs, "batch": batch, "lr": 0.002, "bn_groups": groups},
        ),
        build_network(NETWORK, 1),
        ImagePool([(folder / ("colour" if case == "colour" else "store") / "images.npy", np.arange(images))]),
        {},
        torch.device("cpu"),
        checkpoint,
        MetricsLog("MoCo", epochs, images) if ranks.rank == 0 else None,
        ranks,
    )
    kept = checkpoint.state
    return {name: kept[name] for name in ("network", "optimizer", "measured", "step", "log")}


if __name__ == "__main__":
    with in_float64(), open_ranks() as ranks:
        for case in CASES:
            path = Path(sys.argv[1], f"{case} rank {ranks.rank}.pt")
            torch.save(train(Path(sys.argv[1]), case, ranks), path)
