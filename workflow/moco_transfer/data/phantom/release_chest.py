"""Chest films in the layout of MIMIC-CXR-JPG 2.0.0: JPEGs by patient and study, and five tables beside them."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pandas as pd
from PIL import Image

from moco_transfer.atomic import replacing
from moco_transfer.data.phantom import chest
from moco_transfer.data.phantom.crew import in_order
from moco_transfer.seeds import stream

_PROCEDURES = {"PA": "CHEST (PA AND LAT)", "LATERAL": "CHEST (PA AND LAT)", "LL": "CHEST (PA AND LAT)"}
_VIEWS = {"PA": "postero-anterior", "AP": "antero-posterior", "LATERAL": "lateral", "LL": "left lateral"}


def write_chest_release(root: Path, *, images: int, size: int, seed: int, workers: int = 2) -> None:
    """Write ``images`` chest films under ``root`` as MIMIC-CXR-JPG lays them out.

    ``size`` is about the longer side in pixels. Equal arguments give equal bytes, whatever the number of ``workers``
    (processes); a film and its labels depend on ``seed`` and on their place alone, not on how many follow.
    """
    root = Path(root)
    jobs = []
    left, patient = images, 0
    while left > 0:
        visits = chest.studies(seed, patient)
        count = min(sum(len(visit.views) for visit in visits), left)
        jobs.append((root, seed, patient, count, size))
        left, patient = left - count, patient + 1
    tables = {"chexpert": [], "negbio": [], "metadata": [], "split": []}
    for rows in in_order(_write_patient, jobs, workers):
        for name, more in rows.items():
            tables[name].extend(more)
    for name, rows in tables.items():
        _write_gzip(pd.DataFrame(rows), root / f"mimic-cxr-2.0.0-{name}.csv.gz")


def _write_patient(root: Path, seed: int, patient: int, count: int, size: int) -> dict[str, list[dict]]:
    """Write the first ``count`` films of a patient; return the rows they add to each table."""
    names = stream(seed, "phantom", "chest", patient, "names")
    # Numbers grow with the patient, with gaps, so that none is given twice however many there are.
    subject = 10_000_000 + 152 * patient + int(names.integers(152))
    split = {3: "validate", 7: "test"}.get(patient % 20, "train")
    tables: dict[str, list[dict]] = {"chexpert": [], "negbio": [], "metadata": [], "split": []}
    for number, visit in enumerate(chest.studies(seed, patient)):
        study = 50_000_000 + 152 * patient + 12 * number + int(names.integers(12))
        day = f"{2110 + int(names.integers(90))}{1 + int(names.integers(12)):02d}{1 + int(names.integers(28)):02d}"
        time = f"{int(names.integers(24)):02d}{int(names.integers(60)):02d}{int(names.integers(60)):02d}.{int(names.integers(1000)):03d}"
        films = chest.films(seed, patient, number, visit, size)[:count]
        count -= len(films)
        for view, film in zip(visit.views, films, strict=False):
            dicom = "-".join(f"{int(part):08x}" for part in names.integers(2**32, size=5))
            path = root / f"files/p{str(subject)[:2]}/p{subject}/s{study}/{dicom}.jpg"
            _write_jpeg(film, path)
            who = {"dicom_id": dicom, "subject_id": subject, "study_id": study}
            tables["metadata"].append(
                who
                | {
                    "PerformedProcedureStepDescription": _PROCEDURES.get(view, "CHEST (PORTABLE AP)"),
                    "ViewPosition": view,
                    "Rows": film.shape[0],
                    "Columns": film.shape[1],
                    "StudyDate": day,
                    "StudyTime": time,
                    "ProcedureCodeSequence_CodeMeaning": _PROCEDURES.get(view, "CHEST (PORTABLE AP)"),
                    "ViewCodeSequence_CodeMeaning": _VIEWS[view],
                    "PatientOrientationCodeSequence_CodeMeaning": "Recumbent" if view == "AP" else "Erect",
                }
            )
            tables["split"].append(
                {"dicom_id": dicom, "study_id": study, "subject_id": subject, "split": split}
            )
        rng = stream(seed, "phantom", "chest", patient, "study", number, "report")
        first, second = chest.report(rng, visit.findings), rng.random(len(chest.LABELS))
        # The two labellers disagree now and then; a few studies have no row at all.
        other = {k: float("nan") if u < 0.02 else v for (k, v), u in zip(first.items(), second, strict=True)}
        if rng.random() > 0.002:
            tables["chexpert"].append({"subject_id": subject, "study_id": study} | first)
            tables["negbio"].append({"subject_id": subject, "study_id": study} | other)
        if count == 0:
            break
    return tables


def _write_jpeg(film, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(film).save(path, quality=92)


def _write_gzip(table: pd.DataFrame, path: Path) -> None:
    text = io.BytesIO()
    # The header's time is zero, so that equal tables are equal files.
    with gzip.GzipFile(filename="", mode="wb", fileobj=text, mtime=0) as packed:
        packed.write(table.to_csv(index=False, lineterminator="\n").encode())
    with replacing(path) as temporary:
        temporary.write_bytes(text.getvalue())
