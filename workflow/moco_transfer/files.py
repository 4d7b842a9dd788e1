"""Files that are either whole or absent: written beside their place, flushed to disk, then renamed.

Columns of a Parquet file, for jobs of less than a second: without what PyArrow imports on the way.

Its ``read_table`` imports its datasets, its ``to_numpy`` pandas: half a second that a linear head takes itself.


Room on the disk: asked for before something large is written, and a full or read-only disk told in one line.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from moco_transfer.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``; on success it becomes ``path``, on error it is removed.

    The temporary name keeps the suffix, because writers such as Matplotlib choose their format by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_parquet(frame: pd.DataFrame, path: str | Path) -> None:
    """Write ``frame`` to ``path`` without its index; equal frames give equal bytes."""
    with replacing(path) as temporary:
        frame.to_parquet(temporary, index=False, compression="zstd")


def write_csv(frame: pd.DataFrame, path: str | Path, float_format: str | None = None) -> None:
    """Write ``frame`` to ``path`` without its index."""
    with replacing(path) as temporary:
        frame.to_csv(temporary, index=False, float_format=float_format, lineterminator="\n")


def write_array(array: np.ndarray, path: str | Path) -> None:
    """Write ``array`` to ``path`` as .npy, whole or not at all."""
    with replacing(path) as temporary, temporary.open("wb") as handle:
        np.save(handle, array)


def read_columns(path: Path, columns: Sequence[str]) -> pa.Table:
    """Return the ``columns`` of the Parquet file ``path``; one that is not there is left out."""
    with pq.ParquetFile(path) as file:
        return file.read(columns=list(columns), use_threads=False)


def as_numpy(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column of numbers; a missing one is NaN."""
    if column.null_count:
        return column.to_numpy()
    return np.concatenate([np.empty(0, column.type.to_pandas_dtype()), *map(np.from_dlpack, column.chunks)])


def rows_among(column: pa.ChunkedArray, names: Collection[str]) -> np.ndarray:
    """Return the places in a column of text, int64 ascending, that hold one of ``names``."""
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    wanted = [code for code, name in enumerate(encoded.dictionary.to_pylist()) if name in names]
    return np.flatnonzero(np.isin(np.from_dlpack(encoded.indices), wanted))


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
