"""What every adapter asks of a release: its folders, its CSV files, the columns in them, the values of labels.

Whatever is not as it should be ends in a UserError that says what was looked for, what is there instead, and what to do.
"""

from __future__ import annotations

import difflib
import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from moco_transfer.data.index import LABEL_VALUES
from moco_transfer.errors import UserError


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
    """Return the names of the first few entries of the folder ``root``, for a message."""
    names = sorted(entry.name for entry in root.iterdir()) if root.is_dir() else []
    if not names:
        return "nothing there"
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def read_columns(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Return the ``columns`` of the CSV at ``path`` (plain or gzipped), all as strings; a blank is null.

    Raises UserError if the file is missing or damaged, or lacks a column; the message then suggests the nearest one.
    """
    options = {"dtype": "str", "keep_default_na": False, "na_values": [""], "encoding": "utf-8-sig"}
    try:
        present = list(pd.read_csv(path, nrows=0, **options).columns)
        for column in columns:
            if column not in present:
                near = difflib.get_close_matches(column, present, n=1)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                raise UserError(f"{path}: column '{column}' is missing; found {', '.join(present)}{hint}")
        return pd.read_csv(path, usecols=list(columns), **options)[list(columns)]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; found {contents(path.parent)}. Check the root") from None
    except (ValueError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not a readable CSV ({reason}); download it again") from None


def label_values(table: pd.DataFrame, columns: Sequence[str], path: Path) -> pd.DataFrame:
    """Return the ``columns`` of ``table``, which was read from ``path``, as float32 with the values 1, 0, -1 and NaN.

    Raises UserError that names the line, the column and the value if there is any other.
    """
    values = {}
    for column in columns:
        numbers = pd.to_numeric(table[column], errors="coerce")
        refuse_rows(
            table[column].notna() & ~numbers.isin(LABEL_VALUES), path, column, table, "1, 0, -1 or a blank"
        )
        values[column] = numbers.to_numpy(dtype=np.float32)
    return pd.DataFrame(values)


def refuse_rows(bad: pd.Series, path: Path, column: str, table: pd.DataFrame, expected: str) -> None:
    """Raise UserError for the first row of ``table``, read from ``path``, at which ``bad`` is true, if there is one.

    The value at fault is shown: do not use this for a column of identifiers.
    """
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        value = table[column].iloc[row]
        found = "a blank" if pd.isna(value) else f"'{value}'"
        # the header is line 1
        raise UserError(f"{path}, line {row + 2}, column '{column}': expected {expected}, found {found}")


def refuse_duplicates(table: pd.DataFrame, columns: list[str], path: Path) -> None:
    """Raise UserError if the values of ``columns`` occur twice in ``table``, which was read from ``path``."""
    duplicated = table.duplicated(columns).to_numpy()
    if duplicated.any():
        line = int(np.flatnonzero(duplicated)[0]) + 2
        raise UserError(
            f"{path}, line {line}: this {', '.join(columns)} stood on an earlier line; one line each was expected"
        )
