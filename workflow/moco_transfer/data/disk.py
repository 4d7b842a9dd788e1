"""Room on the disk: asked for before something large is written, and a full or read-only disk told in one line."""

from __future__ import annotations

import errno
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from moco_transfer.errors import UserError

# EFBIG: the limit that some schedulers set on the size of one file.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)

log = logging.getLogger(__name__)


@contextmanager
def room_for(needed: int, folder: Path) -> Iterator[None]:
    """Make ``folder``, and run the block only if ``needed`` bytes are free there; what it writes goes into ``folder``.

    Raises UserError if they are not, or if while the block runs the disk, a quota or a limit on one file's size turns
    out to be full, or the folder may not be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise UserError(_no_space(needed, folder, f"{_readable(free)} are free"))
        log.info("%s to be written to %s, where %s are free", _readable(needed), folder, _readable(free))
        yield
    except OSError as error:
        if error.errno in FULL:
            raise UserError(_no_space(needed, folder, error.strerror or "disk full")) from None
        if error.errno in READ_ONLY:
            raise UserError(
                f"{folder}: cannot be written to ({error.strerror}); give this user the right to, or link results/ to "
                "a disk that can be written"
            ) from None
        raise


def _no_space(needed: int, folder: Path, found: str) -> str:
    return (
        f"no space left on {folder}: needs about {_readable(needed)}; {found}. Free some, or link results/ to a larger "
        "disk, and run again: what is packed is kept"
    )


def _readable(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.2f} MB"
