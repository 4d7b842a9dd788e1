"""The files in a folder and below, and which of them are images."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from moco_transfer.data.image_file import SUFFIXES, is_image


def files_below(root: str | Path, onerror: Callable[[OSError], None] | None = None) -> tuple[list[str], int]:
    """Return the paths of the files below ``root``, relative to it and sorted, and how many links to folders were not followed.

    Hidden files and folders are left out. ``onerror`` gets the error of each folder that cannot be listed.
    """
    found, linked, top = [], 0, str(root)
    for folder, folders, files in os.walk(top, onerror=onerror):
        folders[:] = [name for name in folders if not name.startswith(".")]
        linked += sum(Path(folder, name).is_symlink() for name in folders)
        above = os.path.relpath(folder, top)
        prefix = "" if above == "." else f"{above}/"
        found += [prefix + name for name in files if not name.startswith(".")]
    return sorted(found), linked


def list_files(folder: Path) -> tuple[list[str], list[str]]:
    """Return the images in ``folder`` and below, and the other files: paths relative to it, sorted. Hidden ones are left out.

    Raises OSError if a folder or a file may not be read.
    """

    def stop(error: OSError) -> None:
        raise error

    images, others = [], []
    for path in files_below(folder, stop)[0]:
        # Most files have a suffix that tells, and a Path takes longer to make than that.
        known = path.lower().endswith(SUFFIXES) or is_image(folder / path)
        (images if known else others).append(path)
    return images, others
