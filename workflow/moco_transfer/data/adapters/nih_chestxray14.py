"""NIH ChestX-ray14: chest radiographs as PNG, 14 text-mined labels, free to download.

Layout: ``images_001/images/*.png`` to ``images_012/``, ``Data_Entry_2017_v2020.csv``, and, in a full release,
``train_val_list.txt`` and ``test_list.txt``. The release comes in twelve parts, and some may be absent: the
rows of missing images are left out and counted in the log.
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
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia",
    "Pneumothorax", "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
)  # fmt: skip
NORMAL = "No Finding"
LISTS = ("train_val_list.txt", "test_list.txt")

log = logging.getLogger(__name__)


def read(root: Path, settings: stages.Index) -> pd.DataFrame:
    """Return the index of the images at ``root``: 14 labels of 0 and 1, and the official splits if listed."""
    table_path = layout.only_file(root, "Data_Entry_2017*.csv")
    table = tables.read_table(table_path, ["Image Index", "Finding Labels", "Patient ID", "View Position"])
    tables.refuse_blanks(table, ["Image Index", "Patient ID"], table_path)
    labels = _labels(table, table_path)
    name = table["Image Index"]
    paths = name.map(
        {path.name: path.relative_to(root).as_posix() for path in sorted(root.glob("images_*/images/*.png"))}
    )
    there = paths.notna()
    if not there.any():
        raise UserError(
            f"{root}: none of the {len(table)} images of {table_path.name} is in images_*/images/; "
            f"found {layout.contents(root)}. Unpack at least one images_*.tar.gz"
        )
    if not there.all():
        log.warning(
            "%s: left out %d of %d images, which are in none of the downloaded parts",
            table_path,
            (~there).sum(),
            len(table),
        )
    columns = pd.DataFrame(
        {
            "image_id": name.str.removesuffix(".png"),
            "patient_id": table["Patient ID"],
            # a name is patient and follow-up number: every image is a separate visit
            "study_id": name.str.removesuffix(".png"),
            "path": paths,
            "official_split": _official_splits(name, root),
            "view": table["View Position"],
        }
    )
    return index.build(columns[there], labels[there], str(table_path), undivided="patient_id")


def _labels(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    values = table["Finding Labels"]
    expected = f"expected {NORMAL} or some of the 14 findings, separated by '|', found"
    tables.refuse(values.isna(), path, f"{expected} a blank", values.name)
    findings = values.str.replace(r"\s*\|\s*", "|", regex=True).str.get_dummies(sep="|")
    unknown = findings.columns.difference([*LABELS, NORMAL])
    tables.refuse(findings[unknown].any(axis=1), path, f"{expected} another name", values.name)
    return findings.reindex(columns=list(LABELS), fill_value=0)


def _official_splits(names: pd.Series, root: Path) -> pd.Series:
    """Return the official split of each image of the table, by its file name; null if it or the lists are missing."""
    present = [name for name in LISTS if (root / name).exists()]
    if not present:
        return names.map({})
    if len(present) == 1:
        absent = next(name for name in LISTS if name not in present)
        raise UserError(
            f"{root}: found {present[0]}, but no {absent}; the official split needs both: download it"
        )
    train, test = (
        set(tables.read_content(root / name).decode("utf-8-sig", "replace").split()) for name in LISTS
    )
    if both := train & test:
        raise UserError(f"{root}: {len(both)} images are in both {' and '.join(LISTS)}; download both again")
    splits = names.map(dict.fromkeys(train, "train") | dict.fromkeys(test, "test"))
    if splits.isna().all():
        raise UserError(f"{root}: no image of the table is in {' or '.join(LISTS)}; download both again")
    if splits.isna().any():
        log.warning("images without an official split: %d", splits.isna().sum())
    return splits
