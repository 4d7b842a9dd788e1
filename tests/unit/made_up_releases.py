"""Small releases in the real layouts; their images are empty files, because an index does not open them."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd

from moco_transfer.config import stages
from moco_transfer.data import adapters
from moco_transfer.data.adapters.mimic_cxr_jpg import LABELS

DEFAULTS = {"labeler": "chexpert", "views": None, "table": None, "folders": None}


def read_release(adapter: str, root: Path, max_quarantined: float = 0.01, **settings: object) -> pd.DataFrame:
    """Index the release in ``root``, with ``settings`` instead of the defaults."""
    chosen = stages.Index(adapter=adapter, **DEFAULTS | settings)
    return adapters.read_release(chosen, root, max_quarantined)[0]


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def edit(path: Path, old: str, new: str) -> None:
    """Replace ``old``, which must occur, in a CSV that may be gzipped."""
    zipped = path.suffix == ".gz"
    text = (gzip.decompress(path.read_bytes()) if zipped else path.read_bytes()).decode()
    assert old in text
    text = text.replace(old, new)
    path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())


def write_spine(root: Path) -> None:
    """VinDr-SpineXR: one of two rows of i1 says `No finding`, i3 has two findings, i4 is for testing."""
    header = "study_id,series_id,image_id,rad_id,lesion_type,xmin,ymin,xmax,ymax\n"
    rows = {
        "train": "s2,e,i3,r,Osteophytes,1,2,3,4\n"
        "s1,e,i1,r,No finding,,,,\n"
        "s1,e,i2,r,Disc space narrowing,1,2,3,4\n"
        "s2,e,i3,r,Surgical implant,1,2,3,4\n"
        "s1,e,i1,r,Osteophytes,1,2,3,4\n",
        "test": "s3,e,i4,r,No finding,,,,\n",
    }
    for split, lines in rows.items():
        path = root / "annotations" / f"{split}.csv"
        touch(path)
        path.write_text(header + lines)
    for image in ("train_images/i1", "train_images/i2", "train_images/i3", "test_images/i4"):
        touch(root / f"{image}.dicom")


def write_chest(root: Path) -> None:
    """MIMIC-CXR-JPG: two patients, three studies of which one has no row of labels, four images.

    The two labelers differ in Edema: CheXpert says uncertain and present, NegBio absent and nothing.
    """
    images = pd.DataFrame(
        {
            "dicom_id": ["d1", "d2", "d3", "d4"],
            "subject_id": [10000032, 10000032, 11000011, 10000032],
            "study_id": [50000001, 50000001, 50000009, 50000002],
            "PerformedProcedureStepDescription": "CHEST (PA AND LAT)",
            "ViewPosition": ["PA", "LATERAL", "", "AP"],
        }
    )
    for image in images.itertuples():
        subject = f"p{image.subject_id}"
        touch(root / "files" / subject[:3] / subject / f"s{image.study_id}" / f"{image.dicom_id}.jpg")
    images.to_csv(root / "mimic-cxr-2.0.0-metadata.csv.gz", index=False)
    split = images[["dicom_id", "study_id", "subject_id"]].assign(
        split=["train", "train", "validate", "train"]
    )
    split.iloc[::-1].to_csv(root / "mimic-cxr-2.0.0-split.csv.gz", index=False)
    labels = pd.DataFrame(
        {"subject_id": [11000011, 10000032], "study_id": [50000009, 50000001]}
        | {name: [np.nan, 0.0] for name in LABELS}
    )
    for labeler, edema in (("chexpert", [-1.0, 1.0]), ("negbio", [0.0, np.nan])):
        labels.assign(Edema=edema).to_csv(root / f"mimic-cxr-2.0.0-{labeler}.csv.gz", index=False)


def write_nih(root: Path) -> None:
    """NIH ChestX-ray14: three images of two patients, and a fourth in a missing part."""
    table = pd.DataFrame(
        {
            "Image Index": ["00000001_000.png", "00000001_001.png", "00000002_000.png", "00000003_000.png"],
            "Finding Labels": ["Effusion|Pleural_Thickening", "No Finding", "Hernia", "Mass"],
            "Follow-up #": [0, 1, 0, 0],
            "Patient ID": [1, 1, 2, 3],
            "View Position": ["PA", "AP", "", "PA"],
        }
    )
    table.to_csv(root / "Data_Entry_2017_v2020.csv", index=False)
    for part, name in (("001", "00000001_000"), ("001", "00000001_001"), ("002", "00000002_000")):
        touch(root / f"images_{part}" / "images" / f"{name}.png")


WRITE = {"vindr_spinexr": write_spine, "mimic_cxr_jpg": write_chest, "nih_chestxray14": write_nih}
