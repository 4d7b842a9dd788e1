"""A table of the user's own: CSV or Parquet, one row per image, columns named in the configuration.

It needs a column of paths and at least one of labels. Without a column of studies, each image counts as a
separate study; without a column of patients, each study counts as a separate patient. Labels are 1, 0, -1 or
blank; ``True`` and ``False``, as pandas writes them, count as 1 and 0.
"""

from __future__ import annotations

import posixpath
from pathlib import Path

import pandas as pd

from moco_transfer.config import stages
from moco_transfer.config.datasets import Table
from moco_transfer.data import index
from moco_transfer.data.adapters.tables import label_values, read_table, refuse, refuse_values
from moco_transfer.data.labels import SPLITS
from moco_transfer.errors import UserError

TRUTH = {"True": "1", "False": "0"}


def read(root: Path, settings: stages.Index) -> pd.DataFrame:
    """Return the index of the images that the file ``settings.table.file`` lists, in its order.

    Raises UserError that names the line of a CSV, or the row of a Parquet file, for a blank or duplicate
    identifier, a path that leaves ``root`` or occurs twice, an unknown label or split, a study of several
    patients, and a patient in several official splits.
    """
    table = settings.table
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
            "remove it from table.labels"
        )
    optional = {"official_split": table.official_split, "view": table.view}
    return roles | {role: column for role, column in optional.items() if column is not None}


def _checked_paths(paths: pd.Series, path: Path, name: str) -> pd.Series:
    """Return the paths in one spelling, without './' and '//', so that a file listed twice is noticed."""
    refuse(paths.isna(), path, "expected a path, found a blank", name)
    refuse(index.leaves_root(paths), path, "it leaves the root; give paths inside it, without '..'", name)
    return paths.map(posixpath.normpath)


def _check_splits(columns: pd.DataFrame, path: Path, roles: dict[str, str]) -> None:
    split = columns["official_split"].rename(roles["official_split"])
    refuse_values(split.notna() & ~split.isin(SPLITS), split, path, f"{', '.join(SPLITS)} or a blank")
    first = split.groupby(columns["patient_id"]).transform("first")
    message = "this patient is also in another official split; keep each in one"
    refuse(split.notna() & (split != first), path, message, roles["patient_id"])
