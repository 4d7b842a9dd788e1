"""One folder per class, as in ImageNet and many small collections: ``root/<class>/<image>``.

The classes become label columns: 1 for the folder that contains the image and 0 for the others. Each image
counts as a separate study and patient.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from moco_transfer.config import stages
from moco_transfer.data import index
from moco_transfer.data.adapters import layout
from moco_transfer.errors import UserError

SUFFIXES = {".jpg", ".jpeg", ".png", ".dcm", ".dicom"}

log = logging.getLogger(__name__)


def read(root: Path, settings: stages.Index) -> pd.DataFrame:
    """Return the index of the images below ``root``; classes and images are sorted by name."""
    classes = sorted(
        entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )
    if not classes:
        raise UserError(f"{root}: expected one folder per class, found {layout.contents(root)}")
    names = [f"{name}/{image}" for name in classes for image in _images(root / name)]
    columns = pd.DataFrame(dict.fromkeys(index.REQUIRED, names))
    labels = pd.get_dummies(columns["path"].str.rpartition("/")[0], dtype=np.float32)
    return index.build(columns, labels[classes], str(root))


def _images(folder: Path) -> list[str]:
    files = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    if any(name != name.encode("utf-8", "replace").decode() for name in files):
        raise UserError(f"{folder}: a file name in it is not in UTF-8; rename the file")
    images = [name for name in files if Path(name).suffix.lower() in SUFFIXES]
    if not images:
        raise UserError(
            f"{folder}: no image in this class ({', '.join(sorted(SUFFIXES))}); "
            f"found {layout.contents(folder)}"
        )
    if len(images) < len(files):
        log.warning("%s: entries left out because they are not images: %d", folder, len(files) - len(images))
    return images
