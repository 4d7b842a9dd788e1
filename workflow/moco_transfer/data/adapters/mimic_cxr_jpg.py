"""MIMIC-CXR-JPG 2.0.0 or 2.1.0: chest radiographs as JPEG, with labels per study by CheXpert or NegBio.

Layout: ``files/p10/p10000032/s50414267/<dicom_id>.jpg`` and
``mimic-cxr-2.0.0-{metadata,split,chexpert,negbio}.csv.gz``, with the same names in 2.1.0. Every image in the
metadata is kept, whatever its view: the paper drops none. A study without a row of labels has blank labels.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from moco_transfer.config import stages
from moco_transfer.data import index
from moco_transfer.data.adapters import layout, tables
from moco_transfer.errors import UserError

LABELS = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Enlarged Cardiomediastinum", "Fracture",
    "Lung Lesion", "Lung Opacity", "No Finding", "Pleural Effusion", "Pleural Other", "Pneumonia",
    "Pneumothorax", "Support Devices",
)  # fmt: skip
STUDY = ["subject_id", "study_id"]

log = logging.getLogger(__name__)


def read(root: Path, settings: stages.Index) -> pd.DataFrame:
    """Return the index of the release at ``root``: raw labels of one labeler, and the official splits."""
    metadata = layout.only_file(root, "mimic-cxr-2.*-metadata.csv.gz")
    images = tables.read_table(metadata, ["dicom_id", *STUDY, "ViewPosition"])
    tables.refuse_blanks(images, ["dicom_id", *STUDY], metadata)
    images = images.merge(_official_splits(root), how="left", on=["dicom_id", *STUDY])
    labels = _study_labels(root, settings.labeler)
    images = images.merge(labels, how="left", on=STUDY, indicator="in_labels")
    _count_gaps(images, root, settings.labeler)
    subject = images["subject_id"]
    folder = "files/p" + subject.str[:2] + "/p" + subject + "/s" + images["study_id"]
    columns = images.rename(
        columns={
            "dicom_id": "image_id",
            "subject_id": "patient_id",
            "split": "official_split",
            "ViewPosition": "view",
        }
    ).assign(path=folder + "/" + images["dicom_id"] + ".jpg")
    return index.build(columns, images[list(LABELS)], str(metadata), undivided="patient_id")


def _official_splits(root: Path) -> pd.DataFrame:
    path = layout.only_file(root, "mimic-cxr-2.*-split.csv.gz")
    table = tables.read_table(path, ["dicom_id", *STUDY, "split"])
    tables.refuse_duplicates(table, ["dicom_id"], path)
    return table.assign(split=tables.split_values(table["split"], path))


def _study_labels(root: Path, labeler: str) -> pd.DataFrame:
    path = layout.only_file(root, f"mimic-cxr-2.*-{labeler}.csv.gz")
    table = tables.read_table(path, [*STUDY, *LABELS])
    tables.refuse_duplicates(table, STUDY, path)
    return pd.concat([table[STUDY], tables.label_values(table, LABELS, path)], axis=1)


def _count_gaps(images: pd.DataFrame, root: Path, labeler: str) -> None:
    """Log how many images the other tables lack; raise UserError if one of them lacks all."""
    unlabelled = images["in_labels"] == "left_only"
    without_split = images["split"].isna()
    for table, absent in ((labeler, unlabelled), ("split", without_split)):
        if absent.all():
            raise UserError(
                f"{root}: no image of the metadata is in mimic-cxr-2.*-{table}.csv.gz; "
                "use the tables of one release"
            )
    if unlabelled.any():
        studies = images.loc[unlabelled, "study_id"].nunique()
        log.info("studies without a row of labels, whose labels are blank: %d", studies)
    if without_split.any():
        log.warning("images without an official split: %d", without_split.sum())
