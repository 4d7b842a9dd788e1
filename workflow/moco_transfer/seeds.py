"""Every random draw of the project comes from a named stream.

A stream is a NumPy generator seeded by a root seed and a path of names, such as ``stream(2023, "subset",
"spine", 1)``. Parts of the code that draw from different streams cannot disturb each other, and any draw can
be repeated by name: nothing depends on the order in which jobs, processes or threads happen to run.
"""

from __future__ import annotations

import hashlib

import numpy as np


def stream_key(root: int, *names: str | int) -> int:
    """Return the 128-bit integer that stands for the stream ``names`` under the root seed ``root``.

    The key is the head of a SHA-256 over the parts, each with its type and length, so that ``("a", "bc")``
    and ``("ab", "c")``, or ``1`` and ``"1"``, are different streams.
    """
    digest = hashlib.sha256()
    for part in (root, *names):
        if not isinstance(part, (int, str, np.integer)):
            raise TypeError(f"streams are named by strings and integers, not by {part!r}")
        kind = "s" if isinstance(part, str) else "i"
        text = str(part).encode()
        digest.update(f"{kind}{len(text)}:".encode() + text)
    return int.from_bytes(digest.digest()[:16], "big")


def stream(root: int, *names: str | int) -> np.random.Generator:
    """Return a fresh generator for the stream ``names`` under the root seed ``root``.

    >>> bool(stream(1, "subset", 2).random() == stream(1, "subset", 2).random())
    True
    """
    return np.random.Generator(np.random.PCG64(stream_key(root, *names)))
