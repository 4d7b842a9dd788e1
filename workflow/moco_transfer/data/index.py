"""The index: one table per dataset, one row per image, with the same columns for every release.

Its first columns are ``COLUMNS``; every column after them is a label with the release's raw values 1, 0, -1
or NaN. An adapter builds the table and every later stage trusts it, so it is checked here. Messages name rows
by number, counted from 1, and never by identifier: identifiers of credentialed datasets must not enter a log.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from moco_transfer.data.labels import COLUMNS, SPLITS, label_columns
from moco_transfer.errors import UserError

REQUIRED = ("image_id", "patient_id", "study_id", "path")
LABEL_VALUES = (1.0, 0.0, -1.0)
RESPELLED = (
    "it differs from an earlier one only in capitals, blanks, quotes, leading zeros, '.0' or the like; write it "
    "in one way, so that one patient is not taken for two, or rename one of them"
)


def build(
    columns: pd.DataFrame, labels: pd.DataFrame, where: str, undivided: str | None = None
) -> pd.DataFrame:
    """Return the checked index of ``columns`` (missing ones become null, others are dropped) and ``labels``.

    Identifiers become strings and labels float32, so that writing to Parquet and reading back gives an equal
    table. ``where`` and ``undivided`` are those of ``check``. Raises UserError as ``check`` does.
    """
    identifiers = columns.reindex(columns=list(COLUMNS)).astype("str").reset_index(drop=True)
    values = labels.astype(np.float32).reset_index(drop=True)
    index = pd.concat([identifiers, values], axis=1)
    check(index, where, undivided)
    return index


def check(index: pd.DataFrame, where: str, undivided: str | None = None) -> None:
    """Raise UserError if ``index`` is not an index table; ``where`` names it in the message.

    ``undivided`` names a column (patient or study) whose values may not be in two official splits.
    """

    def refuse(rows: pd.Series, message: str) -> None:
        if rows.any():
            first = rows.index[rows][0] + 1
            others = f"; {rows.sum()} such rows" if rows.sum() > 1 else ""
            raise UserError(f"{where}: {message} (row {first} of the index{others})")

    if tuple(index.columns[: len(COLUMNS)]) != COLUMNS:
        raise UserError(
            f"{where}: the first columns must be {', '.join(COLUMNS)}; found {', '.join(index.columns)}"
        )
    if not index.columns.is_unique:
        twice = index.columns[index.columns.duplicated()][0]
        name = f"column '{twice}' occurs twice; rename the label of that name"
        if twice not in COLUMNS:
            name = "two labels have the same name (blanks around it do not count); rename one of them"
        raise UserError(f"{where}: {name}")
    if len(index) == 0:
        raise UserError(f"{where}: it lists no image; check the dataset's root")
    for column in REQUIRED:
        refuse(index[column].isna() | (index[column] == ""), f"{column} is blank")
    refuse(index["image_id"].duplicated(), "image_id occurs for the second time")
    for column in ("patient_id", "study_id"):
        if not index[column].equals(index["image_id"].rename(column)):
            refuse(respelled(index[column]), f"{column}: {RESPELLED}")
    refuse(
        leaves_root(index["path"]),
        "path leaves the dataset's root; give it relative to the root, without '..'",
    )
    labels = label_columns(index.columns)
    if not labels:
        raise UserError(f"{where}: there is no label column after '{COLUMNS[-1]}'")
    if not all(labels):
        raise UserError(f"{where}: the name of a label is blank; rename it")
    for label in labels:
        unknown = index[label].notna() & ~index[label].isin(LABEL_VALUES)
        refuse(unknown, f"label '{label}' must be 1, 0, -1 or blank")
    official = index["official_split"]
    refuse(official.notna() & ~official.isin(SPLITS), f"official_split must be {', '.join(SPLITS)} or null")
    if undivided is not None:
        first = official.groupby(index[undivided]).transform("first")
        refuse(
            official.notna() & (official != first),
            f"the {undivided} of this image is also in another official split; keep each in one",
        )


def leaves_root(paths: pd.Series) -> pd.Series:
    """Return which ``paths`` are absolute (also with a drive or as an URL), have a part '..', or contain a NUL: bool."""
    return paths.str.contains(r"^/|^[A-Za-z][A-Za-z0-9+.-]*:/|(?:^|/)\.\.(?:/|$)|\x00")


def respelled(identifiers: pd.Series) -> pd.Series:
    """Return which ``identifiers`` (no nulls) are probably an earlier one, spelled in another way: bool.

    They differ only in capitals, blanks, invisible characters, quotes, commas, kinds of dashes, leading zeros, '.0' of
    a number at the end, or the form of Unicode. If a program spells one patient in two ways, the patient can lie on two
    sides of a split.
    """
    spellings = identifiers.drop_duplicates()
    plain = pc.utf8_lower(pc.utf8_normalize(pa.array(spellings, pa.string()), "NFKC"))
    plain = pc.replace_substring_regex(plain, r"[\pZ\pC\"'’=,]+", "")
    plain = pc.replace_substring_regex(plain, r"[\p{Pd}−]", "-")
    plain = pc.replace_substring_regex(plain, r"^([^0-9]*?)0*([0-9]+?)(?:\.0*)?$", r"\1\2")
    again = spellings[plain.to_pandas().duplicated().to_numpy()]
    return identifiers.isin(again)
