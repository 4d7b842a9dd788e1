"""Indexing a release as large as MIMIC-CXR-JPG, checking that its images exist: time and peak memory.

The CSV files are made up, with the release's own counts and lengths of names. The images are empty files in
the release's folders. Making them takes longer than indexing them, and is not measured.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from measure import Measure, peak_of

from moco_transfer.config import stages
from moco_transfer.data.adapters.mimic_cxr_jpg import LABELS
from moco_transfer.seeds import stream

IMAGES, STUDIES, PATIENTS = 377_110, 227_835, 65_379
VIEWS = ("AP", "PA", "LATERAL", "LL", "")
SETTINGS = stages.Index(adapter="mimic_cxr_jpg", labeler="chexpert", views=None, table=None, folders=None)
STAGE = "from moco_transfer.cli import main; assert not main()"


def measure() -> list[Measure]:
    """Return seconds and gigabytes with their limits; the work runs once, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        release = Path(folder, "release")
        write_release(release)
        seconds, gigabytes = _index(release, Path(folder, "index.parquet"))
    name = f"index {IMAGES:,} images"
    return [
        Measure(name, seconds, 20, "s", 1),
        Measure(f"{name}, peak memory", gigabytes, 2, "GB", 1),
    ]


def write_release(root: Path) -> None:
    """Write the three CSV files and the tree of empty images to ``root``."""
    root.mkdir()
    draw = stream(0, "bench", "indexing")
    patient_of_study = np.sort(
        np.concatenate([np.arange(PATIENTS), draw.integers(PATIENTS, size=STUDIES - PATIENTS)])
    )
    study_of_image = np.sort(
        np.concatenate([np.arange(STUDIES), draw.integers(STUDIES, size=IMAGES - STUDIES)])
    )
    patients = 10_000_000 + np.sort(draw.choice(10_000_000, PATIENTS, replace=False))
    studies = pd.DataFrame(
        {"subject_id": patients[patient_of_study], "study_id": 50_000_000 + np.arange(STUDIES)}
    )
    words = draw.integers(2**32, size=(IMAGES, 5))
    images = studies.iloc[study_of_image].assign(
        dicom_id=["-".join(f"{word:08x}" for word in row) for row in words]
    )
    _write_tables(root, studies, images, draw)
    subject, study = images["subject_id"].astype("str"), images["study_id"].astype("str")
    folders = f"{root}/files/p" + subject.str[:2] + "/p" + subject + "/s" + study
    for folder in folders.drop_duplicates():
        Path(folder).mkdir(parents=True)
    for path in folders + "/" + images["dicom_id"] + ".jpg":
        os.close(os.open(path, os.O_CREAT))


def _write_tables(root: Path, studies: pd.DataFrame, images: pd.DataFrame, draw: np.random.Generator) -> None:
    metadata = images[["dicom_id", "subject_id", "study_id"]].assign(
        PerformedProcedureStepDescription="CHEST (PA AND LAT)",
        ViewPosition=draw.choice(VIEWS, IMAGES),
        Rows=3056,
        Columns=2544,
        StudyDate=21_800_506,
        StudyTime=213_014.531,
        ProcedureCodeSequence_CodeMeaning="CHEST (PA AND LAT)",
        ViewCodeSequence_CodeMeaning="postero-anterior",
        PatientOrientationCodeSequence_CodeMeaning="Erect",
    )
    values = draw.choice([1.0, 0.0, -1.0, np.nan], size=(STUDIES, len(LABELS)), p=[0.2, 0.1, 0.05, 0.65])
    labels = pd.concat([studies, pd.DataFrame(values, columns=list(LABELS))], axis=1)
    split = images[["dicom_id", "study_id", "subject_id"]].assign(split="train")
    for name, table in (("metadata", metadata), ("chexpert", labels), ("split", split)):
        table.to_csv(root / f"mimic-cxr-2.0.0-{name}.csv.gz", index=False)


def _index(release: Path, index: Path) -> tuple[float, float]:
    """Return the seconds that the stage takes from start to end, and its peak memory in gigabytes."""
    options = [
        "--root",
        release,
        "--index",
        index,
        "--reading",
        index.with_suffix(".json"),
        "--max-quarantined",
        0,
    ]
    start = time.perf_counter()
    peak = peak_of(STAGE, "index", "--settings", SETTINGS.model_dump_json(), *options)
    seconds = time.perf_counter() - start
    if len(pd.read_parquet(index, columns=["image_id"])) != IMAGES:
        raise RuntimeError("the stage did not index every image")
    return seconds, peak / 1e9
