"""What the result of a training depends on, by name: the state of another training must never be taken for this one's.

The state of a training on disk, from which a killed job goes on.

The state is one file, replaced as a whole: weights, optimiser, queue, metrics so far, and the step that comes next. No
state of a random generator is in it, because every draw is named by its epoch or step. It is saved at the first step
after ``SECONDS_BETWEEN_SAVES``, not after every epoch: a MoCo epoch takes a tenth of a second for 58 images and many
minutes for 225,720. SIGTERM and SIGINT save it once more and end the process.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from moco_transfer.errors import UserError
from moco_transfer.files import FULL, replacing


def fingerprint(
    settings: Mapping[str, Any], images: Sequence[Path], files: Mapping[str, Sequence[Path]]
) -> dict[str, str]:
    """Return the values of all ``settings`` and the hashes of all inputs, by name.

    Where files lie and which device trains are no part of it: a moved folder or another GPU is the same training.

    Parameters
    ----------
    settings : of the stage; nested ones are named with dots, ``schedule.lr``
    images : the images.npy of each store that is read; its hash stands in the manifest beside it
    files : other inputs by the name that the log gives them when they have changed

    Raises UserError for a store without its manifest.
    """
    found = dict(_flat("", settings))
    for name, paths in files.items():
        found[name] = " ".join(map(_sha256, paths))
    found["images"] = " ".join(map(_images_sha256, images))
    return found


def changed(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """Return the names whose values differ, or that only one of the two has, sorted."""
    return [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]


def _images_sha256(images: Path) -> str:
    manifest = images.with_name("manifest.json")
    if not manifest.exists():
        raise UserError(
            f"{manifest}: not there, so {images.parent} is no finished store; remove it and run again"
        )
    return json.loads(manifest.read_text(encoding="utf-8"))["sha256"]["images.npy"]


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _flat(prefix: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        return [
            pair
            for key, inner in value.items()
            for pair in _flat(f"{prefix}.{key}" if prefix else key, inner)
        ]
    return [(prefix, json.dumps(value, sort_keys=True))]


SECONDS_BETWEEN_SAVES = 60.0
SIGNALS = (signal.SIGTERM, signal.SIGINT)

log = logging.getLogger(__name__)


class Checkpoint:
    """The file that holds the state of one training.

    Inside a ``with`` block SIGTERM and SIGINT wait for the next ``after_step``.

    Parameters
    ----------
    path : of the state
    fingerprint : what the training depends on, by name; the state of another one is set aside, not read
    """

    def __init__(self, path: Path, fingerprint: Mapping[str, str]) -> None:
        self.path, self.fingerprint = path, dict(fingerprint)
        self._saved = time.monotonic()
        self.received: int | None = None  # the signal that has come

    def __enter__(self) -> Checkpoint:
        self._handlers = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def read(self) -> dict[str, Any] | None:
        """Return the state that was saved last, on the CPU, or None if this training has none."""
        if not self.path.exists():
            return None
        try:
            saved = torch.load(self.path, map_location="cpu", weights_only=True)
            found, state = saved["fingerprint"], saved["state"]
        except Exception:  # whatever PyTorch's reader raises for bytes that are no state
            self._set_aside("it cannot be read")
            return None
        if found != self.fingerprint:
            self._set_aside(f"changed since then: {', '.join(changed(found, self.fingerprint))}")
            return None
        return state

    def after_step(self, state: Callable[[], dict[str, Any]]) -> None:
        """Save ``state()`` if it is time to, or if a signal has come.

        ``state`` returns tensors, numbers, strings and None in dicts, lists and tuples. Raises UserError where the disk
        is full (the state saved before stays whole), and SystemExit with 128 + its number after a signal.
        """
        # Read once: a signal that comes while the state is written gets the next step.
        self.save_if_due(state, self.received)

    def save_if_due(self, state: Callable[[], dict[str, Any]], received: int | None) -> None:
        """Do as ``after_step`` does, with ``received`` for the signal that has come."""
        if received is None and time.monotonic() - self._saved < SECONDS_BETWEEN_SAVES:
            return
        self._write(state())
        self._saved = time.monotonic()
        if received is not None:
            log.info("%s: the state is saved, run again to go on", signal.Signals(received).name)
            raise SystemExit(128 + received)

    def _write(self, state: dict[str, Any]) -> None:
        # By way of memory, because PyTorch's own writer turns a full disk into an error of its own without a number.
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

    def _set_aside(self, reason: str) -> None:
        aside = self.path.with_name("set_aside.pt")
        self.path.replace(aside)
        log.info("training starts anew; an earlier state is set aside as %s: %s", aside, reason)

    def _receive(self, number: int, _: FrameType | None) -> None:
        self.received = number
