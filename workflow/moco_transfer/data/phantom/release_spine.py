"""Spine films in the layout of VinDr-SpineXR 1.0.0: DICOM files by split, and one table of boxes for each.

The DICOM files are encoded here and not by pydicom, which takes as long over a small file as drawing the film does;
the tests read them back with it.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pandas as pd

from moco_transfer.atomic import write_csv
from moco_transfer.data.phantom import spine
from moco_transfer.data.phantom.crew import in_order
from moco_transfer.seeds import stream

_COLUMNS = ["study_id", "series_id", "image_id", "rad_id", "lesion_type", "xmin", "ymin", "xmax", "ymax"]
_UID_ROOT = "2.25."  # the root of UIDs made from 128-bit integers
_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
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
        (folder / f"{image_id}.dicom").write_bytes(dicom)
        boxes = film.boxes or [("No finding", (None, None, None, None))]
        rows += [(study_id, series_id, image_id, reader, kind, *box) for kind, box in boxes]
    return rows


def _dicom(film: spine.Film, rng: np.random.Generator, study_id: str, series_id: str, image_id: str) -> bytes:
    """A digital radiograph of 12 or 16 stored bits, one in four of them black on white, with its window."""
    bits = int(rng.choice([12, 12, 12, 16]))
    inverted = bool(rng.random() < 0.25)
    top = 2**bits - 1
    # Pixel values use part of the range, and the window finds it again.
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
            (0x00020012, "UI", _uid("0" * 31 + "1")),  # who wrote it
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
    """Data elements (tag, value representation, value) in explicit VR, little endian (DICOM PS3.5, section 7.1)."""
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


def _hex(rng: np.random.Generator) -> str:
    return rng.bytes(16).hex()


def _uid(name: str) -> str:
    return _UID_ROOT + str(int(name, 16))
