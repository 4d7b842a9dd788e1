"""What the names of folders and files say about the images, if no table does."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from moco_transfer.data.adapters.tables import SPLIT_NAMES
from moco_transfer.new import words
from moco_transfer.new.look import Notes, stem
from moco_transfer.new.words import plain

MOST_CLASSES = 50
# With more names, a class has more images on average than a patient.
MANY_CLASSES, LEAST_OF_MANY = 20, 10
# Images that lie less deep than this share of all, such as test images without classes, are read as far as their folders go.
DEEP = 0.6
LEAST_IMAGES = 5  # on average, of a folder that is a class
# A part of a name is a patient's if so many images share it, on average.
LEAST_SHARED = 1.2
LEAST_PATIENTS = 5
# Patients in file names: person12_bacteria_3.jpeg, 9003175L.png. The rest of the name must not begin with a digit.
NAMED = r"(?:person|patient|pat|subject|subj|sub|case|p|s|id)[-_ ]?[0-9]+"
NAMES = [
    (rf"(?i:{NAMED})", r"[^0-9/][^/]*"),
    (r"[0-9]{3,}", r"[LRlr]\.[^/]*"),
]


@dataclass
class Names:
    """What each image's path says: ``columns`` by the names that the adapter ``folders`` knows, in the order of ``images``.

    ``pattern`` is that of the adapter, or empty if no pattern fits all images.
    """

    columns: pd.DataFrame
    pattern: str
    labels: list[str] = field(default_factory=list)  # the columns that may be labels


def read_names(images: list[str], notes: Notes) -> Names:
    """Return what the folders and the names of the ``images`` (paths) say."""
    paths = [path.split("/") for path in images]
    depths = np.array([len(parts) - 1 for parts in paths])
    depth = max(level for level in range(depths.max() + 1) if (depths >= level).mean() >= DEEP)
    even = bool((depths == depth).all())
    columns, pieces, labels = {}, [], []
    for level in range(depth):
        names = pd.Series([parts[level] if level < len(parts) - 1 else None for parts in paths], dtype="str")
        role = _role(names, columns, notes, level)
        if role == "constant" and not set(names[0]) & set("{}"):
            pieces.append(names[0])
            continue
        if role in ("constant", "part"):
            role = f"folder{level + 1}"
        else:
            if role.startswith(("class", "grade")):
                labels.insert(0, role)  # the deepest one is tried first
                names = names.where(~names.map(plain, na_action="ignore").isin(words.UNLABELLED))
                if names.isna().any():
                    notes.check.append(
                        f"images in no folder of a class: {names.isna().sum():,}; they have no label"
                    )
            columns[role] = names
        pieces.append(f"{{{role}}}")
    stems = pd.Series([stem(parts[-1]) for parts in paths])
    last = "{rest,.+}"
    if even:
        last = _file_name(stems, [parts[-1] for parts in paths], columns, labels, notes) or "{file}"
    if "patient_id" not in columns:
        last = _find_patients(stems, last, columns, notes)
    known = all(column.notna().all() for column in columns.values()) and (depths >= depth).all()
    pattern = "/".join([*pieces, last]) if last and known else ""
    return Names(pd.DataFrame(columns, index=range(len(paths))), pattern, labels)


def _role(names: pd.Series, taken: dict, notes: Notes, level: int) -> str:
    """Return what the folders of one level are: constant, part, split, class, grade, patient_id or study_id."""
    counts = names.value_counts()
    where = f"folders of level {level + 1}"
    if len(counts) == 1:
        return "constant"
    if {plain(name) for name in counts.index} <= words.COPIES:
        return "part"
    if "split" not in taken and {name.lower() for name in counts.index} <= set(SPLIT_NAMES):
        notes.found.append(f"{where} are splits: " + ", ".join(sorted(counts.index)))
        return "split"
    if all(set(words.words_of(name)) & set(SPLIT_NAMES) for name in counts.index):
        notes.check.append(
            f"{where} seem to be splits, but only train, validation and test and their short forms are read as such"
        )
        return "part"
    if "view" not in taken and {plain(name) for name in counts.index} <= words.VIEWS:
        notes.found.append(f"{where} are views: " + ", ".join(sorted(counts.index)))
        return "view"
    alike = len({re.sub(r"\d+", "#", name) for name in counts.index}) <= max(1, len(counts) // 10)
    numbered = counts.index.str.contains(r"\d").all()
    grades = all(re.fullmatch(r"\d{1,2}", name) and int(name) <= 10 for name in counts.index)
    average = len(names) / len(counts)
    graded = numbered and alike and any(map(words.is_grade, counts.index))
    numbered = numbered and not any(map(words.is_class, counts.index))
    least = LEAST_IMAGES if len(counts) <= MANY_CLASSES else LEAST_OF_MANY
    few = 2 <= len(counts) <= MOST_CLASSES and average >= least
    if few and (grades or graded or not (numbered and alike)):
        role = "grade" if grades or graded else "class"
        role = role if role not in taken else f"{role}{level + 1}"
        known = any(words.among(name, words.POSITIVE | words.NEGATIVE) for name in counts.index)
        (notes.found if known else notes.check).append(
            f"{where} are taken for {'grades' if role.startswith('grade') else 'classes'} (wildcard '{role}'): {len(counts)} names"
        )
        return role
    if numbered and alike and len(counts) <= MOST_CLASSES and average > 100:
        return "part"  # images_001, part2: downloads in pieces
    if (
        any(re.search("stud|exam", name, re.IGNORECASE) for name in counts.index[:20])
        or "patient_id" in taken
    ):
        role = "study_id"
    else:
        role = "patient_id"
    if role in taken or average < 1.01 or len(counts) < LEAST_PATIENTS:  # such as years
        return "part"
    what = "patients" if role == "patient_id" else "studies"
    notes.check.append(
        f"{where} are taken for {what}: {len(counts):,} names, {average:.1f} images each on average"
    )
    return role


def _file_name(stems: pd.Series, names: list[str], columns: dict, labels: list[str], notes: Notes) -> str:
    """Return the pattern of file names that consist of equally many parts with '_' or '-' between them, or ''.

    Adds what the parts are to ``columns`` and ``labels``.
    """
    for mark in "_-":
        tokens = stems.str.split(mark)
        count = len(tokens.iloc[0])
        if not 2 <= count <= 8 or not (tokens.str.len() == count).all():
            continue
        pieces, useful = [], False
        for position in range(count):
            part = tokens.str[position]
            counts = part.value_counts()
            role, average = f"part{position + 1}", len(part) / len(counts)
            is_text = not counts.index.str.contains(r"\d").any()
            if (
                position == 0
                and "patient_id" not in columns
                and not is_text
                and average >= LEAST_SHARED
                and len(counts) >= LEAST_PATIENTS
            ):
                role = "patient_id"
                notes.check.append(
                    f"the first part of file names, before '{mark}', is taken for the patient: {len(counts):,} of {len(part):,} differ"
                )
            elif is_text and 2 <= len(counts) <= MOST_CLASSES and average >= LEAST_IMAGES:
                if {plain(value) for value in counts.index} <= words.VIEWS:
                    role = "view" if "view" not in columns else role
                elif not labels:
                    role = "class"
                    labels.append(role)
                    notes.check.append(
                        f"part {position + 1} of file names is taken for the class: {len(counts)} names"
                    )
            if not role.startswith("part"):
                columns[role] = part
                useful = True
            pieces.append(f"{{{role}}}" if position == count - 1 else f"{{{role},[^{mark}/]+}}")
        if useful:
            # A name that ends with what is used ends before the suffix.
            end = "" if pieces[-1] == f"{{part{count}}}" else _suffix(names)
            return mark.join(pieces) + end
    return ""


def _suffix(names: list[str]) -> str:
    suffixes = Counter(name[len(stem(name)) :] for name in names)
    return next(iter(suffixes)) if len(suffixes) == 1 and "" not in suffixes else r"{suffix,(?:\.[^./]+)?}"


def _find_patients(stems: pd.Series, last: str, columns: dict, notes: Notes) -> str:
    """Add the patients that file names tell to ``columns``, and return the pattern of the names; '' if none fits all of them.

    ``last`` is their pattern so far.
    """
    for regex, rest in NAMES:
        found = (stems + ".x").str.extract(f"^({regex}){rest}$")[0]
        known = found.dropna()
        if len(known) < len(stems) / 2 or known.nunique() < LEAST_PATIENTS or known.is_unique:
            continue
        columns["patient_id"] = found
        text = f"file names are taken to begin with the patient: {known.nunique():,} patients for {len(known):,} images"
        notes.check.append(text)
        fits = len(known) == len(stems) and last == "{file}"
        return f"{{patient_id,{regex}}}{{rest,{rest}}}" if fits else ""
    return last
