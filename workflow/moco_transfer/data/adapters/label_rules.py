"""Labels that are made from the texts of columns, or of a pattern's wildcards, by the rules of ``config.listing``.

A rule looks at the values of one or more columns; a cell may hold several, with a separator between them. With ``positive``
alone, a label is 1 if there is one of these values, and else 0. With ``negative`` too, a value in neither list makes it -1
(uncertain) if none is positive. With ``at_least``, a number from there on makes it 1. A blank holds no value: the label is blank
only if all its columns are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from moco_transfer.config.listing import MISSING, Label, Listing, plain
from moco_transfer.data.adapters.tables import BLANKS, label_values, refuse

FLOAT = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
# What a value means for a label, from the weakest to the strongest: the strongest of an image counts.
MEANINGS = (math.nan, 0.0, -1.0, 1.0)
BLANK, ABSENT, UNCERTAIN, PRESENT = range(4)


def made_labels(rows: pd.DataFrame, listing: Listing, where: Path) -> pd.DataFrame:
    """Return the labels of the images in ``rows``: float32 with the values 1, 0, -1 and NaN.

    The columns of ``rows`` are text without blanks around it, or null. ``where`` is the file or folder that they come from.
    Raises UserError that names the row and the column of a value that no rule allows; it does not repeat the value.
    """
    if not listing.rules:
        return label_values(rows, listing.labels, where)
    if listing.classes:
        known = {plain(value) for value in listing.classes.values}
        bad = _cells_with_other_values(
            rows, listing, listing.classes.from_, lambda value: plain(value) in known
        )
        message = "expected one of the values in 'classes', found another; add it there, or correct it"
        refuse(bad, where, message, listing.classes.from_)
    for rule in listing.rules.values():
        for column in rule.from_ if rule.at_least is not None else ():
            bad = _cells_with_other_values(rows, listing, column, _is_finite)
            refuse(bad, where, "'at_least' expects a number or a blank, found something else", column)
    labels = {name: _values(rule, rows, listing) for name, rule in listing.rules.items()}
    return pd.DataFrame(labels, index=rows.index)


def values_in(cell: str, separator: str | None, named: set[str]) -> list[str]:
    """Return the values that a ``cell`` holds: its parts between separators that are no blanks.

    A word that programs write for a missing value is a blank unless it is among the ``named`` values of its column.
    """
    parts = [part.strip(BLANKS) for part in (cell.split(separator) if separator else [cell])]
    return [part for part in parts if part and (part.lower() not in MISSING or plain(part) in named)]


def named_values(listing: Listing, column: str) -> dict[str, str]:
    """Return the values of ``column`` that the rules of ``listing`` name, as the configuration writes them, by what is compared."""
    rules = [rule for rule in listing.rules.values() if column in rule.from_]
    written = [value for rule in rules for value in [*(rule.positive or ()), *(rule.negative or ())]]
    return {plain(value): value for value in written}


def _cells_with_other_values(
    rows: pd.DataFrame, listing: Listing, column: str, is_allowed: Callable[[str], bool]
) -> pd.Series:
    """Return which cells of ``column`` hold a value that is not allowed: bool [rows]."""
    named = set(named_values(listing, column))
    cells = rows[column].dropna().unique()
    return rows[column].isin(
        [cell for cell in cells if not all(map(is_allowed, values_in(cell, None, named)))]
    )


def _is_finite(value: str) -> bool:
    return bool(FLOAT.fullmatch(value)) and math.isfinite(float(value))


def _values(rule: Label, rows: pd.DataFrame, listing: Listing) -> np.ndarray:
    """Return what a ``rule`` makes of each row: float32 [rows]."""
    strongest = np.full(len(rows), BLANK)
    for column in rule.from_:
        named = set(named_values(listing, column))
        meanings = {
            cell: max(
                (_meaning(rule, value) for value in values_in(cell, rule.separator, named)), default=BLANK
            )
            for cell in rows[column].dropna().unique()
        }
        found = rows[column].map(meanings).fillna(BLANK).to_numpy(dtype=int)
        strongest = np.maximum(strongest, found)
    return np.array(MEANINGS, dtype=np.float32)[strongest]


def _meaning(rule: Label, value: str) -> int:
    if rule.at_least is not None:
        return PRESENT if float(value) >= rule.at_least else ABSENT
    if plain(value) in map(plain, rule.positive):
        return PRESENT
    if rule.negative is None or plain(value) in map(plain, rule.negative):
        return ABSENT
    return UNCERTAIN
