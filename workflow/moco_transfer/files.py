"""Read and write files: completely or not at all, quickly, and with a one-line error if the disk is full.

Every writer here writes a temporary file in the same folder, flushes it to disk and renames it, so a kill at
any moment leaves either the old file or the new one. The Parquet readers avoid ``pq.read_table`` and
``to_numpy``, which import PyArrow's datasets and pandas: half a second, as long as a linear head trains.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import logging
import os
import shutil
import socket
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from moco_transfer import checksums, escape
from moco_transfer.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

# EFBIG: some schedulers limit the size of a file.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)

log = logging.getLogger(__name__)


def content_digest(paths: Iterable[str | Path]) -> str:
    """Return a hash of the contents of files and of the names in folders that are not hidden, wherever they are.

    What is neither, such as a pipe, or cannot be read counts as empty: the job that needs it says what is wrong.
    """
    digest = hashlib.sha256()
    for path in paths:
        part = b""
        with suppress(OSError):
            mode = os.stat(path).st_mode  # noqa: PTH116 (there may be 10,000 folders; Path takes three times as long)
            if stat.S_ISDIR(mode):
                # A program that shows a folder may leave a hidden file in it, which is no image.
                names = sorted(name for name in os.listdir(path) if not name.startswith("."))  # noqa: PTH208
                part = "\0".join(names).encode("utf-8", "surrogateescape")
            elif stat.S_ISREG(mode):
                with Path(path).open("rb") as file:
                    part = hashlib.file_digest(file, "sha256").digest()
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


@contextmanager
def replacing(path: str | Path, sealed: bool = False) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``: renamed to ``path`` on success, removed on an error.

    The temporary name keeps the suffix, because writers such as Matplotlib choose their format by it. If ``sealed``, the file
    gets a checksum (``checksums``). Raises UserError if the disk is full or the folder may not be written to.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    with writing_to(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            if sealed:
                checksums.seal(temporary)
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
    write_table(pa.Table.from_pandas(frame, preserve_index=False), path)


def write_table(table: pa.Table, path: str | Path) -> None:
    """Write ``table`` as Parquet with a checksum; equal tables give equal bytes."""
    metadata = {**(table.schema.metadata or {}), "checksum": checksums.PLACE}
    with replacing(path, sealed=True) as temporary:
        pq.write_table(table.replace_schema_metadata(metadata), temporary, compression="zstd")


def write_csv(frame: pd.DataFrame, path: str | Path, float_format: str | None = None) -> None:
    """Write ``frame`` without its index; text that a spreadsheet would run as a formula gets an apostrophe."""
    with replacing(path) as temporary:
        escape.csv_cells(frame).to_csv(temporary, index=False, float_format=float_format, lineterminator="\n")


def write_array(array: np.ndarray, path: str | Path) -> None:
    """Write ``array`` as .npy with a checksum."""
    array = np.ascontiguousarray(array)
    with replacing(path, sealed=True) as temporary, temporary.open("wb") as handle:
        # np.save would report a full disk without an error number.
        np.lib.format.write_array_header_1_0(handle, np.lib.format.header_data_from_array_1_0(array))
        handle.write(array.data)


def read_array(path: Path) -> np.ndarray:
    """Return the array that ``write_array`` wrote, mapped into memory; raises UserError if the file is damaged."""
    checksums.check(path, required=True)
    return map_array(path)


def map_array(path: Path) -> np.ndarray:
    """Return the array in an .npy file, mapped into memory; raises UserError if it is cut off or is no such file."""
    try:
        return np.load(path, mmap_mode="r")
    except (ValueError, EOFError):
        raise checksums.damaged(path) from None


def read_parquet(path: str | Path, **options: Any) -> pd.DataFrame:
    """Return ``pandas.read_parquet(path, **options)``; raises UserError if the file is damaged."""
    import pandas as pd

    with _undamaged(path):
        return pd.read_parquet(path, **options)


def read_csv(path: str | Path, columns: Collection[str], text: Collection[str] = ()) -> pd.DataFrame:
    """Return the CSV file ``path`` that this project wrote, with the columns ``text`` as strings.

    Raises UserError if it lacks one of ``columns``, is cut off within a line, or is no CSV. It has no checksum.
    """
    import pandas as pd

    content = Path(path).read_bytes()
    try:
        # A source may be called 'nan'; a missing number is an empty cell.
        frame = pd.read_csv(
            io.BytesIO(content), dtype=dict.fromkeys(text, str), keep_default_na=False, na_values=""
        )
    except ValueError:  # pandas' errors of reading, and those of decoding, are ValueErrors
        raise checksums.damaged(path) from None
    if not content.endswith(b"\n") or b"\0" in content or not set(columns) <= set(frame.columns):
        raise checksums.damaged(path)
    return frame


def read_columns(path: Path, columns: Sequence[str]) -> pa.Table:
    """Return the ``columns`` of the Parquet file ``path``; names that it does not have are left out.

    Raises UserError if the file is damaged.
    """
    with _undamaged(path), pq.ParquetFile(path) as file:
        return file.read(columns=list(columns), use_threads=False)


def column_names(path: Path) -> list[str]:
    """Return the names of the columns of the Parquet file ``path``; raises UserError if the file is damaged."""
    with _undamaged(path):
        return pq.read_schema(path).names


@contextmanager
def _undamaged(path: str | Path) -> Iterator[None]:
    """Check the Parquet file ``path`` before the block reads it, and turn what Arrow says about damage into a UserError."""
    checksums.check(path)
    try:
        yield
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        if getattr(error, "errno", None):  # the machine's error, not the file's
            raise
        raise checksums.damaged(path) from None


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

    Raises UserError if there is too little space, now or later, or if the folder may not be written to.
    """
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise _no_space(folder, f"needs about {_readable(needed)}, and {_readable(free)} are free")
        yield


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Turn a full disk, a quota, a limit on the size of a file, or a folder that is read-only into a UserError."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise _no_space(folder, error.strerror) from None
        # A file elsewhere that may not be read is another error.
        if error.errno in READ_ONLY and folder.is_relative_to(Path(error.filename or folder).parent):
            raise UserError(
                f"{folder}: cannot be written to ({error.strerror}); give this user write permission, "
                "or link results/ to a writable disk"
            ) from None
        raise


def _no_space(folder: Path, found: str) -> UserError:
    return UserError(
        f"no space left on {folder}: {found}. Free some space, or use a larger disk (results/ may be a link), and run again: "
        "what is finished is kept"
    )


@contextmanager
def locked(path: Path, work: str) -> Iterator[None]:
    """Hold an exclusive lock on the file ``path``, which is created if necessary; wait while another process holds it.

    A job can outlive the Snakemake that started it, or share its files with a job of another folder. The operating system
    releases the lock when the process ends, however it ends. ``work`` says in the log what the other process is doing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read() or "another process"
                log.info("waiting: %s is already %s (it holds %s)", holder, work, path)
                fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            raise UserError(
                f"{path}: this file system has no locks ({error.strerror}), so two jobs could write the same files; link "
                "results/ to a disk whose file system has locks"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _readable(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.2f} MB"
