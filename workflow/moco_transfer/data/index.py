"""The index: one table per dataset, one row per image, the same columns whatever release it came from.

Its first columns are ``COLUMNS``; every column after them is a label with the release's raw values 1, 0, -1 or NaN. An
adapter builds the table and every later stage trusts it, so it is checked here. Messages name rows by number, counted
from 1, and never by identifier: identifiers of credentialed datasets must not enter a log.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from moco_transfer.data.labels import COLUMNS, SPLITS
from moco_transfer.errors import UserError

REQUIRED = ("image_id", "patient_id", "study_id", "path")
LABEL_VALUES = (1.0, 0.0, -1.0)


def build(
    columns: pd.DataFrame, labels: pd.DataFrame, where: str, undivided: str | None = None
) -> pd.DataFrame:
    """Return the checked index of ``columns`` (some of ``COLUMNS``; absent ones become null) and ``labels``.

    Identifiers become strings and labels float32, so that writing to Parquet and reading back gives an equal table.
    ``where`` names the release in messages; ``undivided`` as in ``check``. Raises UserError as ``check`` does.
    """
    identifiers = columns.reindex(columns=list(COLUMNS)).astype("str").reset_index(drop=True)
    values = labels.astype(np.float32).reset_index(drop=True)
    index = pd.concat([identifiers, values], axis=1)
    check(index, where, undivided)
    return index


def check(index: pd.DataFrame, where: str, undivided: str | None = None) -> None:
    """Raise UserError if ``index`` is not an index table; ``where`` names it in the message.

    ``undivided`` names a column (``patient_id`` or ``study_id``), none of whose values may be in two official splits.
    """
    if tuple(index.columns[: len(COLUMNS)]) != COLUMNS:
        raise UserError(
            f"{where}: the first columns must be {', '.join(COLUMNS)}; found {', '.join(index.columns)}"
        )
    if not index.columns.is_unique:
        twice = index.columns[index.columns.duplicated()][0]
        raise UserError(f"{where}: column '{twice}' occurs twice; rename the label of that name")
    if len(index) == 0:
        raise UserError(f"{where}: there is no image in it; check the dataset's root")
    _check_identifiers(index, where)
    _check_labels(index, where)
    named = index["official_split"].notna()
    _refuse(
        named & ~index["official_split"].isin(SPLITS),
        f"{where}: official_split must be {', '.join(SPLITS)} or null",
    )
    if undivided is not None:
        _check_undivided(index[named], where, undivided)


def _check_identifiers(index: pd.DataFrame, where: str) -> None:
    for column in REQUIRED:
        _refuse(index[column].isna() | (index[column] == ""), f"{where}: {column} is blank")
    _refuse(index["image_id"].duplicated(), f"{where}: image_id occurs for the second time")
    _refuse(
        leaves_root(index["path"]),
        f"{where}: path leaves the dataset's root; give it relative to the root, without '..'",
    )


def leaves_root(paths: pd.Series) -> pd.Series:
    """Return which of ``paths`` (text) are absolute, have a part '..', or hold a NUL, which ends a path: bool."""
    return paths.str.contains(r"^/|(?:^|/)\.\.(?:/|$)|\x00")


def _check_labels(index: pd.DataFrame, where: str) -> None:
    labels = index.columns[len(COLUMNS) :]
    if len(labels) == 0:
        raise UserError(f"{where}: there is no label column after '{COLUMNS[-1]}'")
    for column in labels:
        strange = index[column].notna() & ~index[column].isin(LABEL_VALUES)
        _refuse(strange, f"{where}: label '{column}' must be 1, 0, -1 or blank")


def _check_undivided(index: pd.DataFrame, where: str, column: str) -> None:
    first = index.groupby(column, sort=False)["official_split"].transform("first")
    _refuse(
        index["official_split"] != first,
        f"{where}: the {column} of this image is also in another official split; the release must not divide them",
    )


def _refuse(rows: pd.Series, message: str) -> None:
    """Raise UserError with ``message`` and the number of the first of the ``rows`` (bool) that is true, if any is."""
    if rows.any():
        first = rows.index[rows.to_numpy(dtype=bool)][0]
        raise UserError(f"{message} (row {first + 1} of the index; {int(rows.sum())} such rows)")
