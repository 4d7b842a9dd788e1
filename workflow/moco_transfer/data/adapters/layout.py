"""What every adapter asks of a release: its folders, its tables, the values in their columns.

Whatever is not as it should be ends in a UserError that says what was looked for, what is there instead, and what to do.
A table's index holds the line of each row (``csv_file``), or its number (``parquet_file``), and messages name it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from moco_transfer.data.index import LABEL_VALUES
from moco_transfer.errors import UserError

# What may be named in a message: tables, and folders that a release has. Any other name may be a patient's.
NAMED = re.compile(
    r"(?i).*\.(csv|csv\.gz|parquet|txt|md|html|zip|tar|gz)|files|annotations|physionet\.org|(train_|test_)?images(_\d+)?"
)


def folder(root: Path, name: str) -> Path:
    """Return the folder ``name`` of ``root``; raises UserError if it is not there."""
    if not (root / name).is_dir():
        raise UserError(f"{root}: folder '{name}' is missing; found {contents(root)}. Check the root")
    return root / name


def only_file(root: Path, pattern: str) -> Path:
    """Return the one file of ``root`` that matches ``pattern``; raises UserError if there is none, or several."""
    found = sorted(root.glob(pattern))
    if not found:
        raise UserError(f"{root}: no file '{pattern}'; found {contents(root)}. Check the root")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise UserError(
            f"{root}: one file '{pattern}' was expected, found {names}. Keep one release in a root"
        )
    return found[0]


def contents(root: Path) -> str:
    """Return what lies in the folder ``root``, for a message: names of tables and of a release's folders, else numbers."""
    names = sorted(entry.name for entry in root.iterdir()) if root.is_dir() else []
    shown = [name for name in names if NAMED.fullmatch(name)][:6]
    others = len(names) - len(shown)
    if others:
        shown.append(f"{others} {'other ' if shown else ''}{'entry' if others == 1 else 'entries'}")
    return ", ".join(shown) or "nothing there"


def label_values(table: pd.DataFrame, columns: Sequence[str], path: Path) -> pd.DataFrame:
    """Return the ``columns`` of ``table``, which was read from ``path``, as float32 with the values 1, 0, -1 and NaN.

    Raises UserError that names the line, the column and the value if there is any other.
    """
    values = {}
    for column in columns:
        numbers = pd.to_numeric(table[column], errors="coerce")
        bad = table[column].notna() & ~numbers.isin(LABEL_VALUES)
        refuse_rows(bad, path, column, table, "1, 0, -1 or a blank")
        values[column] = numbers.to_numpy(dtype=np.float32)
    return pd.DataFrame(values, index=table.index)


def refuse_rows(bad: pd.Series, path: Path, column: str, table: pd.DataFrame, expected: str) -> None:
    """Raise UserError for the first row of ``table``, read from ``path``, at which ``bad`` is true, if there is one.

    The value at fault is shown: do not use this for a column of identifiers.
    """
    if bad.any():
        value = table[column].iloc[int(np.flatnonzero(bad)[0])]
        found = "a blank" if pd.isna(value) else f"'{value[:40]}'"
        refuse(bad, path, table, f"expected {expected}, found {found}", column)


def refuse_duplicates(table: pd.DataFrame, columns: list[str], path: Path) -> None:
    """Raise UserError if the values of ``columns`` occur twice in ``table``, which was read from ``path``."""
    repeated = table.duplicated(columns)
    name = table.index.name
    refuse(
        repeated,
        path,
        table,
        f"this {', '.join(columns)} stood on an earlier {name}; one {name} each was expected",
    )


def refuse(bad: pd.Series, path: Path, table: pd.DataFrame, message: str, column: str | None = None) -> None:
    """Raise UserError with ``message`` and the place of the first row at which ``bad`` (bool [rows]) is true, if any is.

    ``column`` is a part of the place where the fault lies in one.
    """
    rows = np.flatnonzero(bad)
    if len(rows):
        name = table.index.name
        place = f"{path}, {name} {table.index[rows[0]]}" + (f", column '{column}'" if column else "")
        others = f" ({len(rows)} such {name}s)" if len(rows) > 1 else ""
        raise UserError(f"{place}: {message}{others}")
