"""Find and open the image files of a release, and tell the errors of the machine from those of a file.

An image that is missing or broken goes to quarantine. Every other error (too many open files, a network disk
that does not answer) says nothing about the image, so it stops the job.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from moco_transfer.errors import UnreadableImage, UserError

# How the names of images end, in any capitals. DICOMs often have other names.
SUFFIXES = (".dcm", ".dicom", ".ima", ".jpg", ".jpeg", ".png")
MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
# What decoders meet if a broken file sends them to a position that no file has.
IMPOSSIBLE_POSITION = (errno.EINVAL, errno.EOVERFLOW)
CURES = {
    errno.EMFILE: "allow more open files (ulimit -n 4096) and run again",
    errno.ENFILE: "allow more open files on this machine (sysctl fs.file-max) and run again",
    errno.ENOMEM: "run fewer jobs at once (snakemake --cores), or free memory, and run again",
    errno.EACCES: "give this user permission to read the release and run again",
    errno.EPERM: "give this user permission to read the release and run again",
    errno.EXDEV: "put the file into the root, or set the root to where the file is, and run again",
}
OTHER_CURE = "check the disk and run again"
MACHINE_ERRORS = (OSError, MemoryError, ImportError)


class OutsideRoot(OSError):
    """A link in the path of an image leads out of the dataset's root."""

    def __init__(self) -> None:
        super().__init__(errno.EXDEV, "a symbolic link in its path leads out of the dataset's root")


def open_image(path: Path, root: Path | None = None) -> BinaryIO:
    """Open the regular file at ``path``; if ``root`` (without links) is given, the file must lie in it.

    A FIFO or a device is never waited for. Links are followed once, before the file is opened, so what is
    checked is what is read. Raises UnreadableImage if the file is missing or not a regular file, and
    OSError for what is not the image's fault: OutsideRoot if a link leads out of ``root``.
    """
    target = os.path.realpath(path)
    if root is not None and not Path(target).is_relative_to(root):
        raise OutsideRoot
    try:
        descriptor = os.open(target, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in MISSING:
            raise UnreadableImage("file not found") from None
        if error.errno == errno.ENXIO:  # a socket, or a device without its driver
            raise UnreadableImage("not a regular file") from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnreadableImage("not a regular file")
    return os.fdopen(descriptor, "rb")


def is_image(path: Path) -> bool:
    """Return whether ``path`` has the suffix of an image, or is a DICOM of another name: PACS write many without a suffix."""
    if path.suffix.lower() in SUFFIXES:
        return True
    if path.name == "DICOMDIR":  # the directory of a CD, which is a DICOM too
        return False
    try:
        with open_image(path) as file:
            return dataset_start(file.read(132)) is not None
    except UnreadableImage:
        return False


def dataset_start(head: bytes) -> int | None:
    """Return where the data elements start in a file that begins with ``head``; None for other formats."""
    if head[128:] == b"DICM":
        return 132
    # without preamble: the first element is of group 2 (file meta) or 8, in either byte order
    return 0 if head[:2] in (b"\x02\x00", b"\x08\x00", b"\x00\x08") else None


def is_of_the_machine(error: Exception) -> bool:
    """Return whether ``error``, raised while a file was decoded, says nothing about the file.

    The decoders' own errors have no error number.
    """
    if isinstance(error, OSError):
        return error.errno is not None and error.errno not in IMPOSSIBLE_POSITION
    return isinstance(error, MACHINE_ERRORS)


def cannot_be_read(error: Exception, name: str) -> UserError:
    """Return the error that stops a job at the image ``name`` because of an ``error`` of the machine."""
    number = errno.ENOMEM if isinstance(error, MemoryError) else getattr(error, "errno", None)
    if isinstance(error, OutsideRoot):
        found = error.strerror
    else:
        found = os.strerror(number) if number else f"{type(error).__name__}: {error}"
    return UserError(f"this machine could not read {name}: {found}; {CURES.get(number, OTHER_CURE)}")
