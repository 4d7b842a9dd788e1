"""A user's own images whose folders and names say what they are, as many public releases come.

The relative path of each image is matched against a pattern such as ``{split}/{grade}/{patient_id,[0-9]+}{side,[LR]}.png``
(``data.pattern``). Labels are made from the wildcards. Without a patient, each study counts as a separate one; without a study,
each image does. A study belongs to its patient, so that the folders ``study1`` of two patients are two studies.
"""

from __future__ import annotations

import logging
import os
import unicodedata
from collections import Counter
from pathlib import Path

import pandas as pd

from moco_transfer.config import stages
from moco_transfer.config.listing import MISSING, Folders
from moco_transfer.data import index
from moco_transfer.data.adapters.identity import checked
from moco_transfer.data.adapters.label_rules import made_labels
from moco_transfer.data.adapters.tables import BLANKS, refuse, refuse_blanks
from moco_transfer.data.image_file import SUFFIXES, is_image
from moco_transfer.data.image_list import files_below
from moco_transfer.data.pattern import WILDCARD, path_regex, wildcard_names
from moco_transfer.errors import UserError
from moco_transfer.escape import UNPRINTABLE

# No wildcard has this name.
PATH = "the path"

log = logging.getLogger(__name__)


def read(root: Path, settings: stages.Index) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """Return the index of the images below ``root`` that match the pattern, by path, the texts of the wildcards, and the number of other images.

    Raises UserError if no image matches, and for what ``identity.checked`` and ``label_rules.made_labels`` refuse. Messages
    count the images by path, from 1.
    """
    folders = settings.folders
    rows, others = find_images(root, folders.pattern)
    columns, names = _identified(rows, folders, root)
    columns = checked(columns, names, root)
    return index.build(columns, made_labels(rows, folders, root), str(root)), rows, others


def find_images(root: Path, pattern: str) -> tuple[pd.DataFrame, int]:
    """Return the images below ``root`` that match ``pattern``, sorted by path: path and the text of each wildcard; and how many do not.

    Hidden files and folders are skipped, and links to folders too, because what they lead to is either in the root anyway or
    outside. Raises UserError if no image matches or a folder cannot be listed.
    """
    regex, names = path_regex(pattern), wildcard_names(pattern)
    paths = _files(root)
    # macOS stores an accented letter as two characters, and most programs write it as one.
    composed = {path: unicodedata.normalize("NFC", path) for path in paths}
    matches = {path: match for path in paths if (match := regex.fullmatch(composed[path]))}
    try:
        found = [path for path in matches if is_image(root / path)]
    except OSError as error:
        raise UserError(
            f"{root}: a file cannot be read ({error.strerror}); check the permissions of the files below it"
        ) from None
    others = [path for path in paths if path not in matches and _suffix(path)]
    if not found:
        raise UserError(f"{root}: {_nothing_matches(paths, others, pattern)}")
    if others:
        log.warning("%s: images left out because they do not match the pattern: %d", root, len(others))
    if len(found) < len(matches):
        log.warning("%s: files left out because they are no images: %d", root, len(matches) - len(found))
    if any(map(UNPRINTABLE.search, found)):
        raise UserError(
            f"{root}: the path of an image has a character that is not UTF-8 or cannot be printed; rename it"
        )
    texts = {name: [matches[path][name].strip(BLANKS) or None for path in found] for name in names}
    numbers = pd.RangeIndex(1, len(found) + 1, name="image")
    rows = pd.DataFrame({name: pd.Series(texts[name], numbers, "str") for name in names})
    return rows.assign(**{PATH: pd.Series(found, numbers, "str")}), len(others)


def _files(root: Path) -> list[str]:
    """Return the paths of the files below ``root``, relative to it and sorted, without hidden ones and those behind linked folders."""

    def stop(error: OSError) -> None:
        raise UserError(
            f"{root}: a folder cannot be listed ({error.strerror}); check the permissions of the folders below it"
        ) from None

    found, linked = files_below(root, stop)
    if linked:
        log.warning("%s: links to folders, which are not followed: %d", root, linked)
    return found


def _suffix(path: str) -> str:
    """Return how the name of an image ends, or nothing if the name is not that of an image."""
    suffix = os.path.splitext(path)[1].lower()  # noqa: PTH122 (a hundred times faster than Path)
    return suffix if suffix in SUFFIXES else ""


def _nothing_matches(paths: list[str], images: list[str], pattern: str) -> str:
    """Return what is there instead of images that match, without names, and what to do."""
    if not images:
        return f"no image ({', '.join(SUFFIXES)}) among the {len(paths):,} files below it; check the dataset's root"
    levels = Counter(path.count("/") for path in images)
    depths = [
        f"{count:,} below {level} level{'s' if level != 1 else ''} of folders"
        for level, count in sorted(levels.items())
    ]
    suffixes = [suffix for suffix, _ in Counter(map(_suffix, images)).most_common()]
    slashes = WILDCARD.sub("", pattern).count("/")
    return (
        f"none of its {len(images):,} images ({', '.join(suffixes)}) matches the pattern '{pattern}', which has {slashes} "
        f"level{'s' if slashes != 1 else ''} of folders; found {', '.join(depths)}. Correct folders.pattern"
    )


def _identified(rows: pd.DataFrame, folders: Folders, root: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the columns of the index that the wildcards and paths give, and what the user calls each of them."""
    given = {role: name for role, name in folders.roles.items() if name is not None}
    # A folder called 'none' would be the patient of many people.
    texts = rows[list(given.values())].where(~rows[list(given.values())].apply(_is_missing))
    identifiers = [given[role] for role in ("image_id", "patient_id", "study_id") if role in given]
    refuse_blanks(texts, identifiers, root)
    columns = pd.DataFrame({role: texts[name] for role, name in given.items()}, index=rows.index)
    columns["path"] = rows[PATH]
    names = {"path": PATH, "image_id": PATH, **given}
    for role, above in (("image_id", "path"), ("study_id", "image_id"), ("patient_id", "study_id")):
        if role not in given:
            columns[role], names[role] = columns[above], names[above]
    if {"patient_id", "study_id"} <= given.keys():
        columns["study_id"] = columns["patient_id"] + "/" + columns["study_id"]
    message = "another image has the same; without this wildcard in the pattern, the path is its name"
    if "image_id" in given:
        refuse(columns["image_id"].duplicated(), root, message, "image_id")
    return columns, names


def _is_missing(texts: pd.Series) -> pd.Series:
    return texts.str.lower().isin(MISSING)
