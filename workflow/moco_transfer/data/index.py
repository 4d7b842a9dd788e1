"""The index: one table per dataset, one row per image, with the same columns for every release.

Its first columns are ``COLUMNS``; every column after them is a label with the release's raw values 1, 0, -1
or NaN. An adapter builds the table and every later stage trusts it, so it is checked here. Messages name rows
by number, counted from 1, and never by identifier: identifiers of credentialed datasets must not enter a log.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from moco_transfer.data.labels import COLUMNS, SPLITS, label_columns
from moco_transfer.errors import UserError

REQUIRED = ("image_id", "patient_id", "study_id", "path")
LABEL_VALUES = (1.0, 0.0, -1.0)


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
            raise UserError(f"{where}: {message} (row {first} of the index; {rows.sum()} such rows)")

    if tuple(index.columns[: len(COLUMNS)]) != COLUMNS:
        raise UserError(
            f"{where}: the first columns must be {', '.join(COLUMNS)}; found {', '.join(index.columns)}"
        )
    if not index.columns.is_unique:
        twice = index.columns[index.columns.duplicated()][0]
        raise UserError(f"{where}: column '{twice}' occurs twice; rename the label of that name")
    if len(index) == 0:
        raise UserError(f"{where}: it lists no image; check the dataset's root")
    for column in REQUIRED:
        refuse(index[column].isna() | (index[column] == ""), f"{column} is blank")
    refuse(index["image_id"].duplicated(), "image_id occurs for the second time")
    refuse(
        leaves_root(index["path"]),
        "path leaves the dataset's root; give it relative to the root, without '..'",
    )
    labels = label_columns(index.columns)
    if not labels:
        raise UserError(f"{where}: there is no label column after '{COLUMNS[-1]}'")
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
    """Return which ``paths`` are absolute, have a part '..', or contain a NUL, which ends a path: bool."""
    return paths.str.contains(r"^/|(?:^|/)\.\.(?:/|$)|\x00")
