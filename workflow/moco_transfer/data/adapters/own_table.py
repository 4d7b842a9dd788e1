"""A table of the user's own: CSV or Parquet, one row per image, columns named in the configuration.

It needs a column of paths and at least one of labels. Without a column of studies, each image counts as a
separate study; without a column of patients, each study counts as a separate patient. Labels are 1, 0, -1 or
blank (``tables.label_values`` accepts some words too), or made from other columns by rules (``label_rules``).
"""

from __future__ import annotations

import logging
import posixpath
import unicodedata
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

from moco_transfer.config import stages
from moco_transfer.config.listing import Table
from moco_transfer.data import index
from moco_transfer.data.adapters.identity import checked
from moco_transfer.data.adapters.label_rules import made_labels
from moco_transfer.data.adapters.layout import places_of
from moco_transfer.data.adapters.tables import read_table, refuse, refuse_blanks
from moco_transfer.errors import UserError

# How spreadsheets write a long number.
SCIENTIFIC = r"[0-9](?:\.[0-9]+)?[eE]\+[0-9]+"
LOST_DIGITS = (
    "a number in the form 1.2E+08, as spreadsheets shorten long ones, so that several patients may look like one; "
    "export the column as text"
)

log = logging.getLogger(__name__)


def read(root: Path, settings: stages.Index) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """Return the index of the images that the file ``settings.table.file`` lists, in its order, the file's columns as text, and 0.

    No row is left out; what else is in the folder is not looked at.

    Raises UserError that names the line of a CSV, or the row of a Parquet file, for a blank or duplicate
    identifier, a path that leaves ``root`` or occurs twice, an unknown label or split, a study of several
    patients, a patient spelled in two ways, and a patient in several official splits.
    """
    table = settings.table
    path = root / table.file
    roles = _columns_by_role(table, path)
    identity = dict.fromkeys([*roles.values(), *(table.labels if not table.rules else ())])
    ruled = [column for column in table.ruled_columns if column not in identity]
    rows = read_table(path, [*identity, *ruled], as_written=ruled)
    columns = pd.DataFrame({role: rows[column] for role, column in roles.items()})
    columns["path"] = _checked_paths(columns["path"], path, table.path, root)
    identifiers = dict.fromkeys(roles[role] for role in ("image_id", "study_id", "patient_id"))
    identifiers.pop(table.path, None)
    refuse_blanks(rows, identifiers, path)
    for column in identifiers:
        refuse(rows[column].str.fullmatch(SCIENTIFIC), path, LOST_DIGITS, column)
    columns = checked(columns, roles, path)
    return index.build(columns, made_labels(rows, table, path), str(path)), rows, 0


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
    both = set() if table.rules else set(table.labels) & set(roles.values())
    if both:
        raise UserError(
            f"{path}: column '{min(both)}' is given as a label and as a path or identifier; "
            "remove it from table.labels"
        )
    optional = {"official_split": table.official_split, "view": table.view}
    return roles | {role: column for role, column in optional.items() if column is not None}


def _checked_paths(paths: pd.Series, path: Path, name: str, root: Path) -> pd.Series:
    """Return the paths in one spelling, that of the disk and without './' and '//', so that a file listed twice is noticed.

    A path that is not there is also tried with slashes for backslashes, as Windows writes them, and with its accents in
    the other two forms of Unicode: macOS writes 'e' and the accent as two characters, and most programs as one.
    """
    refuse(paths.isna(), path, "expected a path, found a blank", name)
    slashed = paths.str.replace("\\", "/")
    message = "it leaves the root; give paths relative to the root, without '..' and without '/' or a drive in front"
    refuse(index.leaves_root(slashed), path, message, name)
    paths = _respelled(paths, root, "slashes for backslashes", lambda text: text.replace("\\", "/"))
    for form in ("NFC", "NFD"):
        paths = _respelled(
            paths, root, f"accents in the form {form}", partial(unicodedata.normalize, form), True
        )
    return paths.map(posixpath.normpath)


def _respelled(
    paths: pd.Series, root: Path, how: str, respell: Callable[[str], str], only_found: bool = False
) -> pd.Series:
    """Return ``paths`` with those respelled that are not in ``root`` as written; with ``only_found``, if they are there then.

    The log counts them.
    """
    changed = paths[paths.map(respell) != paths]
    changed = changed[places_of(changed.tolist(), root) == "missing"].map(respell)
    if only_found:
        changed = changed[places_of(changed.tolist(), root) == "there"]
    if len(changed):
        log.warning("paths read with %s, because no such files are there as written: %d", how, len(changed))
    return changed.reindex(paths.index).fillna(paths)
