"""Adapters: each turns one release's layout into the index table, and does nothing else.

To add a release, write a module with ``read(root, settings)`` that returns ``index.build(...)``, and name it
in ``ADAPTERS``. If a CSV or Parquet file lists the images of a dataset, or their folders and names say what they
are, no module is needed: use the adapter ``table`` or ``folders``.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from moco_transfer.config import stages
from moco_transfer.data.adapters import (
    folders,
    image_folder,
    mimic_cxr_jpg,
    nih_chestxray14,
    own_table,
    vindr_spinexr,
)
from moco_transfer.data.adapters.layout import keep_views, require_images
from moco_transfer.data.adapters.reading import Reading, read_as, written
from moco_transfer.errors import UserError
from moco_transfer.files import write_parquet, write_text

ADAPTERS = {
    "vindr_spinexr": vindr_spinexr.read,
    "mimic_cxr_jpg": mimic_cxr_jpg.read,
    "nih_chestxray14": nih_chestxray14.read,
    "image_folder": image_folder.read,
}
# A user's own images: these return the index, the texts that it was made from, with the same row labels, and the images left out.
LISTINGS = {"table": own_table.read, "folders": folders.read}


def index(settings: stages.Index, *, root: Path, index: Path, reading: Path, max_quarantined: float) -> None:
    """Read a release's tables into the one index table, and write how a user's own table or folders were read."""
    images, found = read_release(settings, root, max_quarantined)
    write_text(reading, written(found))
    write_parquet(images, index)


def read_release(
    settings: stages.Index, root: Path, max_quarantined: float
) -> tuple[pd.DataFrame, Reading | None]:
    """Return the checked index of the release in the folder ``root``, and how a user's own table or folders were read.

    Up to a share ``max_quarantined`` of the images may be missing. Raises UserError if ``root`` does not
    exist, is not such a release or only a part of it, or if the release names images outside it.
    """
    if not root.is_dir():
        found = "not a folder" if root.exists() else "no such folder"
        raise UserError(f"{root}: {found}; set the dataset's root to where the release was unpacked")
    listing = settings.table or settings.folders
    if listing:
        index, texts, others = LISTINGS[settings.adapter](root, settings)
        texts = texts.reset_index(drop=True)
    else:
        index = ADAPTERS[settings.adapter](root, settings)
    if settings.views is not None:
        index = keep_views(index, settings.views, str(root))
    require_images(index, root, max_quarantined, settings.table.file if settings.table else None)
    if not listing:
        return index.reset_index(drop=True), None
    left_out = {"do not match the pattern": others, "have another view or none": len(texts) - len(index)}
    reading = read_as(listing, index, texts.loc[index.index], left_out)
    return index.reset_index(drop=True), reading
