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
from moco_transfer.data.adapters.tables import BLANKS
from moco_transfer.data.image_file import SUFFIXES
from moco_transfer.errors import UserError
from moco_transfer.escape import UNPRINTABLE

log = logging.getLogger(__name__)


def read(root: Path, settings: stages.Index) -> pd.DataFrame:
    """Return the index of the images below ``root``; classes and images are sorted by name."""
    classes = sorted(
        entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )
    if not classes:
        raise UserError(f"{root}: expected one folder per class, found {layout.contents(root)}")
    names = []
    for number, name in enumerate(classes, 1):
        images = _images(root / name, f"{root}, folder {number} of {len(classes)} by name")
        names += [f"{name}/{image}" for image in images]
    columns = pd.DataFrame(dict.fromkeys(index.REQUIRED, names))
    labels = pd.get_dummies(columns["path"].str.rpartition("/")[0], dtype=np.float32)[classes]
    return index.build(columns, labels.rename(columns=lambda name: name.strip(BLANKS)), str(root))


def _images(folder: Path, where: str) -> list[str]:
    """Return the names of the images in ``folder``, which is ``where`` in messages: its name may be a patient's."""
    files = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    if any(map(UNPRINTABLE.search, (folder.name, *files))):
        raise UserError(
            f"{where}: its name, or that of a file in it, has a character that is not UTF-8 or cannot be printed; rename it"
        )
    images = [name for name in files if Path(name).suffix.lower() in SUFFIXES]
    if not images:
        raise UserError(
            f"{where}: no image in this class ({', '.join(SUFFIXES)}) among its {len(files)} entries"
        )
    if len(images) < len(files):
        log.warning("%s: entries left out because they are not images: %d", where, len(files) - len(images))
    return images
