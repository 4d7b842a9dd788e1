"""Read and write files: completely or not at all, quickly, and with a one-line error if the disk is full.

Every writer here writes a temporary file in the same folder, flushes it to disk and renames it, so a kill at
any moment leaves either the old file or the new one. The Parquet readers avoid ``pq.read_table`` and
``to_numpy``, which import PyArrow's datasets and pandas: half a second, as long as a linear head trains.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from moco_transfer import escape
from moco_transfer.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

# EFBIG: some schedulers limit the size of a file.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``: renamed to ``path`` on success, removed on an error.

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
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_parquet(frame: pd.DataFrame, path: str | Path) -> None:
    """Write ``frame`` without its index; equal frames give equal bytes."""
    with replacing(path) as temporary:
        frame.to_parquet(temporary, index=False, compression="zstd")


def write_csv(frame: pd.DataFrame, path: str | Path, float_format: str | None = None) -> None:
    """Write ``frame`` without its index; text that a spreadsheet would run as a formula gets an apostrophe."""
    with replacing(path) as temporary:
        escape.csv_cells(frame).to_csv(temporary, index=False, float_format=float_format, lineterminator="\n")


def write_array(array: np.ndarray, path: str | Path) -> None:
    """Write ``array`` as .npy."""
    with replacing(path) as temporary, temporary.open("wb") as handle:
        np.save(handle, array)


def read_columns(path: Path, columns: Sequence[str]) -> pa.Table:
    """Return the ``columns`` of the Parquet file ``path``; names that it does not have are left out."""
    with pq.ParquetFile(path) as file:
        return file.read(columns=list(columns), use_threads=False)


def as_numpy(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column of numbers; nulls become NaN."""
    if column.null_count:
        return column.to_numpy()
    return np.concatenate([np.empty(0, column.type.to_pandas_dtype()), *map(np.from_dlpack, column.chunks)])


def rows_among(column: pa.ChunkedArray, names: Collection[str]) -> np.ndarray:
    """Return the rows at which a column of text holds one of ``names``: int64, ascending."""
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    wanted = [code for code, name in enumerate(encoded.dictionary.to_pylist()) if name in names]
    return np.flatnonzero(np.isin(np.from_dlpack(encoded.indices), wanted))


@contextmanager
def room_for(needed: int, folder: Path) -> Iterator[None]:
    """Make ``folder``, check that ``needed`` bytes are free there, and run the block, which writes into it.

    Raises UserError if there is too little space, or if the block meets a full disk, a quota, a limit on the
    size of a file, or a folder that may not be written to.
    """

    def no_space(found: str) -> UserError:
        return UserError(
            f"no space left on {folder}: needs about {_readable(needed)}; {found}. Free some space, or link "
            "results/ to a larger disk, and run again: finished shards are kept"
        )

    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise no_space(f"{_readable(free)} are free")
        yield
    except OSError as error:
        if error.errno in FULL:
            raise no_space(error.strerror) from None
        if error.errno in READ_ONLY:
            raise UserError(
                f"{folder}: cannot be written to ({error.strerror}); give this user write permission, "
                "or link results/ to a writable disk"
            ) from None
        raise


def _readable(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.2f} MB"
