"""Whether the images that an index names are there, and inside the dataset's root.

Each folder is looked at once, and each file. Listing the folders instead would be slower: MIMIC-CXR has 377,110 files in
some 230,000 folders, and a folder takes five system calls to list, a file takes one. A symbolic link may lead elsewhere in the root; one that leaves it is refused, as '..' is. The root itself may be a link.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from moco_transfer.errors import UserError

Place = Literal["there", "missing", "outside"]
# More folders than this at one level may be those of patients, whose names are identifiers: they are not shown.
MOST_FOLDERS = 20

log = logging.getLogger(__name__)


def require_images(index: pd.DataFrame, root: Path, max_quarantined: float) -> None:
    """Check that the images of ``index`` lie in ``root``; a share of up to ``max_quarantined`` may be missing.

    These are counted in one line of the log, and packing will put them into quarantine. Raises UserError if more are
    missing, or any lies behind a link that leaves ``root``. Messages number a row by its label in ``index``, from 1.
    """
    places = places_of(index["path"].tolist(), root)
    outside = np.flatnonzero(places == "outside")
    if len(outside):
        raise UserError(
            f"{root}: a symbolic link in the path of an image leaves the root (row {index.index[outside[0]] + 1} of the "
            f"index; {len(outside)} such rows); put the files themselves there, or set the root to where they lie"
        )
    missing = places == "missing"
    if not missing.any():
        return
    count = (
        f"{root}: {missing.sum()} of {len(index)} images are not there (or cannot be listed), "
        f"the first in row {index.index[np.flatnonzero(missing)[0]] + 1} of the index{_folders(index, missing)}"
    )
    if missing.all():
        raise UserError(f"{count}; check the dataset's root")
    if missing.sum() > max_quarantined * len(index):
        raise UserError(
            f"{count}; store.max_quarantined = {max_quarantined:g} allows fewer: complete the download, cut the tables "
            "to what is there, or raise it"
        )
    log.warning("%s; they will be put into quarantine", count)


def places_of(paths: list[str], root: Path) -> np.ndarray:
    """Return for each of ``paths``, relative to ``root``, 'there', 'missing' or 'outside': str [n].

    Only a file is there; what a link points to counts in its place. What may not be looked at is missing.
    """
    real_root = os.path.realpath(root)
    folders: dict[str, Place] = {"": "there"}
    places = []
    for path in paths:
        place = _folder_place(path.rpartition("/")[0], real_root, folders)
        places.append(_entry_place(path, real_root, stat.S_ISREG) if place == "there" else place)
    return np.array(places)


def _folder_place(folder: str, root: str, known: dict[str, Place]) -> Place:
    """Return where the folder is; it and each folder above it is looked at once, and kept in ``known``."""
    if folder not in known:
        above = _folder_place(folder.rpartition("/")[0], root, known)
        known[folder] = _entry_place(folder, root, stat.S_ISDIR) if above == "there" else above
    return known[folder]


def _entry_place(entry: str, root: str, is_kind: Callable[[int], bool]) -> Place:
    """Return where ``entry`` is, whose folder is there; missing, too, if it is not of that kind."""
    path = f"{root}/{entry}"
    try:
        mode = os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            target = os.path.realpath(path)
            if os.path.commonpath([target, root]) != root:
                return "outside"
            mode = os.lstat(target).st_mode
    except OSError:
        return "missing"
    return "there" if is_kind(mode) else "missing"


def _folders(index: pd.DataFrame, missing: np.ndarray) -> str:
    """Return the folders at the top that hold the missing images, and how many each, where they are no patient's own."""
    for depth in (2, 1):
        top = index["path"].str.rpartition("/")[0].str.split("/").str[:depth].str.join("/")
        patients = index["patient_id"].groupby(top.to_numpy()).nunique()
        if len(patients) <= MOST_FOLDERS and (patients > 1).all() and patients.index.all():
            counts = top[missing].value_counts(sort=False).sort_index()
            return ": " + ", ".join(f"{name} ({count})" for name, count in counts.items())
    return ""
