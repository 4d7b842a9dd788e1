"""VinDr-SpineXR 1.0.0: spine radiographs in DICOM, with one CSV row per bounding box.

Layout: ``train_images/<image_id>.dicom``, ``test_images/<image_id>.dicom``, ``annotations/train.csv`` and
``test.csv``. An image is abnormal unless one of its rows says ``No finding`` (decision 4). The release names
no patients, so each study counts as a separate patient.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from moco_transfer.config import stages
from moco_transfer.data import index
from moco_transfer.data.adapters import layout, tables

NORMAL = "no finding"


def read(root: Path, settings: stages.Index) -> pd.DataFrame:
    """Return the index of the release at ``root``: the label ``abnormal``, and the official splits."""
    images = pd.concat([_read_split(root, split) for split in ("train", "test")], ignore_index=True)
    return index.build(images, images[["abnormal"]], f"{root}/annotations", undivided="study_id")


def _read_split(root: Path, split: str) -> pd.DataFrame:
    layout.folder(root, f"{split}_images")
    path = root / "annotations" / f"{split}.csv"
    boxes = tables.read_table(path, ["study_id", "image_id", "lesion_type"])
    tables.refuse_blanks(boxes, ["study_id", "image_id"], path)
    blank = boxes["lesion_type"].isna()
    tables.refuse(blank, path, "expected a finding or 'No finding', found a blank", "lesion_type")
    abnormal = ~(boxes["lesion_type"].str.lower() == NORMAL).groupby(boxes["image_id"]).any()
    images = boxes.drop_duplicates(["image_id", "study_id"])
    repeated = images["image_id"].duplicated()
    tables.refuse(repeated, path, "this image_id has another study_id on an earlier line")
    return images[["image_id", "study_id"]].assign(
        patient_id=images["study_id"],
        path=f"{split}_images/" + images["image_id"] + ".dicom",
        official_split=split,
        abnormal=images["image_id"].map(abnormal),
    )
