"""How a user's own table or folders were read: the column behind each role, what the labels became, and which values there are.

The index stage writes it beside the index, and the data card shows it, so that a user sees at once whether the table was
understood. It holds names from the configuration and counts. The values of a column are shown only if the configuration names
them, or if they are few and each is of several patients: a column that was chosen by mistake may hold identifiers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from moco_transfer.checksums import damaged
from moco_transfer.config.listing import Folders, Label, Listing, Table, is_number, plain
from moco_transfer.data.adapters.label_rules import named_values, values_in
from moco_transfer.data.adapters.layout import LEAST_PATIENTS, MOST_VIEWS
from moco_transfer.data.labels import label_columns
from moco_transfer.data.pattern import wildcard_names

SHOWN_VALUES = 8
"""A rule in words names only so many values."""
LEAST_POSITIVES = 5


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LabelReading(_Part):
    """What one label is made from: its ``columns``, when it is 1 in words, and how many images became 1, 0, -1 and blank.

    ``never`` lists the values that its rule names and none of its columns has; ``spelled`` those of which a column has another
    spelling, which no rule names and which therefore counts as another value.
    """

    label: str
    columns: list[str]
    rule: str
    never: list[str]
    spelled: list[str]
    present: int
    absent: int
    uncertain: int
    blank: int


class ColumnReading(_Part):
    """The values of one column that rules use: images by value, if they may be shown, and the number of all values.

    ``others`` counts the values that are not shown.
    """

    column: str
    distinct: int
    values: dict[str, int]
    others: int
    blank: int


class Reading(_Part):
    """How a table or folders were read: ``source`` is 'table' or 'folders', ``name`` the file or the pattern.

    ``roles`` has the column of each role, or none; ``unused`` the wildcards that have no role and make no label; ``left_out`` the
    images that are not in the index, by reason. ``median`` and ``most`` are images per patient.
    """

    source: str
    name: str
    roles: dict[str, str | None]
    unused: list[str]
    left_out: dict[str, int]
    images: int
    studies: int
    patients: int
    median: float
    most: int
    labels: list[LabelReading]
    columns: list[ColumnReading]

    def warnings(self, learned: bool = True) -> list[str]:
        """Return sentences on what a user should look at before trusting the scores and, if labels are ``learned``, these."""
        found = []
        if self.roles["patient_id"] is None:
            cure = (
                "name the column in table.patient_id"
                if self.source == "table"
                else "call its wildcard {patient_id}"
            )
            found.append(
                f"No patient is named: {self.stand_in('patient_id')}. Images of one patient may then be in both training and "
                f"test, and the scores come out too high. If the patient is known, {cure}."
            )
        if not learned:
            return found
        few = [f"'{each.label}' ({each.present})" for each in self.labels if each.present < LEAST_POSITIVES]
        if few:
            found.append(f"Fewer than {LEAST_POSITIVES} images with the value 1: {_listed(few)}.")
        if never := self._values("never"):
            found.append(f"The configuration names values that never occur: {never}.")
        if spelled := self._values("spelled"):
            found.append(
                f"Some values differ only in capitals or blanks from one that the configuration names, and count as others: {spelled}. "
                "Name every spelling that is meant."
            )
        return found

    def _values(self, kind: str) -> str:
        """Return the values of one ``kind`` of all labels, in words."""
        return _listed(
            [
                f"'{value}' (label '{each.label}' from {', '.join(each.columns)})"
                for each in self.labels
                for value in getattr(each, kind)
            ]
        )

    def stand_in(self, role: str) -> str:
        """Return what counts as the patient or study if there is no column of the ``role``."""
        if role == "patient_id" and self.roles["study_id"] is not None:
            return "each study counts as a patient"
        return f"each image counts as a {role.removesuffix('_id')}"


def read_as(listing: Listing, index: pd.DataFrame, texts: pd.DataFrame, left_out: dict[str, int]) -> Reading:
    """Return how the images of ``index`` were read from ``texts``, the columns of a table or the wildcards of a pattern.

    ``left_out`` counts the images that are in neither, by reason.
    """
    patients = index["patient_id"].value_counts()
    unused = []
    if isinstance(listing, Folders):
        used = {*listing.roles.values(), *(listing.ruled_columns if listing.rules else listing.labels)}
        unused = [name for name in wildcard_names(listing.pattern) if name not in used]
    # If there is no column of patients, nobody knows how many patients have a value.
    known = index["patient_id"] if listing.roles["patient_id"] is not None else None
    return Reading(
        source="table" if isinstance(listing, Table) else "folders",
        name=Path(listing.file).name if isinstance(listing, Table) else listing.pattern,
        roles=listing.roles,
        unused=unused,
        left_out={why: count for why, count in left_out.items() if count},
        images=len(index),
        studies=len(index[["patient_id", "study_id"]].drop_duplicates()),
        patients=len(patients),
        median=float(patients.median()),
        most=int(patients.max()),
        labels=_labels(listing, index, texts),
        columns=[_column(column, listing, texts[column], known) for column in listing.ruled_columns],
    )


def written(reading: Reading | None) -> str:
    """Return the text of the file of a ``reading``: JSON, which is empty for a release."""
    return (reading.model_dump_json(indent=1) if reading else "{}") + "\n"


def read_reading(path: Path) -> Reading | None:
    """Return the reading in the file at ``path``, or None for a release; raises UserError if the file is damaged."""
    text = path.read_text(encoding="utf-8")
    try:
        return None if text.strip() == "{}" else Reading.model_validate_json(text)
    except ValidationError:
        raise damaged(path) from None


def in_words(rule: Label | None) -> str:
    """Return when a label is 1, and what else it may be.

    >>> in_words(Label(**{"from": "grade", "at_least": 2}))
    'at least 2'
    """
    if rule is None:
        return "1 (0, -1 and blanks as they are)"
    if rule.at_least is not None:
        return f"at least {rule.at_least:g}"
    words = _values_in_words(rule.positive)
    if rule.separator:
        words += f" among the parts between '{rule.separator}'"
    return words if rule.negative is None else f"{words}; 0 if {_values_in_words(rule.negative)}; else -1"


def _values_in_words(values: Sequence[str]) -> str:
    shown = [f"'{value}'" for value in values[:SHOWN_VALUES]]
    if len(values) > SHOWN_VALUES:
        shown.append(f"{len(values) - SHOWN_VALUES} more")
    return " or ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _listed(words: Sequence[str]) -> str:
    more = [f"{len(words) - SHOWN_VALUES} more"] if len(words) > SHOWN_VALUES else []
    return ", ".join([*words[:SHOWN_VALUES], *more])


def _labels(listing: Listing, index: pd.DataFrame, texts: pd.DataFrame) -> list[LabelReading]:
    rules = listing.rules

    @cache
    def present(column: str, separator: str | None) -> tuple[set[str], set[str]]:
        """Return the values of a column, and those that no rule names, spelled in one way."""
        named = set(named_values(listing, column))
        cells = texts[column].dropna().unique()
        values = {plain(value) for cell in cells for value in values_in(cell, separator, named)}
        return values, {_in_one_spelling(value) for value in values - named}

    found = []
    for name in label_columns(index.columns):
        rule, values = rules.get(name), index[name]
        wanted = [*(rule.positive or ()), *(rule.negative or ())] if rule else []
        columns = [present(column, rule.separator) for column in rule.from_] if wanted else []
        there, others = (set().union(*(column[kind] for column in columns)) for kind in (0, 1))
        counts = {
            "present": values == 1,
            "absent": values == 0,
            "uncertain": values == -1,
            "blank": values.isna(),
        }
        found.append(
            LabelReading(
                label=name,
                columns=rule.from_ if rule else [name],
                rule=in_words(rule),
                never=[value for value in wanted if plain(value) not in there],
                spelled=[value for value in wanted if _in_one_spelling(value) in others],
                **{kind: int(np.count_nonzero(chosen)) for kind, chosen in counts.items()},
            )
        )
    return found


def _in_one_spelling(value: str) -> str:
    return " ".join(value.casefold().split())


def _by_number(value: str) -> tuple[bool, float, str]:
    number = is_number(value)
    return not number, float(value) if number else 0.0, value


def _column(column: str, listing: Listing, cells: pd.Series, patients: pd.Series | None) -> ColumnReading:
    """Return the values of a ``column``; ``patients`` is that of each row, or None if it is unknown."""
    named = named_values(listing, column)
    separators = {rule.separator for rule in listing.rules.values() if column in rule.from_}
    separator = next(iter(separators)) if len(separators) == 1 else None
    parts = cells.map(
        {cell: values_in(cell, separator, set(named)) for cell in cells.dropna().unique()}
    ).explode()
    compared = parts.dropna().map({part: plain(part) for part in parts.dropna().unique()})
    pairs = pd.DataFrame({"value": compared.to_numpy(), "row": compared.index}).drop_duplicates()
    images = pairs["value"].value_counts()
    images = images[sorted(images.index, key=_by_number)]
    shown = images.index.isin(list(named))
    if patients is not None and len(images) <= MOST_VIEWS:
        several = patients.loc[pairs["row"]].groupby(pairs["value"].to_numpy()).nunique() >= LEAST_PATIENTS
        if (several | pd.Series(shown, images.index)).all():
            shown[:] = True
    values = {named.get(value, value): int(count) for value, count in images[shown].items()}
    absent = {value: 0 for key, value in named.items() if key not in images.index}
    return ColumnReading(
        column=column,
        distinct=len(images),
        values=values | absent,
        others=int(np.count_nonzero(~shown)),
        blank=len(cells) - pairs["row"].nunique(),
    )
