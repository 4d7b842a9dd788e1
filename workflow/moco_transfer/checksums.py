"""Checksums in the files that this project writes for itself: a flipped bit is an error, not another result.

Such a file contains the line ``PLACE`` once, with the SHA-256 of the file in place of the zeros. The hash is that of the file
with the zeros. Safetensors and Parquet files have the line in their metadata, and stay ordinary files of their kind;
NumPy's and PyTorch's readers ignore a line at the end.
"""

from __future__ import annotations

import hashlib
import mmap
from pathlib import Path

from moco_transfer.errors import UserError

MARK = "SHA-256 of this file with zeros here: "
DIGITS = 64
PLACE = MARK + "0" * DIGITS


def seal(path: Path) -> None:
    """Seal the file ``path`` in place. If its metadata do not contain ``PLACE``, the line is added at its end."""
    with path.open("r+b") as file:
        at = _find(file.fileno())
        if at is None:
            at = file.seek(0, 2) + len(MARK)
            file.write(PLACE.encode())
            file.flush()
        digest = _digest(file.fileno(), at)
        file.seek(at)
        file.write(digest)


def check(path: str | Path, required: bool = False) -> None:
    """Raise UserError if the file ``path`` is not the one that was sealed.

    A file without a seal passes unless one is ``required``. A file whose seal stands at its end must require it, because
    what damages the end damages the seal too.
    """
    with Path(path).open("rb") as file:
        at = _find(file.fileno())
        if at is None:
            if required:
                raise damaged(path)
            return
        file.seek(at)
        if file.read(DIGITS) != _digest(file.fileno(), at):
            raise damaged(path)


def damaged(path: str | Path) -> UserError:
    """Return the error for a file that is not as it was written."""
    return UserError(
        f"{path}: this file is damaged: its bytes are not those that were written; delete it and run again (if it is your "
        "own file, get it again)"
    )


def file_sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _find(file: int) -> int | None:
    """Return where in the open ``file`` the digits of its seal begin, or None if it has no seal."""
    try:
        with mmap.mmap(file, 0, access=mmap.ACCESS_READ) as content:
            at = content.rfind(MARK.encode())
            return at + len(MARK) if at >= 0 else None
    except ValueError:  # an empty file
        return None


def _digest(file: int, at: int) -> bytes:
    """Return the SHA-256 of the open ``file`` as digits; those from ``at`` count as zeros."""
    with mmap.mmap(file, 0, access=mmap.ACCESS_READ) as content, memoryview(content) as view:
        digest = hashlib.sha256(view[:at])
        digest.update(b"0" * DIGITS)
        digest.update(view[at + DIGITS :])
        return digest.hexdigest().encode()
