"""The state of a training on disk, from which a killed job resumes, and the fingerprint of what a training depends on.

The state is one file, replaced as a whole: weights, optimiser, queue, metrics so far, and the number of the next step. It
holds no state of a random generator, because every draw is named by its epoch or step. It is saved at the first step
after ``SECONDS_BETWEEN_SAVES``, not after every epoch: a MoCo epoch takes a tenth of a second for 58 images and many
minutes for 225,720. SIGTERM and SIGINT save it once more and end the process. The fingerprint lies beside the state, so
that the state of another training is never taken for this one's.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from moco_transfer.errors import UserError
from moco_transfer.files import FULL, replacing
from moco_transfer.training.ranks import ALONE, Ranks

SECONDS_BETWEEN_SAVES = 60.0
SIGNALS = (signal.SIGTERM, signal.SIGINT)

log = logging.getLogger(__name__)


class Checkpoint:
    """The file that holds the state of one training, which every rank reads and rank 0 writes.

    Inside a ``with`` block SIGTERM and SIGINT wait for the next ``after_step``, once the state has been read. Before
    that there is nothing to save, and a process that waits for a GPU, say, ends at once.

    Parameters
    ----------
    path : of the file
    fingerprint : what the training depends on, by name; the state of another training is set aside, not read
    ranks : the processes that share the training; each has a checkpoint of its own for the same file
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
        """Return the state that was saved last, on the CPU, or None if this training has none."""
        self._was_read = True
        # Rank 0 reads first, because it may set aside a state that no rank should read.
        state = self._read() if self.ranks.rank == 0 else None
        self.ranks.hear(True)
        return state if self.ranks.rank == 0 else self._read()

    def agree(self, stops: bool) -> None:
        """Make ``after_step`` stop all ranks, or none. If there are several, all call this in every step, with one value.

        A rank's own signal does not stop it, because the others would wait for it in the next step.
        """
        self._all_stop = stops

    def after_step(self, state: Callable[[], dict[str, Any]]) -> None:
        """Save ``state()`` if it is time to; after a signal, save it and raise SystemExit with 128 + the signal's number.

        ``state`` returns tensors, numbers, strings and None in dicts, lists and tuples. Raises UserError if the disk is
        full; the state that was saved before stays whole.
        """
        # Read once: a signal that arrives while the state is written waits for the next step.
        received = self.received
        if self.ranks.size > 1:
            received = (received or signal.SIGTERM) if self._all_stop else None
        if self.ranks.rank == 0:
            if received is None and time.monotonic() - self._saved < SECONDS_BETWEEN_SAVES:
                return
            self._write(state())
            self._saved = time.monotonic()
            if received is not None:
                log.info("%s: the state is saved, run again to go on", signal.Signals(received).name)
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
            saved = torch.load(self.path, map_location="cpu", weights_only=True)
            found, state = saved["fingerprint"], saved["state"]
        except Exception:  # whatever PyTorch's reader raises for bytes that are no state
            return self._set_aside("it cannot be read")
        if found != self.fingerprint:
            return self._set_aside(f"changed since then: {', '.join(changed(found, self.fingerprint))}")
        return state

    def _set_aside(self, reason: str) -> None:
        aside = self.path.with_name("set_aside.pt")
        self.path.replace(aside)
        log.info("training starts anew; an earlier state is set aside as %s: %s", aside, reason)

    def _write(self, state: dict[str, Any]) -> None:
        # Through memory, because PyTorch's writer turns a full disk into an error without an error number.
        serialised = io.BytesIO()
        torch.save({"fingerprint": self.fingerprint, "state": state}, serialised)
        try:
            with replacing(self.path) as temporary:
                temporary.write_bytes(serialised.getbuffer())
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise UserError(
                f"no space left on {self.path.parent}: the training's state takes {serialised.tell() / 1e6:.2f} MB "
                f"({error.strerror}). Free some and run again: the state saved before is kept"
            ) from None


def fingerprint(
    settings: Mapping[str, Any], images: Sequence[Path], files: Mapping[str, Sequence[Path]]
) -> dict[str, str]:
    """Return the values of all ``settings`` and the hashes of all inputs, by name.

    Where the files lie and which device trains do not count: on another GPU, or in a folder that was moved, it is the
    same training.

    Parameters
    ----------
    settings : of the stage; nested ones are named with dots, ``schedule.lr``
    images : the images.npy of each store that is read; the manifest beside it holds its hash
    files : other inputs by the name that the log gives them if they have changed

    Raises UserError for a store without its manifest.
    """
    found = dict(_flat("", settings))
    for name, paths in files.items():
        found[name] = " ".join(map(_sha256, paths))
    found["images"] = " ".join(map(_images_sha256, images))
    return found


def changed(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """Return the names whose values differ, or that only one of the two has, sorted."""
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else key, inner)
    else:
        yield prefix, json.dumps(value, sort_keys=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _images_sha256(images: Path) -> str:
    manifest = images.with_name("manifest.json")
    if not manifest.exists():
        raise UserError(
            f"{manifest}: not there, so {images.parent} is no finished store; remove it and run again"
        )
    return json.loads(manifest.read_text(encoding="utf-8"))["sha256"]["images.npy"]
