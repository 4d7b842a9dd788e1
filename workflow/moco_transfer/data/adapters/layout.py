"""What every adapter asks of a release: its folders and files, its views, and that its images are where they should be.

Messages say what was looked for, what is there instead, and what to do; they never name a patient's folder or file.
"""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from moco_transfer.errors import UserError

# What may be named in a message: tables, and folders that a release has. Any other name may be a patient's.
NAMED = re.compile(
    r"(?i).*\.(csv|csv\.gz|parquet|txt|md|html|zip|tar|gz)|files|annotations|physionet\.org|(train_|test_)?images(_\d+)?"
)
# More folders than this at one level may be those of patients, whose names are identifiers: they are not shown.
MOST_FOLDERS = 20
# A column with more values than this is not a column of views, and its values may be identifiers: they are not shown.
MOST_VIEWS = 40

Place = Literal["there", "missing", "outside"]

log = logging.getLogger(__name__)


def folder(root: Path, name: str) -> Path:
    """Return the folder ``name`` of ``root``; raises UserError if it is not there."""
    if not (root / name).is_dir():
        raise UserError(f"{root}: folder '{name}' is missing; found {contents(root)}. Check the root")
    return root / name


def only_file(root: Path, pattern: str) -> Path:
    """Return the one file of ``root`` that matches ``pattern``; raises UserError if there is none, or several."""
    found = sorted(root.glob(pattern))
    if not found:
        raise UserError(f"{root}: no file '{pattern}'; found {contents(root)}. Check the root")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise UserError(f"{root}: expected one file '{pattern}', found {names}. Keep one release per root")
    return found[0]


def contents(root: Path) -> str:
    """Return what is in the folder ``root``, for a message: tables and a release's folders by name, others as a count."""
    names = sorted(entry.name for entry in root.iterdir()) if root.is_dir() else []
    shown = [name for name in names if NAMED.fullmatch(name)][:6]
    others = len(names) - len(shown)
    if others:
        shown.append(f"{others} {'other ' if shown else ''}{'entry' if others == 1 else 'entries'}")
    return ", ".join(shown) or "nothing there"


def keep_views(index: pd.DataFrame, views: Sequence[str], where: str) -> pd.DataFrame:
    """Return the rows of ``index`` whose view is one of ``views``, with their row labels; the log counts the rest.

    ``where`` names the dataset in messages. Raises UserError if the release names no views, or if one of ``views`` never
    occurs; the message then says which do.
    """
    counts = index["view"].value_counts()
    if counts.empty:
        raise UserError(f"{where}: it names no views, so 'views' cannot choose among them; set views to null")
    unknown = [view for view in views if view not in counts]
    if unknown or not views:
        occurring = f"{len(counts)} different values, too many for views"
        if len(counts) <= MOST_VIEWS:
            occurring = ", ".join(f"{view} ({count})" for view, count in counts.items())
        asked = (
            f"view {' and '.join(map(repr, unknown))} never occurs" if unknown else "views is an empty list"
        )
        raise UserError(f"{where}: {asked}; found {occurring}")
    kept = index["view"].isin(list(views))
    log.info(
        "views %s: %d of %d images kept, %d left out (%d of them name no view)",
        ", ".join(views),
        kept.sum(),
        len(index),
        (~kept).sum(),
        index["view"].isna().sum(),
    )
    return index[kept]


def require_images(index: pd.DataFrame, root: Path, max_quarantined: float) -> None:
    """Check that the images of ``index`` are in ``root``; a share of up to ``max_quarantined`` may be missing.

    One line of the log counts them, and packing will put them into quarantine. Raises UserError if more are missing, or
    if any is behind a link that leaves ``root``. Messages number a row by its label in ``index``, from 1.
    """
    places = places_of(index["path"].tolist(), root)
    outside = np.flatnonzero(places == "outside")
    if len(outside):
        raise UserError(
            f"{root}: a symbolic link in the path of an image leaves the root (row {index.index[outside[0]] + 1} of the "
            f"index; {len(outside)} such rows); put the files themselves there, or set the root to where they are"
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

    Only a file is there; what a link points to counts in its place. A symbolic link may lead elsewhere in the root, but
    not out of it; the root itself may be a link. What may not be looked at is missing.

    Each file is looked at once, and each folder. Listing folders would be slower: MIMIC-CXR has 377,110 files in some
    230,000 folders; to list a folder takes five system calls, to look at a file one.
    """
    real_root = os.path.realpath(root)
    folders: dict[str, Place] = {"": "there"}
    places = []
    for path in paths:
        place = _folder_place(path.rpartition("/")[0], real_root, folders)
        places.append(_entry_place(path, real_root, stat.S_ISREG) if place == "there" else place)
    return np.array(places)


def _folder_place(folder: str, root: str, known: dict[str, Place]) -> Place:
    """Return where the folder is; ``known`` remembers it and each folder above it."""
    if folder not in known:
        above = _folder_place(folder.rpartition("/")[0], root, known)
        known[folder] = _entry_place(folder, root, stat.S_ISDIR) if above == "there" else above
    return known[folder]


def _entry_place(entry: str, root: str, is_kind: Callable[[int], bool]) -> Place:
    """Return where ``entry`` is, whose folder is there; an entry of another kind is missing, too."""
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
    """Return how many missing images each top folder holds, or nothing if a folder may be a single patient's."""
    for depth in (2, 1):
        top = index["path"].str.rpartition("/")[0].str.split("/").str[:depth].str.join("/")
        patients = index["patient_id"].groupby(top.to_numpy()).nunique()
        if len(patients) <= MOST_FOLDERS and (patients > 1).all() and patients.index.all():
            counts = top[missing].value_counts(sort=False).sort_index()
            return ": " + ", ".join(f"{name} ({count})" for name, count in counts.items())
    return ""
