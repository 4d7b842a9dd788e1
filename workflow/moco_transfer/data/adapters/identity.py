"""Which images of a user's own are of one patient, study and official split: checks that a table and folders share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from moco_transfer.data import index
from moco_transfer.data.adapters.tables import refuse, split_values


def checked(columns: pd.DataFrame, names: Mapping[str, str], where: Path) -> pd.DataFrame:
    """Return ``columns`` (image_id, patient_id, study_id, path and perhaps official_split) with the splits by their names here.

    ``names`` tells what the user calls each of these columns; where two have one name, nothing is said twice. ``where`` is the
    table or the folder that lists the images. Raises UserError for an image or path that occurs twice, a patient or study
    that is spelled in two ways, a study of several patients, and a patient in several official splits.
    """
    kind = columns.index.name
    for role in ("image_id", "path"):
        message = f"it is also on an earlier {kind}; expected one {kind} per image"
        refuse(columns[role].duplicated(), where, message, names[role])
    for role in ("patient_id", "study_id"):
        if names[role] != names["image_id"]:
            refuse(index.respelled(columns[role]), where, index.RESPELLED, names[role])
    if names["patient_id"] != names["study_id"]:
        patient = columns.groupby("study_id", sort=False)["patient_id"].transform("first")
        message = f"this study has another patient on an earlier {kind}; make studies unique across patients"
        refuse(patient != columns["patient_id"], where, message, names["study_id"])
    if "official_split" not in columns:
        return columns
    split = split_values(columns["official_split"].rename(names["official_split"]), where)
    first = split.groupby(columns["patient_id"]).transform("first")
    message = "this patient is also in another official split; keep each in one"
    refuse(split.notna() & (split != first), where, message, names["patient_id"])
    return columns.assign(official_split=split)
