"""A table of the user's own: a CSV or Parquet file with a row an image, whose columns the configuration names.

Needed are a column of paths and one or more of labels; without a column of studies each image is its own, without one of
patients each study is. Labels are 1, 0, -1 or blank; ``True`` and ``False``, as pandas writes them, count as 1 and 0.
"""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from moco_transfer.data import index
from moco_transfer.data.adapters import layout, tables
from moco_transfer.data.labels import SPLITS
from moco_transfer.errors import UserError

if TYPE_CHECKING:
    from moco_transfer.config.datasets import Table

TRUTH = {"True": "1", "False": "0"}
# How a value that is no split begins, and the split that it may stand for.
NEAR_SPLITS = {"tr": "train", "va": "validation", "dev": "validation", "te": "test"}


def read(root: Path, table: Table) -> pd.DataFrame:
    """Return the index of the images that the file ``table.file`` names, in its order.

    Raises UserError that names the line of a CSV, or the row of a Parquet file: for a blank or duplicate identifier, a
    path that leaves ``root`` or occurs twice, a label or split of another value, a study of several patients, and a
    patient in several official splits.
    """
    path = root / table.file
    roles = _columns_by_role(table, path)
    read_columns = tables.read_parquet_columns if tables.is_parquet(path) else tables.read_csv_columns
    rows = read_columns(path, list(dict.fromkeys([*roles.values(), *table.labels])))
    columns = pd.DataFrame({role: rows[column] for role, column in roles.items()})
    columns["path"] = _checked_paths(columns, path, table.path)
    for role in ("image_id", "study_id", "patient_id"):
        layout.refuse(
            columns[role].isna(), path, rows, "an identifier was expected, found a blank", roles[role]
        )
    for role in ("image_id", "path"):
        name = rows.index.name
        message = f"it stood on an earlier {name}; one {name} an image was expected"
        layout.refuse(columns[role].duplicated(), path, rows, message, roles[role])
    _require_one_patient(columns, path, roles)
    if "official_split" in roles:
        _check_splits(columns, path, roles)
    labels = rows[table.labels].replace(TRUTH)
    return index.build(columns, layout.label_values(labels, table.labels, path), str(path))


def _columns_by_role(table: Table, path: Path) -> dict[str, str]:
    """Return the column of the file behind each column of the index; what is not given falls back, see above."""
    image = table.image_id or table.path
    study = table.study_id or image
    optional = {"official_split": table.official_split, "view": table.view}
    roles = {
        "image_id": image,
        "patient_id": table.patient_id or study,
        "study_id": study,
        "path": table.path,
        **{role: column for role, column in optional.items() if column is not None},
    }
    identifiers = {roles[role] for role in ("image_id", "patient_id", "study_id", "path")}
    for column in table.labels:
        if column in identifiers:
            raise UserError(
                f"{path}: column '{column}' is given as a label and as a path or identifier; "
                "take it out of table.labels"
            )
    return roles


def _checked_paths(columns: pd.DataFrame, path: Path, name: str) -> pd.Series:
    """Return the paths in one spelling, without './' and '//', so that a file listed twice is noticed."""
    paths = columns["path"]
    layout.refuse(paths.isna(), path, columns, "a path was expected, found a blank", name)
    outside = index.leaves_root(paths)
    layout.refuse(outside, path, columns, "it leaves the root; give paths inside it, without '..'", name)
    uneven = paths.str.contains(r"//|(?:^|/)\.(?:/|$)")
    return paths.mask(uneven, paths[uneven].map(posixpath.normpath)) if uneven.any() else paths


def _require_one_patient(columns: pd.DataFrame, path: Path, roles: dict[str, str]) -> None:
    if roles["patient_id"] == roles["study_id"]:
        return
    first = columns.groupby("study_id", sort=False)["patient_id"].transform("first")
    layout.refuse(
        first != columns["patient_id"],
        path,
        columns,
        "this study stood under another patient before; make studies unique across patients",
        roles["study_id"],
    )


def _check_splits(columns: pd.DataFrame, path: Path, roles: dict[str, str]) -> None:
    split = columns["official_split"]
    bad = split.notna() & ~split.isin(SPLITS)
    if bad.any():
        value = split[bad].iloc[0]
        near = [name for start, name in NEAR_SPLITS.items() if value.casefold().startswith(start)]
        expected = f"{', '.join(SPLITS)} or a blank" + (f" (did you mean '{near[0]}'?)" if near else "")
        named = columns.rename(columns={"official_split": roles["official_split"]})
        layout.refuse_rows(bad, path, roles["official_split"], named, expected)
    first = columns[split.notna()].groupby("patient_id", sort=False)["official_split"].first()
    layout.refuse(
        split.notna() & (split != columns["patient_id"].map(first)),
        path,
        columns,
        "this patient also lies in another official split; keep each in one",
        roles["patient_id"],
    )
