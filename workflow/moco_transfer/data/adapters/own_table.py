"""A table of the user's own: a CSV or Parquet file with one row per image, whose columns the configuration names.

It needs a column of paths and one or more of labels. Without a column of studies, each image is its own study; without
one of patients, each study is its own patient. Labels are 1, 0, -1 or blank; ``True`` and ``False``, as pandas writes
them, count as 1 and 0.
"""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from moco_transfer.data import index
from moco_transfer.data.adapters.tables import label_values, read_table, refuse, refuse_values
from moco_transfer.data.labels import SPLITS
from moco_transfer.errors import UserError

if TYPE_CHECKING:
    from moco_transfer.config.datasets import Table

TRUTH = {"True": "1", "False": "0"}
# How a value that is not a split begins, and the split that it may stand for.
NEAR_SPLITS = {"tr": "train", "va": "validation", "dev": "validation", "te": "test"}


def read(root: Path, table: Table) -> pd.DataFrame:
    """Return the index of the images that the file ``table.file`` names, in its order.

    Raises UserError that names the line of a CSV, or the row of a Parquet file: for a blank or duplicate identifier, a
    path that leaves ``root`` or occurs twice, a label or split of another value, a study of several patients, and a
    patient in several official splits.
    """
    path = root / table.file
    roles = _columns_by_role(table, path)
    rows = read_table(path, list(dict.fromkeys([*roles.values(), *table.labels])))
    columns = pd.DataFrame({role: rows[column] for role, column in roles.items()})
    columns["path"] = _checked_paths(columns["path"], path, table.path)
    for role in ("image_id", "study_id", "patient_id"):
        refuse(columns[role].isna(), path, "expected an identifier, found a blank", roles[role])
    kind = rows.index.name
    for role in ("image_id", "path"):
        message = f"it is also on an earlier {kind}; expected one {kind} per image"
        refuse(columns[role].duplicated(), path, message, roles[role])
    if roles["patient_id"] != roles["study_id"]:
        patient = columns.groupby("study_id", sort=False)["patient_id"].transform("first")
        message = f"this study has another patient on an earlier {kind}; make studies unique across patients"
        refuse(patient != columns["patient_id"], path, message, roles["study_id"])
    if "official_split" in roles:
        _check_splits(columns, path, roles)
    labels = rows[table.labels].replace(TRUTH)
    return index.build(columns, label_values(labels, table.labels, path), str(path))


def _columns_by_role(table: Table, path: Path) -> dict[str, str]:
    """Return the column of the file behind each column of the index."""
    image = table.image_id or table.path
    study = table.study_id or image
    roles = {
        "image_id": image,
        "patient_id": table.patient_id or study,
        "study_id": study,
        "path": table.path,
    }
    both = set(table.labels) & set(roles.values())
    if both:
        raise UserError(
            f"{path}: column '{min(both)}' is given as a label and as a path or identifier; "
            "take it out of table.labels"
        )
    optional = {"official_split": table.official_split, "view": table.view}
    return roles | {role: column for role, column in optional.items() if column is not None}


def _checked_paths(paths: pd.Series, path: Path, name: str) -> pd.Series:
    """Return the paths in one spelling, without './' and '//', so that a file listed twice is noticed."""
    refuse(paths.isna(), path, "expected a path, found a blank", name)
    refuse(index.leaves_root(paths), path, "it leaves the root; give paths inside it, without '..'", name)
    uneven = paths.str.contains(r"//|(?:^|/)\.(?:/|$)")
    return paths.mask(uneven, paths[uneven].map(posixpath.normpath)) if uneven.any() else paths


def _check_splits(columns: pd.DataFrame, path: Path, roles: dict[str, str]) -> None:
    split = columns["official_split"]
    bad = split.notna() & ~split.isin(SPLITS)
    if bad.any():
        value = split[bad].iloc[0].casefold()
        near = [
            f" (did you mean '{name}'?)" for start, name in NEAR_SPLITS.items() if value.startswith(start)
        ]
        expected = f"{', '.join(SPLITS)} or a blank{''.join(near[:1])}"
        refuse_values(bad, split.rename(roles["official_split"]), path, expected)
    first = columns[split.notna()].groupby("patient_id", sort=False)["official_split"].first()
    refuse(
        split.notna() & (split != columns["patient_id"].map(first)),
        path,
        "this patient is also in another official split; keep each in one",
        roles["patient_id"],
    )
