"""Adapters: each turns one release's layout into the index table, and does nothing else.

To add a release, write a module with ``read(root)`` that returns ``index.build(...)``, and name it in ``ADAPTERS``.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from moco_transfer.data.adapters import image_folder, mimic_cxr_jpg, nih_chestxray14, vindr_spinexr
from moco_transfer.errors import UserError

ADAPTERS = {
    "vindr_spinexr": vindr_spinexr.read,
    "mimic_cxr_jpg": mimic_cxr_jpg.read,
    "nih_chestxray14": nih_chestxray14.read,
    "image_folder": image_folder.read,
}


def read_release(adapter: str, root: Path) -> pd.DataFrame:
    """Return the checked index of the release that lies in the folder ``root``, in the layout that ``adapter`` names.

    Raises UserError if the folder is not there, is not such a release, or holds only a part of it.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; set the dataset's root to where the release was unpacked")
    return ADAPTERS[adapter](root)
