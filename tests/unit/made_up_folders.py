"""Folders of images as users have them, and what ``make new`` makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from dicom_files import dicom, pixels12
from PIL import Image

from moco_transfer import cli
from moco_transfer.config import stages
from moco_transfer.config.composition import read_config
from moco_transfer.config.experiment import Config
from moco_transfer.data import adapters


def write_images(folder: Path, names: list[str], colour: bool = False) -> None:
    """Write a small image to each of ``names``: their suffix tells the format; without one, it is a DICOM."""
    shape = (24, 20, 3) if colour else (24, 20)
    rng = np.random.default_rng(len(names))
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() in (".jpg", ".jpeg", ".png"):
            Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(path)
        else:
            write_dicom(path)


def write_dicom(path: Path, **attributes: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    dicom(pixels12(1, 16, 12), 12, **attributes).save_as(path, enforce_file_format=True)


@dataclass
class Made:
    """What ``moco-transfer new`` wrote: the file's mapping, the checked configuration, and the index that its adapter reads."""

    raw: dict
    config: Config
    index: pd.DataFrame
    text: str
    out: str

    @property
    def section(self) -> dict:
        (dataset,) = self.raw["datasets"].values()
        return dataset.get("table") or dataset.get("folders")


def run_new(capsys, *arguments: object, status: int = 0) -> str:
    """Run the command in the current folder; return what it prints, on an error to stderr."""
    assert cli.main(["new", *map(str, arguments)]) == status
    out, err = capsys.readouterr()
    return err if status else out


def make(capsys, *arguments: object) -> Made:
    """Run the command, and read what it wrote as Snakemake and the first stage do."""
    out = run_new(capsys, *arguments)
    path = Path(out.split("Written: ")[1].split()[0])
    config = read_config([path])
    (dataset,) = config.datasets.values()
    settings = stages.Index(**{key: getattr(dataset, key) for key in stages.Index.model_fields})
    index, _ = adapters.read_release(settings, Path(dataset.root), dataset.store.max_quarantined)
    text = path.read_text(encoding="utf-8")
    return Made(yaml.safe_load(text), config, index, text, out)
