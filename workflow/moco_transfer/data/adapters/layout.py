"""What adapters check in a release: its folders, files and views, and that its images are in the root.

Messages say what was expected, what was found, and what to do; they never name a patient's folder or file.
"""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from moco_transfer.errors import UserError

# Names that may appear in a message: the files and folders of releases. Any other name may be a patient's.
NAMED = re.compile(
    r"(?i)(mimic-cxr[\w.-]*|Data_Entry_2017\w*|(train|test|train_val_list|test_list|images(_\d+)?))\.(csv|txt|tar|zip)(\.gz)?"
    r"|files|annotations|physionet\.org|(train_|test_)?images(_\d+)?"
)
# The folders of releases that hold images of many patients; any other may be a patient's.
SHARED_FOLDERS = r"files/p\d\d|images_\d+/images|(?:train|test)_images"
# Views are shown if there are so few, each of so many patients: a column of views may be one of identifiers by mistake.
MOST_FOLDERS, MOST_VIEWS, LEAST_PATIENTS = 20, 20, 5

Place = Literal["there", "missing", "outside"]

log = logging.getLogger(__name__)


def folder(root: Path, name: str) -> Path:
    """Return the folder ``name`` of ``root``; raises UserError if it is missing."""
    if not (root / name).is_dir():
        raise UserError(f"{root}: folder '{name}' is missing; found {contents(root)}. Check the root")
    return root / name


def only_file(root: Path, pattern: str) -> Path:
    """Return the file of ``root`` that matches ``pattern``; raises UserError unless there is exactly one."""
    found = sorted(root.glob(pattern))
    if not found:
        raise UserError(f"{root}: no file '{pattern}'; found {contents(root)}. Check the root")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise UserError(f"{root}: expected one file '{pattern}', found {names}. Keep one release per root")
    return found[0]


def contents(root: Path) -> str:
    """Describe the folder ``root`` for a message: what releases consist of by name, the rest as a count."""
    names = sorted(entry.name for entry in root.iterdir()) if root.is_dir() else []
    shown = [name for name in names if NAMED.fullmatch(name)][:6]
    others = len(names) - len(shown)
    if others:
        shown.append(f"{others} {'other ' if shown else ''}{'entry' if others == 1 else 'entries'}")
    return ", ".join(shown) or "nothing there"


def keep_views(index: pd.DataFrame, views: Sequence[str], where: str) -> pd.DataFrame:
    """Return the rows of ``index`` with one of ``views``, with their row labels; the log counts the rest.

    ``where`` names the dataset in messages. Raises UserError if the release names no views, or if one of
    ``views`` never occurs; the message then says which views do, unless they may be identifiers.
    """
    counts = index["view"].value_counts()
    if counts.empty:
        raise UserError(f"{where}: the release names no views; set views to null")
    unknown = [view for view in views if view not in counts]
    if unknown or not views:
        found = "values that are not shown, because they may be identifiers; look into the table"
        # If each image counts as a patient of its own, nobody knows how many patients have a view.
        patients = index["patient_id"].where(index["patient_id"] != index["image_id"])
        if len(counts) <= MOST_VIEWS and (patients.groupby(index["view"]).nunique() >= LEAST_PATIENTS).all():
            found = ", ".join(f"{view} ({count})" for view, count in counts.items())
        names = " and ".join(map(repr, unknown))
        problem = f"view {names} never occurs" if views else "views is an empty list"
        raise UserError(f"{where}: {problem}; found {found}")
    kept = index["view"].isin(views)
    log.info(
        "views %s: %d of %d images kept, %d left out (%d of them name no view)",
        ", ".join(views),
        kept.sum(),
        len(index),
        (~kept).sum(),
        index["view"].isna().sum(),
    )
    return index[kept]


def require_images(index: pd.DataFrame, root: Path, max_quarantined: float, table: str | None = None) -> None:
    """Check that the images of ``index`` are in ``root``, up to a share ``max_quarantined``.

    ``table`` is the file of a user's own table, relative to ``root``. Missing images are counted in the log;
    packing will quarantine them. Raises UserError if too many are missing, or if a link leads out of ``root``.
    Messages number a row by its label in ``index``, from 1.
    """
    places = places_of(index["path"].tolist(), root)
    outside = index.index[places == "outside"]
    if len(outside):
        raise UserError(
            f"{root}: a symbolic link in the path of an image leaves the root (row {outside[0] + 1} of the "
            f"index; {len(outside)} such rows); put the files there, or set the root to where they are"
        )
    missing = places == "missing"
    if not missing.any():
        return
    found = (
        f"{root}: {missing.sum()} of {len(index)} images are missing (or cannot be listed), "
        f"the first in row {index.index[missing][0] + 1} of the index{'' if table else _folders(index, missing)}"
    )
    if missing.all():
        raise UserError(f"{found}; {_other_root(index, root, table) or 'check the root of the dataset'}")
    if missing.sum() > max_quarantined * len(index):
        raise UserError(
            f"{found}; store.max_quarantined = {max_quarantined:g} allows fewer: complete the download, "
            "cut the tables to match it, or raise the limit"
        )
    log.warning("%s; they will be quarantined", found)


def places_of(paths: list[str], root: Path) -> np.ndarray:
    """Return whether each of ``paths``, relative to ``root``, is 'there', 'missing' or 'outside': str [n].

    Only regular files count as there; for a link, its target counts. Links may lead elsewhere in the root,
    but not out of it; the root itself may be a link. Files that this user may not look up count as missing.

    Each file and each folder is looked up once. Listing folders would be slower: MIMIC-CXR has 377,110 files
    in some 230,000 folders; listing a folder takes five system calls, and looking up a file takes one.
    """
    real_root = os.path.realpath(root)

    @cache
    def folder_place(folder: str) -> Place:
        if not folder:
            return "there"
        above = folder_place(folder.rpartition("/")[0])
        return _entry_place(folder, real_root, stat.S_ISDIR) if above == "there" else above

    places = []
    for path in paths:
        place = folder_place(path.rpartition("/")[0])
        places.append(_entry_place(path, real_root, stat.S_ISREG) if place == "there" else place)
    return np.array(places)


def _entry_place(entry: str, root: str, is_kind: Callable[[int], bool]) -> Place:
    """Return where ``entry`` is if its folder is there; other kinds of entries count as missing."""
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


def _other_root(index: pd.DataFrame, root: Path, table: str | None) -> str:
    """Return the cure if the paths are relative to another folder: that of the table, or the one that holds the root."""
    for other in ((root / (table or "")).parent, root.absolute().parent):
        if other != root and (places_of(index["path"].tolist(), other) == "there").any():
            file = f" and table.file to {os.path.relpath(root / table, other)}" if table else ""
            return f"the paths are relative to {other}: set the root to it{file}"
    return ""


def _folders(index: pd.DataFrame, missing: np.ndarray) -> str:
    """Return the missing images per folder of the release, or nothing if a folder may be a single patient's."""
    folders = index["path"].str.extract(f"^({SHARED_FOLDERS})/", expand=False)[missing]
    if folders.isna().any():
        return ""
    counts = folders.value_counts().sort_index().head(MOST_FOLDERS)
    return ": " + ", ".join(f"{name} ({count})" for name, count in counts.items())
