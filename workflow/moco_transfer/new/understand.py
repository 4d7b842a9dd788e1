"""What was understood of a folder, as the section of a dataset: from a table, from names of folders, or from DICOM headers."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from moco_transfer.data.labels import COLUMNS
from moco_transfer.data.pattern import path_regex
from moco_transfer.data.releases import RELEASES, find_tables
from moco_transfer.errors import UserError
from moco_transfer.new import words
from moco_transfer.new.columns import Roles, guess_roles, judge_roles
from moco_transfer.new.folders import read_names
from moco_transfer.new.labels import Labels, guess_labels, measured
from moco_transfer.new.look import Folder, Notes, count, read_headers
from moco_transfer.new.tables import Match, Table

# A release is recognised by its own files; a folder per class is too common to be one.
ALONE = "each image counts as a patient, so scores are too high if some patients have several"
KNOWN = ("mimic_cxr_jpg", "vindr_spinexr", "nih_chestxray14")


@dataclass
class Understanding:
    """``section`` has the keys of the dataset that say where its images and labels are; ``comments`` are by key.

    ``copy`` is the table that is written beside the configuration, if there must be one.
    """

    section: dict[str, Any]
    comments: dict[str, str] = field(default_factory=dict)
    copy: pd.DataFrame | None = None
    multiclass: bool = False
    unlabeled: str = "zero"
    has_labels: bool = True
    has_patients: bool = True
    colour: bool = False


def understand_release(folder: Folder, notes: Notes) -> Understanding | None:
    """Return what is understood of a release that is known by its files, or None."""
    for adapter in KNOWN:
        if not find_tables(adapter, folder.root)[1]:
            notes.found.append(f"this is {RELEASES[adapter].name}, by its files; its own tables are used")
            return Understanding(
                {"adapter": adapter, "root": str(folder.root)}, has_patients=adapter != "vindr_spinexr"
            )
    return None


def understand_table(folder: Folder, table: Table, match: Match, name: str, notes: Notes) -> Understanding:
    """Return what is understood of a table. ``name`` is the configuration's; a table that must be cleaned is copied to ``name``.csv.

    Raises UserError if no column is a label.
    """
    reasons: list[str] = []  # for a copy
    rows, path = _row_per_image(table, match, reasons, notes)
    left = len(folder.images) - len(rows)
    if left:
        notes.check.append(f"{left:,} images of the folder are in no row of the table; they are not used")
    roles = guess_roles(rows, path, notes)
    labels = guess_labels(
        rows, [each for each in rows.columns if each not in (path, *roles.columns())], notes
    )
    if not labels:
        numbers = measured(rows, [each for each in rows.columns if each not in (path, *roles.columns())])
        why = (
            f"; measured numbers are not learned (there is no regression): {', '.join(numbers)[:100]}"
            if numbers
            else ""
        )
        raise UserError(
            f"{table.file}: no column looks like a label; its columns are {', '.join(table.rows.columns)[:300]}{why}; add a column of "
            "1 (present) and 0 (absent), or one with a few classes"
        )
    roles.patient = _complete_patients(folder, rows, path, roles.patient, reasons, notes)
    judge_roles(rows, roles, notes)
    used = [path, *roles.columns(), *labels.columns]
    unused = [each for each in table.rows.columns if each not in used]
    if unused:
        notes.found.append("columns that are not used: " + ", ".join(f"'{each}'" for each in unused[:20]))
    file, copy, root = table.file, None, match.root
    if reasons:
        copy, file, root = rows[list(dict.fromkeys(used))], Path.cwd() / f"{name}.csv", folder.root
        notes.found.append(
            f"{file} is a copy of the table with the columns that are used, because {' and '.join(reasons)}"
        )
    section = _columns(_relative(file, root), path, roles)
    return _understood("table", section, root, labels, copy, bool(roles.patient))


def _row_per_image(table: Table, match: Match, reasons: list[str], notes: Notes) -> tuple[pd.DataFrame, str]:
    """Return the table with one row per image, and its column of paths; adds what it mended to ``reasons``."""
    known = match.paths.map(bool)
    notes.found.append(
        f"column '{match.column}' names the images, by {match.how}: {known.sum():,} of {len(known):,} rows"
    )
    if not table.direct:
        reasons.append(table.why_not)
    if not match.direct:
        reasons.append(f"column '{match.column}' does not hold paths relative to the folder")
    if not known.all():
        reasons.append("some rows name no image of the folder")
        notes.check.append(f"{(~known).sum():,} rows name no image that is in the folder; they are left out")
    rows, path = table.rows[known], match.column
    if (match.paths.map(len) > 1).any():  # the column is kept, as it may name the patient
        path = next(name for name in ("path", "path of the image") if name not in rows.columns)
        notes.check.append(
            f"column '{match.column}' names patients or folders, not images: each row describes all images of its own"
        )
    rows = rows.assign(**{path: match.paths[known]}).explode(path, ignore_index=True)
    if rows[path].duplicated().any():
        reasons.append("some images are in several rows")
        rows = _joined(rows, path, notes)
    return rows, path


def _complete_patients(
    folder: Folder, rows: pd.DataFrame, path: str, column: str | None, reasons: list[str], notes: Notes
) -> str | None:
    """Return the column of patients, after filling blanks, or after adding it to ``rows`` if something else tells them."""
    if column:
        blank = rows[column].isna()
        if blank.any():
            reasons.append("some patients are blank")
            notes.check.append(
                f"column '{column}' has {blank.sum():,} blanks; each counts as a patient of its own"
            )
            rows[column] = rows[column].fillna(rows[path])
        return column
    if (told := _patients_of(folder, rows[path].tolist(), notes)) is None:
        notes.check.append(f"no column names the patient: {ALONE}")
        return None
    reasons.append("patients are added")
    column = next(name for name in ("patient_id", "patient of the image") if name not in rows.columns)
    rows[column] = told
    return column


def _patients_of(folder: Folder, images: list[str], notes: Notes) -> list[str] | None:
    """Return the patient of each image, if DICOM headers or the paths tell, or None."""
    unheard = Notes()
    patients = read_names(images, unheard).columns.get("patient_id")
    source = "folders or file names seem to hold the patient"
    if all(map(set(folder.dicoms).__contains__, images)):
        headers = read_headers(folder.root, images)["PatientID"]
        if headers.nunique() > 1:
            patients, source = headers, "DICOM headers hold the patient"
    if patients is None:
        return None
    _note_blanks(patients, notes)
    patients = patients.fillna(pd.Series(images))
    notes.check.append(
        f"no column names the patient, but {source}: {patients.nunique():,} for {len(images):,} images, which are kept together"
    )
    return patients.tolist()


def _note_blanks(patients: pd.Series, notes: Notes) -> None:
    if blank := int(patients.isna().sum()):
        notes.check.append(
            f"nothing tells the patient of {count(blank, 'image')}; each counts as a patient of its own"
        )


def _relative(file: Path, root: Path) -> str:
    file = Path(os.path.abspath(file))  # noqa: PTH100 (links stay as they are)
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)


def _joined(rows: pd.DataFrame, path: str, notes: Notes) -> pd.DataFrame:
    """Return one row per image: 1 wins over 0, and other values that differ are listed with '|' between them."""

    def join(values: pd.Series) -> str | None:
        found = list(dict.fromkeys(values.dropna()))
        by_word = {words.plain(value): value for value in found}
        if by_word.keys() <= words.ANSWERS | words.NO_ANSWERS | words.UNCERTAIN:
            for known in (words.ANSWERS, words.UNCERTAIN):
                if present := by_word.keys() & known:
                    return by_word[min(present)]
        return "|".join(found) if found else None

    repeated = rows[path].duplicated(keep=False)
    notes.check.append(
        f"{rows.loc[repeated, path].nunique():,} images are in several rows; a finding counts as present if one of them says so"
    )
    joined = rows[repeated].groupby(path, sort=False, as_index=False).agg(join)
    return pd.concat([rows[~repeated], joined[rows.columns]], ignore_index=True).astype(object)


def understand_folders(folder: Folder, name: str, notes: Notes) -> Understanding:
    """Return what is understood of a folder without a table; DICOM headers and names that fit no pattern become a table ``name``.csv."""
    names = read_names(folder.images, notes)
    rows = names.columns.assign(path=folder.images)
    labels = guess_labels(rows, names.labels, notes)
    if labels and isinstance(labels.rules, dict) and not labels.classes:
        new = {label: _label_name(label, rule) for label, rule in labels.rules.items()}
        labels.rules = {new[label]: rule for label, rule in labels.rules.items()}
        labels.reasons = {new[label]: reason for label, reason in labels.reasons.items()}
    are_dicoms = len(folder.dicoms) == len(folder.images)
    if are_dicoms:
        rows = _with_headers(folder, rows, notes)
    elif {"patient_id", "study_id"} <= set(rows):  # two patients may have a folder 'study1'
        rows["study_id"] = rows["patient_id"] + "/" + rows["study_id"]
    if "patient_id" in rows:
        _note_blanks(rows["patient_id"], notes)
        rows["patient_id"] = rows["patient_id"].fillna(rows["path"])
    else:
        notes.check.append(f"nobody knows which images are of one patient: {ALONE}")
    roles = Roles(*(each if each in rows else None for each in ("patient_id", "study_id", "view", "split")))
    judge_roles(rows, roles, notes)
    pattern = names.pattern if roles.split else names.pattern.replace("{split}", "{folder}")
    if labels and pattern and not are_dicoms and not any(map(path_regex(pattern).fullmatch, folder.left_out)):
        return _understood("folders", {"pattern": pattern}, folder.root, labels, None, bool(roles.patient))
    file = Path.cwd() / f"{name}.csv"
    why = ", and no pattern fits them all" if labels else ""
    notes.found.append(
        f"{file} lists the images, because no table does{why}; it may hold identifiers: do not share it"
    )
    if not labels:
        rows["label"] = None
        reasons = {"label": "blank: fill in 1 (present) or 0 (absent)"}
        labels = Labels(["label"], columns=["label"], reasons=reasons)
    copy = rows[["path", *roles.columns(), *labels.columns]]
    section = _columns(_relative(file, folder.root), "path", roles)
    understood = _understood("table", section, folder.root, labels, copy, bool(roles.patient))
    understood.has_labels = bool(copy[labels.columns].notna().any(axis=None))
    return understood


def _columns(file: str, path: str, roles: Roles) -> dict[str, Any]:
    """Return the keys of a table that say what its columns are."""
    keys = ("file", "path", "patient_id", "study_id", "view", "official_split")
    values = (file, path, roles.patient, roles.study, roles.view, roles.split)
    return {key: value for key, value in zip(keys, values, strict=True) if value}


def _label_name(label: str, rule: dict[str, Any]) -> str:
    """Return the name of a label that is made from folders: 'fracture' says more than 'class'."""
    values = rule.get("positive", [])
    if any(words.ANSWERS & set(words.words_of(value)) - {"1"} for value in values):
        return "positive" if set(map(words.plain, values)).isdisjoint(words.ANSWERS) else label
    return values[0] if len(values) == 1 and words.plain(values[0]) not in words.ANSWERS else label


def _with_headers(folder: Folder, rows: pd.DataFrame, notes: Notes) -> pd.DataFrame:
    """Return ``rows`` with patients, studies and views from the headers of the DICOMs, where these tell them apart."""
    headers = read_headers(folder.root, folder.images)
    told = {"patient_id": "PatientID", "study_id": "StudyInstanceUID", "view": "ViewPosition"}
    for role, tag in told.items():
        values = headers[tag]
        if values.nunique() >= (1 if role == "view" else 2):
            rows = rows.assign(**{role: values})
            notes.found.append(
                f"DICOM headers: {tag} has {count(values.nunique(), 'value')} for {len(values):,} images"
            )
        elif role == "patient_id":
            notes.check.append(
                "the DICOM headers do not tell patients apart (PatientID is blank, or always the same)"
            )
    return rows


def _understood(
    adapter: str,
    section: dict[str, Any],
    root: Path,
    labels: Labels,
    copy: pd.DataFrame | None,
    has_patients: bool,
) -> Understanding:
    rules = labels.rules
    if isinstance(rules, list) and set(rules) & set(COLUMNS):  # the index has columns of these names
        rules = {f"{name} label": {"from": name, "positive": ["1"]} for name in rules}
    elif isinstance(rules, dict) and not labels.classes:
        rules = {f"{name} label" if name in COLUMNS else name: rule for name, rule in rules.items()}
    section["classes" if labels.classes else "labels"] = rules
    understood = Understanding({"adapter": adapter, "root": str(root), adapter: section})
    understood.comments, understood.copy, understood.unlabeled = labels.reasons, copy, labels.unlabeled
    understood.multiclass, understood.has_patients = labels.classes, has_patients
    return understood
