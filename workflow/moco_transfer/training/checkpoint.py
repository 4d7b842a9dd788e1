"""The state of a training on disk, from which a killed job resumes, and the fingerprint of what a training depends on.

The state is one file, replaced as a whole: weights, optimiser, queue, metrics so far, and the number of the next step. It
holds no state of a random generator, because every draw is named by its epoch or step. It is saved after the first step
that ends ``SECONDS_BETWEEN_SAVES`` after the last save, because a MoCo epoch takes a tenth of a second with 58 images and
many minutes with 225,720. After SIGTERM or SIGINT, it is saved once more and the process ends. The file also holds a
checksum, and the fingerprint, so that a training never resumes from the state of another.
"""

from __future__ import annotations

import io
import json
import logging
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

from moco_transfer import checksums
from moco_transfer.data.manifest import images_sha256
from moco_transfer.errors import UserError
from moco_transfer.files import replacing
from moco_transfer.training.code import code_hashes
from moco_transfer.training.ranks import ALONE, Ranks

SECONDS_BETWEEN_SAVES = 60.0
SIGNALS = (signal.SIGTERM, signal.SIGINT)
NAMED = 5  # of what has changed; another version of this package may change every module

log = logging.getLogger(__name__)


class Checkpoint:
    """The file with the state of one training. Every rank reads it; rank 0 writes it.

    Inside a ``with`` block, SIGTERM and SIGINT wait for the next ``after_step``. Until the state has been read there is
    nothing to save, so a process that is still waiting for a GPU, for example, ends at once.

    Parameters
    ----------
    fingerprint : what the training depends on, by name; a damaged state or that of another training is set aside, not read
    ranks : the processes that share the training; each has its own Checkpoint for the same file
    """

    def __init__(self, path: Path, fingerprint: Mapping[str, str], ranks: Ranks = ALONE) -> None:
        self.path, self.fingerprint, self.ranks = path, dict(fingerprint), ranks
        self.received: int | None = None  # the signal that this process has received
        self._all_stop = False
        self._was_read = False
        self._saved = time.monotonic()

    def __enter__(self) -> Checkpoint:
        self._handlers = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def read(self) -> dict[str, Any] | None:
        """Return the last saved state, on the CPU, or None if this training has none."""
        self._was_read = True
        # Rank 0 reads first, because it may set the state aside, and then no rank may read it.
        state = self._read() if self.ranks.rank == 0 else None
        self.ranks.broadcast(True)
        return state if self.ranks.rank == 0 else self._read()

    def agree(self, stops: bool) -> None:
        """Set whether ``after_step`` stops. If there are several ranks, all call this in every step with the same value.

        A rank does not stop at its own signal alone, because the others would wait for it in the next step.
        """
        self._all_stop = stops

    def after_step(self, state: Callable[[], dict[str, Any]]) -> None:
        """Save ``state()`` if it is due; after a signal, save it and raise SystemExit with 128 + the signal's number.

        ``state`` returns tensors, numbers, strings and None in dicts, lists and tuples. Raises UserError if the disk is
        full; the previous state then stays whole.
        """
        # Read once, so that a signal that arrives while the state is written waits for the next step.
        received = self.received
        if self.ranks.size > 1:
            received = (received or signal.SIGTERM) if self._all_stop else None
        if self.ranks.rank == 0:
            if received is None and time.monotonic() - self._saved < SECONDS_BETWEEN_SAVES:
                return
            self._write(state())
            self._saved = time.monotonic()
            if received is not None:
                log.info("%s: the state is saved; run again to resume", signal.Signals(received).name)
        if received is not None:
            raise SystemExit(128 + received)

    def _receive(self, number: int, _: FrameType | None) -> None:
        if not self._was_read:
            raise SystemExit(128 + number)
        self.received = number

    def _read(self) -> dict[str, Any] | None:
        if not self.path.exists():
            return None
        try:
            checksums.check(self.path, required=True)
        except UserError:
            return self._set_aside("it is damaged")
        try:
            saved = torch.load(self.path, map_location="cpu", weights_only=True)
            found, state = saved["fingerprint"], saved["state"]
        except (OSError, MemoryError):  # the machine's error, not the state's
            raise
        except Exception:  # PyTorch's reader raises many kinds of error for bytes that are no state
            return self._set_aside("it cannot be read")
        names = changed(found, self.fingerprint)
        if names:
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            return self._set_aside(f"changed since then: {', '.join(names[:NAMED])}{more}")
        return state

    def _set_aside(self, reason: str) -> None:
        aside = self.path.with_name("set_aside.pt")
        self.path.replace(aside)
        log.info("training starts from the beginning; an earlier state is set aside as %s: %s", aside, reason)

    def _write(self, state: dict[str, Any]) -> None:
        # Serialised in memory, because PyTorch's writer reports a full disk without an error number.
        serialised = io.BytesIO()
        torch.save({"fingerprint": self.fingerprint, "state": state}, serialised)
        with replacing(self.path, sealed=True) as temporary:
            temporary.write_bytes(serialised.getbuffer())


def fingerprint(
    stage: str, settings: Mapping[str, Any], images: Sequence[Path], files: Mapping[str, Sequence[Path]]
) -> dict[str, str]:
    """Return the values of all ``settings`` and the hashes of all inputs and of the code, by name.

    The places of the files and the device do not count: on another GPU or in a moved folder, it is the same training.
    Comments do not count either, but a change of the code or another version of a package does: half a training by one and
    half by another is a training by neither.

    Parameters
    ----------
    stage : the name of the module that trains
    settings : of the stage; names of nested ones are joined by dots, as in ``schedule.lr``
    images : the images.npy of each store; the manifest beside it holds its hash
    files : the other inputs, by the name that the log uses if they have changed
    """
    found = dict(_flat("", settings))
    for name, paths in files.items():
        found[name] = " ".join(map(checksums.file_sha256, paths))
    found["images"] = " ".join(map(images_sha256, images))
    for module, sha256 in code_hashes(stage).items():
        found[f"code of {module}"] = sha256
    # The part after the plus sign names the device that PyTorch was built for.
    found |= {
        "version of torch": torch.__version__.split("+")[0],
        "version of numpy": np.__version__,
        "version of timm": version("timm"),
    }
    return found


def changed(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """Return the names whose values differ or that only one of the two has, sorted."""
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else key, inner)
    else:
        yield prefix, json.dumps(value, sort_keys=True)
