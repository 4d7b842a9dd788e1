"""Adapters: each turns one release's layout into the index table, and does nothing else.

To add a release, write a module with ``read(root)`` that returns ``index.build(...)``, and name it in ``ADAPTERS``. If a
CSV or Parquet file lists the images of a dataset, it needs no module: that is the adapter ``table``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from moco_transfer.config import stages
from moco_transfer.config.datasets import Table
from moco_transfer.data.adapters import image_folder, mimic_cxr_jpg, nih_chestxray14, own_table, vindr_spinexr
from moco_transfer.data.adapters.layout import keep_views, require_images
from moco_transfer.errors import UserError
from moco_transfer.files import write_parquet

ADAPTERS = {
    "vindr_spinexr": vindr_spinexr.read,
    "mimic_cxr_jpg": mimic_cxr_jpg.read,
    "nih_chestxray14": nih_chestxray14.read,
    "image_folder": image_folder.read,
    "table": own_table.read,
}


def index(settings: stages.Index, *, root: Path, index: Path, max_quarantined: float) -> None:
    """Read a release's tables into the one index table."""
    frame = read_release(
        settings.adapter,
        root,
        labeler=settings.labeler,
        views=settings.views,
        table=settings.table,
        max_quarantined=max_quarantined,
    )
    write_parquet(frame, index)


def read_release(
    adapter: str,
    root: Path,
    *,
    labeler: str = "chexpert",
    views: Sequence[str] | None = None,
    table: Table | None = None,
    max_quarantined: float = 0.01,
) -> pd.DataFrame:
    """Return the checked index of the release in the folder ``root``, whose layout ``adapter`` names.

    ``labeler`` (for ``mimic_cxr_jpg``: ``chexpert`` or ``negbio``) says whose labels to take, ``views`` which views to
    keep (None: all), ``table`` (for ``table``) which columns say what. Up to a share ``max_quarantined`` of the images
    may be missing. Raises UserError if the folder is not there, is not such a release, holds only a part of it, or names
    images outside it.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; set the dataset's root to where the release was unpacked")
    own = {"mimic_cxr_jpg": {"labeler": labeler}, "table": {"table": table}}
    index = ADAPTERS[adapter](root, **own.get(adapter, {}))
    if views is not None:
        index = keep_views(index, views, str(root))
    require_images(index, root, max_quarantined)
    return index.reset_index(drop=True)
