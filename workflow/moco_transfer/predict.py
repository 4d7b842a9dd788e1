"""Predict images with a finetuned model: ``moco-transfer predict``.

Images come from a folder or a table, are decoded in threads and fitted by the functions that packing uses, and pass through
the model in batches, so neither the number of images nor their size needs memory.
"""

from __future__ import annotations

import csv
import logging
import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from moco_transfer.config.encoders import About
from moco_transfer.data.adapters.tables import header, read_table, refuse
from moco_transfer.data.image_file import SUFFIXES, is_image
from moco_transfer.data.image_list import list_files
from moco_transfer.data.packing import read_all
from moco_transfer.errors import UserError
from moco_transfer.escape import FORMULA, printable
from moco_transfer.files import write_csv
from moco_transfer.model import load_classifier
from moco_transfer.training.device import open_device
from moco_transfer.training.images import View, channels_first

PATH_COLUMNS = ("path", "file")
ANYWHERE = Path("/")

log = logging.getLogger(__name__)


def predict(
    *,
    model: Path,
    images: Path,
    out: Path,
    path_column: str | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    batch: int = 32,
    workers: int | None = None,
) -> str:
    """Write what a finetuned model says about each image of a folder or a table.

    The result has one row per image: its path, and for each class the logit, the probability and, if the model has a
    threshold, whether the image is positive. If an image has exactly one of the classes, the column predicted names the most
    probable one. Images that cannot be read are listed with the reason in a second file beside
    it, OUT.quarantine.csv. Nothing leaves this machine. The model's card (model.md beside the model) says what the numbers
    mean and what they must not be used for.

    Parameters
    ----------
    model : a finetuned model, results/RUN/models/TARGET/PERCENTpct/model.safetensors
    images : a folder, with all DICOM, JPEG and PNG files in it and in its subfolders; or a CSV or Parquet table with a
        column of paths, absolute or relative to the table's folder; or one image
    out : the CSV file to write; a result of an earlier prediction is replaced
    path_column : the table's column of paths, if it is not called path or file
    device : where the model computes; auto is a GPU if there is one, else the CPU
    batch : images that pass through the model at once
    workers : threads that read images; if not given, one per CPU core
    """
    for option, value in (("--batch", batch), ("--workers", workers)):
        if value is not None and value < 1:
            raise UserError(f"{option}: expected a number from 1, found {value}")
    classifier, about = load_classifier(model)
    table, paths = _listed(images, path_column)
    quarantine = _checked(out, images)
    where = _device(device)
    classes = "1 class" if len(about.classes) == 1 else f"{len(about.classes)} classes"
    log.info("%d images, %s, on %s", len(paths), classes, where.type)
    workers = workers or len(os.sched_getaffinity(0))
    logits, reasons = _predict(classifier.to(where), about, paths, str(images), where, batch, workers)
    table["reason"] = reasons
    unreadable = table["reason"] != ""
    write_csv(table[unreadable], quarantine)
    if unreadable.all():
        found = ", ".join(f"{reason} ({count})" for reason, count in Counter(reasons).most_common(3))
        raise UserError(f"none of the {len(table)} images could be read: {found}; listed in {quarantine}")
    result = table[~unreadable].drop(columns="reason").reset_index(drop=True)
    write_csv(result.assign(**_columns(logits, about)), out)
    return f"{out}: {len(result)} images predicted; {unreadable.sum()} could not be read ({quarantine})"


@torch.no_grad()
def _predict(
    classifier: nn.Module,
    about: About,
    paths: Sequence[str],
    whose: str,
    device: torch.device,
    batch: int,
    workers: int,
) -> tuple[np.ndarray, list[str]]:
    """Return the logits of the readable images, float32 [readable, classes], and for each image why it is not (else empty)."""
    view = View(about.crop, about.network)
    logits, reasons = [np.empty((0, len(about.classes)), np.float32)], []
    named = ((f"image {number} of {whose}", path) for number, path in enumerate(paths, start=1))
    with (
        closing(read_all(named, ANYWHERE, about.store, workers)) as readings,
        tqdm(total=len(paths), unit=" images", disable=None) as bar,  # shown on a terminal only
    ):
        while read := list(islice(readings, batch)):
            reasons += [reading.reason for reading in read]
            stored = [reading.image for reading in read if reading.image is not None]
            if stored:
                images = channels_first(torch.from_numpy(np.stack(stored)).to(device))
                logits.append(classifier(view.of(images)).float().cpu().numpy())
            bar.update(len(read))
    return np.concatenate(logits), reasons


def _columns(logits: np.ndarray, about: About) -> dict[str, np.ndarray]:
    """Return the columns of each class by name, one value per image; of one-of-many classes, first the most probable one."""
    columns: dict[str, np.ndarray] = {}
    if about.task == "multiclass":
        columns["predicted"] = np.array(about.classes, dtype=object)[logits.argmax(axis=1)]
    probabilities = torch.from_numpy(logits).sigmoid().numpy()
    for number, (name, threshold) in enumerate(zip(about.classes, about.thresholds, strict=True)):
        columns[f"logit_{name}"] = logits[:, number]
        columns[f"probability_{name}"] = probabilities[:, number]
        if threshold is not None:
            columns[f"positive_{name}"] = (logits[:, number].astype(np.float64) >= threshold).astype(int)
    return columns


def _device(name: str) -> torch.device:
    # Counting GPUs asks the driver's library and, unlike torch.cuda.is_available, does not initialise CUDA.
    gpus = torch.cuda.device_count()
    if name == "cuda" and not gpus:
        raise UserError("--device cuda: PyTorch finds no GPU here; check nvidia-smi, or give --device cpu")
    return open_device("cuda" if gpus and name != "cpu" else "cpu")


def _listed(images: Path, column: str | None) -> tuple[pd.DataFrame, list[str]]:
    """Return the table of all images, with path and perhaps image_id as they are written, and their absolute paths.

    Raises UserError if there is none, or if the table or the folder cannot be read.
    """
    folder, ids = images.absolute(), {}
    try:
        if images.is_dir():
            names, others = list_files(folder)
            if others:
                log.info("other files in the folder, which are left out: %d", len(others))
        elif not images.exists():
            raise UserError(f"--images {images}: no such folder, table or image")
        elif is_image(images):
            folder, names = folder.parent, [images.name]
        else:
            rows, column = _rows(images, column)
            folder, names = folder.parent, rows[column].tolist()
            ids = {name: rows[name].tolist() for name in rows.columns if name != column}
    except OSError as error:
        place = error.filename or images
        raise UserError(f"{place}: cannot be read ({error.strerror}); check its permissions") from None
    if not names:
        raise UserError(
            f"{images}: no image in it; expected DICOM, JPEG or PNG files ({', '.join(SUFFIXES)}, or DICOM of any name)"
        )
    # "./" in front of what a spreadsheet would run as a formula, because an apostrophe would make it another path.
    shown = [printable(f"./{name}" if FORMULA.match(name) else name) for name in names]
    return pd.DataFrame({**ids, "path": shown}), [str(folder / name) for name in names]


def _rows(table: Path, column: str | None) -> tuple[pd.DataFrame, str]:
    """Return the paths and, if it has them, image_ids of a ``table``, and the name of its column of paths."""
    names = header(table)
    present = [name for name in PATH_COLUMNS if name in names]
    if column is None and names and not present:
        raise UserError(
            f"{table}: no column is called {' or '.join(PATH_COLUMNS)}; found {printable(', '.join(names))[:200]}; name the one "
            "with paths: --path-column NAME (columns are separated by commas)"
        )
    column = column or (present or PATH_COLUMNS)[0]
    rows = read_table(table, list(dict.fromkeys([*(["image_id"] if "image_id" in names else []), column])))
    refuse(rows[column].isna(), table, "expected a path, found a blank", column)
    return rows, column


def _checked(out: Path, images: Path) -> Path:
    """Return the path of the quarantine file of ``out``.

    Raises UserError unless both files can be written, without loss of a file that ``predict`` did not write.
    """
    if out.suffix != ".csv":
        raise UserError(f"--out {out}: expected a name that ends with .csv")
    quarantine = out.with_suffix(".quarantine.csv")
    try:
        for path, last in ((out, "logit_"), (quarantine, "reason")):
            if not path.exists():
                continue
            if path.samefile(images) or not _is_result(path, last):
                raise UserError(f"--out {out}: {path} is there and is no prediction; give another name")
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written ({error.strerror}); give another name") from None
    return quarantine


def _is_result(path: Path, column: str) -> bool:
    """Return whether ``path`` is a table with paths and a column whose name begins with ``column``."""
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        names = next(csv.reader([file.readline(2**20)]), [])
    return "path" in names and any(name.startswith(column) for name in names)
