"""Find the images in a folder, and count the other files."""

from __future__ import annotations

import os
from pathlib import Path

from moco_transfer.data.image_file import SUFFIXES, is_image


def list_files(folder: Path) -> tuple[list[str], list[str]]:
    """Return the images in ``folder`` and below, and the other files: paths relative to it, sorted. Hidden ones are left out.

    Raises OSError if a folder or a file may not be read.
    """

    def stop(error: OSError) -> None:
        raise error

    images, others = [], []
    for top, folders, files in os.walk(folder, onerror=stop):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = os.path.relpath(top, folder)
        start = "" if below == "." else f"{below}/"
        for name in files:
            if not name.startswith("."):
                # Most files have a suffix that tells, and a Path takes longer to make than that.
                known = name.lower().endswith(SUFFIXES) or is_image(Path(top, name))
                (images if known else others).append(start + name)
    return sorted(images), sorted(others)
