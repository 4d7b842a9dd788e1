"""Find the images in a folder: by their suffix, or by their first bytes where the suffix does not tell.

PACS write many DICOMs without a suffix, or with the last number of an identifier as one (``1.2.840.113``).
"""

from __future__ import annotations

import os
from pathlib import Path

from moco_transfer.data.decode import dataset_start
from moco_transfer.data.image_file import open_image
from moco_transfer.errors import UnreadableImage

SUFFIXES = (".dcm", ".dicom", ".ima", ".jpg", ".jpeg", ".png")


def list_files(folder: Path) -> tuple[list[str], list[str]]:
    """Return the images in ``folder`` and below, and the other files: paths relative to it, sorted. Hidden ones are left out.

    Raises OSError if a folder or a file may not be read.
    """

    def stop(error: OSError) -> None:
        raise error

    images, others = [], []
    for top, folders, files in os.walk(folder, onerror=stop):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = Path(top).relative_to(folder).as_posix()
        start = "" if below == "." else f"{below}/"
        for name in files:
            if not name.startswith("."):
                (images if is_image(f"{top}/{name}") else others).append(start + name)
    return sorted(images), sorted(others)


def is_image(path: str | Path) -> bool:
    """Return whether ``path`` has the suffix of an image, or is a DICOM of another name.

    Raises OSError if its first bytes are needed and it may not be read.
    """
    name = os.path.basename(path)  # noqa: PTH119 (a Path takes longer to make than most files to look at)
    if name.lower().endswith(SUFFIXES):
        return True
    if name == "DICOMDIR":  # the directory of a CD, which is a DICOM too
        return False
    try:
        with open_image(Path(path)) as file:
            return dataset_start(file.read(132)) is not None
    except UnreadableImage:
        return False
