"""The radiographs of phantom patients, written in the layouts of MIMIC-CXR-JPG 2.0.0 and VinDr-SpineXR 1.0.0.

Chest: JPEGs by patient and study, and four gzipped tables. Spine: DICOM files by split, and one table of
boxes per split. The DICOM files are encoded here, because pydicom takes as long to write a small file as it
takes to draw the film. The tests read them back with pydicom.
"""

from __future__ import annotations

import gzip
import multiprocessing
import struct
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from moco_transfer.files import replacing, write_csv
from moco_transfer.phantom import chest, spine
from moco_transfer.seeds import stream

_CHEST_TABLES = ("chexpert", "negbio", "metadata", "split")
_VIEWS = {"PA": "postero-anterior", "AP": "antero-posterior", "LATERAL": "lateral", "LL": "left lateral"}


def in_order(function: Callable[..., Any], jobs: Sequence[tuple], workers: int) -> Iterator[Any]:
    """Yield ``function(*job)`` for every job, in order, from ``workers`` processes (if 1, from this one)."""
    if workers == 1:
        yield from (function(*job) for job in jobs)
        return
    # Forked children inherit the imports and the compiled kernels.
    context = multiprocessing.get_context("fork")
    chunk = max(1, min(32, len(jobs) // (4 * workers)))
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield from pool.map(function, *zip(*jobs, strict=True), chunksize=chunk)


def _write_films(
    write: Callable[[int, int], dict[str, list]], films_of: Callable[[int], int], images: int, workers: int
) -> dict[str, list]:
    """Write ``images`` films of patients or studies 0, 1, ...; return the rows of each table.

    ``films_of(number)`` returns how many films one of them has. ``write(number, count)`` writes the first
    ``count`` films and returns their rows.
    """
    jobs: list[tuple[int, int]] = []
    while images > 0:
        jobs.append((len(jobs), min(films_of(len(jobs)), images)))
        images -= jobs[-1][1]
    tables = defaultdict(list)
    for rows in in_order(write, jobs, workers):
        for name, more in rows.items():
            tables[name].extend(more)
    return tables


def write_chest_release(root: Path, *, images: int, size: int, seed: int, workers: int = 2) -> None:
    """Write ``images`` chest films under ``root`` in the layout of MIMIC-CXR-JPG.

    ``size`` is about the longer side in pixels. Equal arguments give equal bytes, whatever the number of
    ``workers`` (processes). A film and its labels depend on ``seed`` and on their place only, not on how many
    follow.
    """
    write = partial(_write_patient, root, seed, size)
    tables = _write_films(
        write,
        lambda patient: sum(len(visit.views) for visit in chest.studies(seed, patient)),
        images,
        workers,
    )
    for name in _CHEST_TABLES:
        text = pd.DataFrame(tables[name]).to_csv(index=False, lineterminator="\n").encode()
        # Without a name and a time in the header, equal tables are equal files.
        with (
            replacing(root / f"mimic-cxr-2.0.0-{name}.csv.gz") as temporary,
            temporary.open("wb") as raw,
            gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
        ):
            packed.write(text)


def _write_patient(root: Path, seed: int, size: int, patient: int, count: int) -> dict[str, list]:
    """Write the first ``count`` films of a patient; return the rows that they add to each table."""
    names = stream(seed, "phantom", "chest", patient, "names")
    # Numbers grow with the patient, with random gaps, so that no two patients share one.
    subject = 10_000_000 + 152 * patient + int(names.integers(152))
    split = {3: "validate", 7: "test"}.get(patient % 20, "train")
    tables: dict[str, list] = {name: [] for name in _CHEST_TABLES}
    for number, visit in enumerate(chest.studies(seed, patient)):
        if count == 0:
            break
        study = 50_000_000 + 152 * patient + 12 * number + int(names.integers(12))
        year, month, day = (
            least + int(names.integers(range_)) for least, range_ in ((2110, 90), (1, 12), (1, 28))
        )
        hour, minute, second, millisecond = (int(names.integers(range_)) for range_ in (24, 60, 60, 1000))
        films = chest.films(seed, patient, number, visit, size)[:count]
        count -= len(films)
        for view, film in zip(visit.views, films, strict=False):
            dicom = "-".join(f"{int(part):08x}" for part in names.integers(2**32, size=5))
            path = root / f"files/p{str(subject)[:2]}/p{subject}/s{study}/{dicom}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(film).save(path, quality=92)
            procedure = "CHEST (PORTABLE AP)" if view == "AP" else "CHEST (PA AND LAT)"
            tables["metadata"].append(
                {
                    "dicom_id": dicom,
                    "subject_id": subject,
                    "study_id": study,
                    "PerformedProcedureStepDescription": procedure,
                    "ViewPosition": view,
                    "Rows": film.shape[0],
                    "Columns": film.shape[1],
                    "StudyDate": f"{year}{month:02d}{day:02d}",
                    "StudyTime": f"{hour:02d}{minute:02d}{second:02d}.{millisecond:03d}",
                    "ProcedureCodeSequence_CodeMeaning": procedure,
                    "ViewCodeSequence_CodeMeaning": _VIEWS[view],
                    "PatientOrientationCodeSequence_CodeMeaning": "Recumbent" if view == "AP" else "Erect",
                }
            )
            tables["split"].append(
                {"dicom_id": dicom, "study_id": study, "subject_id": subject, "split": split}
            )
        rng = stream(seed, "phantom", "chest", patient, "study", number, "report")
        first, chances = chest.report(rng, visit.findings), rng.random(len(chest.LABELS))
        # The two labellers sometimes disagree, and a few studies have no row at all.
        other = {k: float("nan") if u < 0.02 else v for (k, v), u in zip(first.items(), chances, strict=True)}
        if rng.random() > 0.002:
            tables["chexpert"].append({"subject_id": subject, "study_id": study} | first)
            tables["negbio"].append({"subject_id": subject, "study_id": study} | other)
    return tables


_COLUMNS = ["study_id", "series_id", "image_id", "rad_id", "lesion_type", "xmin", "ymin", "xmax", "ymax"]
_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
_DIGITAL_RADIOGRAPHY = "1.2.840.10008.5.1.4.1.1.1.1"  # Digital X-Ray Image Storage - For Presentation


def write_spine_release(root: Path, *, images: int, size: int, seed: int, workers: int = 2) -> None:
    """Write ``images`` spine films under ``root`` in the layout of VinDr-SpineXR; every fifth study is a
    test.

    The arguments and the guarantees are those of ``write_chest_release``.
    """
    tables = _write_films(
        partial(_write_study, root, seed, size),
        lambda number: len(spine.study(seed, number).views),
        images,
        workers,
    )
    for split in ("train", "test"):
        (root / f"{split}_images").mkdir(parents=True, exist_ok=True)
        # Boxes are whole pixels, and empty for `No finding`.
        table = pd.DataFrame(tables[split], columns=_COLUMNS).astype(dict.fromkeys(_COLUMNS[5:], "Int64"))
        write_csv(table, root / "annotations" / f"{split}.csv")


def _write_study(root: Path, seed: int, size: int, number: int, count: int) -> dict[str, list[tuple]]:
    """Write the first ``count`` films of a study; return the rows that they add to the table of its split."""
    split = "test" if number % 5 == 1 else "train"
    folder = root / f"{split}_images"
    folder.mkdir(parents=True, exist_ok=True)
    names = stream(seed, "phantom", "spine", number, "names")
    study_id, reader = names.bytes(16).hex(), f"rad{int(names.integers(1, 4))}"
    rows: list[tuple] = []
    for film in spine.films(seed, number, size)[:count]:
        series_id, image_id = names.bytes(16).hex(), names.bytes(16).hex()
        (folder / f"{image_id}.dicom").write_bytes(_dicom(film, names, study_id, series_id, image_id))
        boxes = film.boxes or [("No finding", (None, None, None, None))]
        rows += [(study_id, series_id, image_id, reader, kind, *box) for kind, box in boxes]
    return {split: rows}


def _dicom(film: spine.Film, rng: np.random.Generator, study_id: str, series_id: str, image_id: str) -> bytes:
    """Return a digital radiograph with 12 or 16 stored bits and a window; one in four is stored inverted."""
    bits = int(rng.choice([12, 12, 12, 16]))
    inverted = bool(rng.random() < 0.25)
    top = 2**bits - 1
    # Pixel values use a part of the range, which the window describes.
    low, high = top * rng.uniform(0.02, 0.2), top * rng.uniform(0.7, 0.97)
    shade = 1.0 - film.image if inverted else film.image
    pixels = (low + (high - low) * shade + 0.5).astype("<u2")
    view = {"LATERAL": "LL", "LEFT OBLIQUE": "LAO", "RIGHT OBLIQUE": "RAO"}.get(film.view, film.view)
    rescale = [(0x00281052, "DS", "0"), (0x00281053, "DS", "1"), (0x00281054, "LO", "US")]
    meta = _encoded(
        [
            (0x00020001, "OB", b"\x00\x01"),
            (0x00020002, "UI", _DIGITAL_RADIOGRAPHY),
            (0x00020003, "UI", _uid(image_id)),
            (0x00020010, "UI", _EXPLICIT_LITTLE_ENDIAN),
            (0x00020012, "UI", _uid("1")),  # the writing software
        ]
    )
    content = _encoded(
        [
            (0x00080016, "UI", _DIGITAL_RADIOGRAPHY),
            (0x00080018, "UI", _uid(image_id)),
            (0x00080060, "CS", "DX"),
            (0x00180015, "CS", "SPINE"),  # body part
            (0x00185101, "CS", view),
            (0x0020000D, "UI", _uid(study_id)),
            (0x0020000E, "UI", _uid(series_id)),
            (0x00280002, "US", 1),  # samples per pixel
            (0x00280004, "CS", "MONOCHROME1" if inverted else "MONOCHROME2"),
            (0x00280010, "US", pixels.shape[0]),
            (0x00280011, "US", pixels.shape[1]),
            (0x00280100, "US", 16),  # bits allocated, stored, highest; unsigned
            (0x00280101, "US", bits),
            (0x00280102, "US", bits - 1),
            (0x00280103, "US", 0),
            (0x00281040, "CS", "LOG"),  # how pixels relate to intensity
            (0x00281050, "DS", str(round(0.5 * (low + high)))),  # window centre and width
            (0x00281051, "DS", str(round(high - low))),
            *(rescale if rng.random() < 0.5 else []),
            (0x7FE00010, "OW", pixels.tobytes()),
        ]
    )
    return bytes(128) + b"DICM" + _encoded([(0x00020000, "UL", len(meta))]) + meta + content


def _encoded(elements: list[tuple[int, str, str | int | bytes]]) -> bytes:
    """Encode (tag, value representation, value) as explicit VR, little endian (DICOM PS3.5, section 7.1)."""
    parts = []
    for tag, kind, value in elements:
        if isinstance(value, int):
            value = struct.pack("<H" if kind == "US" else "<I", value)
        elif isinstance(value, str):
            value = value.encode("ascii")
        if len(value) % 2:
            value += b"\x00" if kind in ("UI", "OB") else b" "
        length = struct.pack("<HI", 0, len(value)) if kind in ("OB", "OW") else struct.pack("<H", len(value))
        parts += [struct.pack("<HH", tag >> 16, tag & 0xFFFF), kind.encode("ascii"), length, value]
    return b"".join(parts)


def _uid(name: str) -> str:
    return f"2.25.{int(name, 16)}"  # the root of UIDs that are 128-bit integers
