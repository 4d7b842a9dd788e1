"""Which columns of a table name the patient, the study, the view and the split."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from moco_transfer.data.adapters.tables import SPLIT_NAMES
from moco_transfer.new import words
from moco_transfer.new.look import Notes

MOST_VIEWS = 20


@dataclass
class Roles:
    patient: str | None = None
    study: str | None = None
    view: str | None = None
    split: str | None = None
    unused_split: str = ""  # why a column of splits is not used

    def columns(self) -> list[str]:
        return [name for name in (self.patient, self.study, self.view, self.split) if name]


def guess_roles(rows: pd.DataFrame, path: str, notes: Notes) -> Roles:
    """Return the roles of the columns of ``rows`` (text; blanks are null; one row per image), without ``path``."""
    roles, names = Roles(), [name for name in rows.columns if name != path]
    split = _first(rows, names, _is_split)
    names = [name for name in names if name != split]
    roles.study = _first(rows, names, lambda column: words.is_study(column.name) and column.nunique() > 1)
    names = [name for name in names if name != roles.study]
    roles.patient = _patient(rows, names, notes)
    names = [name for name in names if name != roles.patient]
    roles.view = _first(
        rows, names, lambda column: words.is_view(column.name) and 1 <= column.nunique() <= MOST_VIEWS
    )
    if roles.patient:
        count = rows[roles.patient].nunique()
        notes.found.append(f"patients are in column '{roles.patient}': {count:,} for {len(rows):,} images")
        if count == len(rows) > 1:
            notes.check.append(
                f"column '{roles.patient}' has another patient for each image; if patients have several, it is the wrong column"
            )
    if roles.study and rows[roles.study].isna().any():
        notes.found.append(f"column '{roles.study}' has blanks, so it is not used for studies")
        roles.study = None
    if roles.study and roles.patient:
        patients = rows.groupby(roles.study)[roles.patient].nunique()
        if (patients > 1).any():
            notes.check.append(
                f"column '{roles.study}' is not used for studies, because {(patients > 1).sum():,} of its values have several patients"
            )
            roles.study = None
    if roles.study:
        notes.found.append(f"studies are in column '{roles.study}': {rows[roles.study].nunique():,}")
    if roles.view:
        notes.found.append(
            f"views are in column '{roles.view}': {rows[roles.view].nunique():,}; all are kept"
        )
    if split:
        _judge_split(rows, split, roles, notes)
    return roles


def _first(rows: pd.DataFrame, names: list[str], fits) -> str | None:
    return next((name for name in names if fits(rows[name])), None)


def _is_split(column: pd.Series) -> bool:
    values = set(column.dropna().str.lower())
    return len(values) > 1 and values <= set(SPLIT_NAMES)


def _patient(rows: pd.DataFrame, names: list[str], notes: Notes) -> str | None:
    named = [name for name in names if words.is_patient(name) and rows[name].notna().mean() > 0.5]
    if named:  # 'patient_id' rather than 'patient_group'
        best = max(named, key=lambda name: rows[name].nunique())
        return best if rows[best].nunique() > 1 else None
    for name in names:
        values = rows[name].dropna()
        repeats = len(values) / max(1, values.nunique())
        if words.words_of(name)[-1:] == ["id"] and 1.1 < repeats < 50 and values.nunique() > 10:
            notes.check.append(
                f"column '{name}' is taken for the patient, because its values repeat; if it is not, remove it"
            )
            return name
    return None


def _judge_split(rows: pd.DataFrame, split: str, roles: Roles, notes: Notes) -> None:
    """Use the column ``split`` if every image has a side, training and test are there, and no patient is on two sides."""
    sides = rows[split].str.lower().map(SPLIT_NAMES)
    why = ""
    if sides.isna().any():
        why = f"{sides.isna().sum():,} images have no split"
    elif not {"train", "test"} <= set(sides):
        why = "it does not have both train and test"
    elif roles.patient:
        crossing = (sides.groupby(rows[roles.patient]).nunique() > 1).sum()
        if crossing:
            why = f"{crossing:,} patients are in two of its splits, so scores would come out too high"
    if why:
        roles.unused_split = f"column '{split}' is not used as split: {why}"
        notes.check.append(roles.unused_split)
        return
    roles.split = split
    notes.found.append(f"official splits are in column '{split}': " + ", ".join(sorted(set(sides))))
    if not roles.patient:
        notes.check.append(
            f"nobody knows whether patients are in two splits of column '{split}', as no column names the patient"
        )
