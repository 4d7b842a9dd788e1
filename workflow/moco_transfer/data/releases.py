"""What each release holds, so that a missing one can be named before anything runs. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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
        ("Data_Entry_2017*.csv", "images_*/images"),
    ),
    "image_folder": Release(
        "images in a folder for each class",
        "https://image-net.org/download.php, of which 2,000 images are enough",
        ("*/",),
    ),
}


def find_tables(adapter: str, root: str | Path) -> tuple[list[str], list[str]]:
    """Return the release's tables under ``root``, and the patterns that match no file there.

    Folders of images are among them, so that more images are noticed. Where any pattern is without a match, nothing is
    returned.
    """
    matches = {pattern: sorted(map(str, Path(root).glob(pattern))) for pattern in RELEASES[adapter].tables}
    missing = [pattern for pattern, files in matches.items() if not files]
    return ([] if missing else [file for files in matches.values() for file in files]), missing


def describe_missing(datasets: dict[str, tuple[str, str]]) -> str:
    """Return, for datasets given as name: (adapter, root), which are not there and what to do, a line each."""
    lines = []
    for name, (adapter, root) in datasets.items():
        missing = find_tables(adapter, root)[1]
        if missing:
            release = RELEASES[adapter]
            lines.append(
                f"dataset '{name}', {release.name}: no {' and no '.join(missing)} in {root}/ "
                f"(get it from {release.origin}; set datasets.{name}.root to its folder)"
            )
    lines.append("To run everything on built-in data instead: snakemake --configfile config/demo.yaml")
    return "\n".join(lines)
