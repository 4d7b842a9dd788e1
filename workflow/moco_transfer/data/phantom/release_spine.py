"""Spine films in the layout of VinDr-SpineXR 1.0.0: DICOM files by split, and one table of boxes for each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from moco_transfer.atomic import write_csv
from moco_transfer.data.phantom import spine
from moco_transfer.data.phantom.crew import in_order
from moco_transfer.seeds import stream

_COLUMNS = ["study_id", "series_id", "image_id", "rad_id", "lesion_type", "xmin", "ymin", "xmax", "ymax"]
_UID_ROOT = "2.25."  # the root of UIDs made from 128-bit integers
_DIGITAL_RADIOGRAPHY = "1.2.840.10008.5.1.4.1.1.1.1"  # Digital X-Ray Image Storage - For Presentation


def write_spine_release(root: Path, *, images: int, size: int, seed: int, workers: int = 2) -> None:
    """Write ``images`` spine films under ``root`` as VinDr-SpineXR lays them out; every fifth study is for testing.

    ``size`` is about the longer side in pixels. Equal arguments give equal bytes, whatever the number of ``workers``
    (processes); a film and its boxes depend on ``seed`` and on their place alone, not on how many follow.
    """
    root = Path(root)
    jobs = []
    left, number = images, 0
    while left > 0:
        count = min(len(spine.study(seed, number).views), left)
        jobs.append((root, seed, number, count, size))
        left, number = left - count, number + 1
    tables: dict[str, list[tuple]] = {"train": [], "test": []}
    for (_, _, number, _, _), rows in zip(jobs, in_order(_write_study, jobs, workers), strict=True):
        tables[_split(number)].extend(rows)
    for split, rows in tables.items():
        (root / f"{split}_images").mkdir(parents=True, exist_ok=True)
        table = pd.DataFrame(rows, columns=_COLUMNS)
        # Boxes are whole pixels, and empty for `No finding`.
        table = table.astype(dict.fromkeys(_COLUMNS[5:], "Int64"))
        write_csv(table, root / "annotations" / f"{split}.csv")


def _split(number: int) -> str:
    return "test" if number % 5 == 1 else "train"


def _write_study(root: Path, seed: int, number: int, count: int, size: int) -> list[tuple]:
    """Write the first ``count`` films of a study; return the rows they add to its table."""
    names = stream(seed, "phantom", "spine", number, "names")
    study_id, reader = _hex(names), f"rad{int(names.integers(1, 4))}"
    rows: list[tuple] = []
    for film in spine.films(seed, number, size)[:count]:
        series_id, image_id = _hex(names), _hex(names)
        folder = root / f"{_split(number)}_images"
        folder.mkdir(parents=True, exist_ok=True)
        dicom = _dicom(film, names, study_id, series_id, image_id)
        dicom.save_as(folder / f"{image_id}.dicom", enforce_file_format=True)
        boxes = film.boxes or [("No finding", (None, None, None, None))]
        rows += [(study_id, series_id, image_id, reader, kind, *box) for kind, box in boxes]
    return rows


def _dicom(
    film: spine.Film, rng: np.random.Generator, study_id: str, series_id: str, image_id: str
) -> Dataset:
    """A digital radiograph of 12 or 16 stored bits, one in four of them black on white, with its window."""
    bits = int(rng.choice([12, 12, 12, 16]))
    inverted = bool(rng.random() < 0.25)
    top = 2**bits - 1
    # Pixel values use part of the range, and the window finds it again.
    low, high = top * rng.uniform(0.02, 0.2), top * rng.uniform(0.7, 0.97)
    shade = 1.0 - film.image if inverted else film.image
    pixels = (low + (high - low) * shade + 0.5).astype("<u2")

    dicom = Dataset()
    dicom.file_meta = FileMetaDataset()
    dicom.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dicom.SOPClassUID = dicom.file_meta.MediaStorageSOPClassUID = _DIGITAL_RADIOGRAPHY
    dicom.SOPInstanceUID = dicom.file_meta.MediaStorageSOPInstanceUID = _uid(image_id)
    dicom.StudyInstanceUID, dicom.SeriesInstanceUID = _uid(study_id), _uid(series_id)
    dicom.Modality = "DX"
    dicom.ViewPosition = {"LATERAL": "LL", "LEFT OBLIQUE": "LAO", "RIGHT OBLIQUE": "RAO"}.get(
        film.view, film.view
    )
    dicom.BodyPartExamined = "SPINE"
    dicom.PixelIntensityRelationship = "LOG"
    dicom.SamplesPerPixel = 1
    dicom.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    dicom.Rows, dicom.Columns = pixels.shape
    dicom.BitsAllocated, dicom.BitsStored, dicom.HighBit = 16, bits, bits - 1
    dicom.PixelRepresentation = 0
    dicom.WindowCenter, dicom.WindowWidth = round(0.5 * (low + high)), round(high - low)
    if rng.random() < 0.5:
        dicom.RescaleIntercept, dicom.RescaleSlope, dicom.RescaleType = "0", "1", "US"
    dicom.PixelData = pixels.tobytes()
    return dicom


def _hex(rng: np.random.Generator) -> str:
    return rng.bytes(16).hex()


def _uid(name: str) -> str:
    return _UID_ROOT + str(int(name, 16))
