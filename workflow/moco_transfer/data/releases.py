"""What each release holds, so that a missing one can be named before anything runs. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from moco_transfer.errors import UserError


@dataclass(frozen=True)
class Release:
    """A release's name, where to get it, and patterns of the tables its adapter reads (each must match a file)."""

    name: str
    origin: str
    tables: tuple[str, ...]


RELEASES = {
    "vindr_spinexr": Release(
        "VinDr-SpineXR 1.0.0",
        "https://physionet.org/content/vindr-spinexr/1.0.0/ (credentialed)",
        ("annotations/train.csv", "annotations/test.csv"),
    ),
    "mimic_cxr_jpg": Release(
        "MIMIC-CXR-JPG 2.0.0 or 2.1.0",
        "https://physionet.org/content/mimic-cxr-jpg/ (credentialed)",
        ("mimic-cxr-2.*-chexpert.csv.gz", "mimic-cxr-2.*-metadata.csv.gz", "mimic-cxr-2.*-split.csv.gz"),
    ),
    "nih_chestxray14": Release(
        "NIH ChestX-ray14",
        "https://nihcc.app.box.com/v/ChestXray-NIHCC",
        ("Data_Entry_2017*.csv",),
    ),
    "image_folder": Release("a folder of images, one folder a class", "any images", ()),
}


def find_tables(dataset: str, adapter: str, root: str | Path) -> list[str]:
    """Return the tables of the release under ``root``; for a release without tables, the root itself.

    Raises UserError that says what was looked for, where, and where it is to be had.
    """
    release, root = RELEASES[adapter], Path(root)
    found, missing = [], []
    for pattern in release.tables or (".",):
        matches = sorted(root.glob(pattern)) if release.tables else [root] if root.is_dir() else []
        found += [str(match) for match in matches]
        if not matches:
            missing.append(pattern)
    if missing:
        raise UserError(
            f"dataset '{dataset}' ({release.name}): no {' and no '.join(missing)} in {root}/. "
            f"Get it from {release.origin} and set datasets.{dataset}.root to its folder. "
            "To see everything run on built-in data instead: make demo, or snakemake --configfile config/demo.yaml"
        )
    return found
