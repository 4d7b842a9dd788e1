"""Which columns of a table name the patient, the study, the view and the split."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from moco_transfer.data.adapters.tables import SPLIT_NAMES
from moco_transfer.new import words
from moco_transfer.new.look import Notes, count

MOST_VIEWS = 20


@dataclass
class Roles:
    patient: str | None = None
    study: str | None = None
    view: str | None = None
    split: str | None = None

    def columns(self) -> list[str]:
        return [name for name in (self.patient, self.study, self.view, self.split) if name]


def guess_roles(rows: pd.DataFrame, path: str, notes: Notes) -> Roles:
    """Return the roles of the columns of ``rows`` (text; blanks are null; one row per image), without ``path``."""
    roles, names = Roles(), [name for name in rows.columns if name != path]
    tests = {
        "split": _is_split,
        "study": lambda column: words.is_study(column.name) and column.nunique() > 1,
        "patient": None,
        "view": lambda column: words.is_view(column.name) and 1 <= column.nunique() <= MOST_VIEWS,
    }
    for role, fits in tests.items():
        found = (
            next((name for name in names if fits(rows[name])), None) if fits else _patient(rows, names, notes)
        )
        setattr(roles, role, found)
        names = [name for name in names if name != found]
    return roles


def judge_roles(rows: pd.DataFrame, roles: Roles, notes: Notes) -> None:
    """Take back the roles of columns that the adapter would refuse or that would leak, and tell what the others hold."""
    if roles.patient:
        patients = rows[roles.patient].nunique()
        notes.found.append(f"patients are in column '{roles.patient}': {patients:,} for {len(rows):,} images")
        if patients == len(rows) > 1:
            notes.check.append(
                f"column '{roles.patient}' has another patient for each image; if patients have several, it is the wrong column"
            )
    if roles.study:
        several = rows.groupby(roles.study)[roles.patient].nunique().gt(1).sum() if roles.patient else 0
        why = f"{count(several, 'value')} in it stand for several patients" if several else ""
        why = "it has blanks" if rows[roles.study].isna().any() else why
        if why:
            notes.check.append(f"column '{roles.study}' is not used for studies: {why}")
            roles.study = None
        else:
            notes.found.append(f"studies are in column '{roles.study}': {rows[roles.study].nunique():,}")
    if roles.view:
        notes.found.append(
            f"views are in column '{roles.view}': {rows[roles.view].nunique():,}; all are kept"
        )
    if roles.split:
        sides = rows[roles.split].str.lower().map(SPLIT_NAMES)
        if why := _why_not_split(sides, rows[roles.patient] if roles.patient else None):
            notes.check.append(f"column '{roles.split}' is not used as split: {why}")
            roles.split = None
        else:
            found = ", ".join(sorted(set(sides)))
            notes.found.append(f"official splits are in column '{roles.split}': {found}")


def _why_not_split(sides: pd.Series, patients: pd.Series | None) -> str:
    """Return why the data's own splits (``sides``, by their names here) are not to be used, or ''."""
    if sides.isna().any():
        return f"images without a split: {sides.isna().sum():,}"
    if not {"train", "test"} <= set(sides):
        return "there are not both train and test"
    crossing = 0 if patients is None else (sides.groupby(patients).nunique() > 1).sum()
    return (
        f"patients that are in two of them, so that scores come out too high: {crossing:,}"
        if crossing
        else ""
    )


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
