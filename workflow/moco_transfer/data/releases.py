"""What each release consists of, to report missing data before anything runs. Imports nothing heavy."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from moco_transfer.data.public_sets import PUBLIC_SETS


@dataclass(frozen=True)
class Release:
    """A release's name, where to get it, and patterns of the tables that its adapter reads.

    ``{labeler}`` in a pattern stands for the dataset's labeler. ``images`` counts those of the whole release
    by official split, and ``classes`` its labels, if known. ``title`` is its short name, ``views`` says whether
    it names the view of each image, and ``public`` whether anyone may publish its images.
    """

    name: str
    origin: str
    tables: tuple[str, ...]
    images: Mapping[str, int] = field(default_factory=dict)
    classes: int | None = None
    title: str = ""
    views: bool = False
    public: bool = False


RELEASES = {
    "vindr_spinexr": Release(
        "VinDr-SpineXR 1.0.0",
        "https://physionet.org/content/vindr-spinexr/1.0.0/ (credentialed)",
        ("annotations/train.csv", "annotations/test.csv"),
        {"train": 8_389, "test": 2_077},
        1,
        title="VinDr-SpineXR",
    ),
    "mimic_cxr_jpg": Release(
        "MIMIC-CXR-JPG 2.0.0 or 2.1.0",
        "https://physionet.org/content/mimic-cxr-jpg/ (credentialed)",
        ("mimic-cxr-2.*-{labeler}.csv.gz", "mimic-cxr-2.*-metadata.csv.gz", "mimic-cxr-2.*-split.csv.gz"),
        {"train": 368_960, "validation": 2_991, "test": 5_159},
        14,
        title="MIMIC-CXR",
        views=True,
    ),
    "nih_chestxray14": Release(
        "NIH ChestX-ray14",
        "https://nihcc.app.box.com/v/ChestXray-NIHCC",
        ("Data_Entry_2017*.csv", "images_*/images"),
        {"train": 86_524, "test": 25_596},
        14,
        title="NIH ChestX-ray14",
        views=True,
        public=True,
    ),
    "image_folder": Release(
        "one folder of images per class",
        "https://image-net.org/download.php (2,000 of its images are enough)",
        ("*/",),
        title="ImageNet",
    ),
    "table": Release("a table of your own", "", ()),
    "folders": Release("folders of your own", "", ()),
}
# The layouts of a user's own images: two such datasets may hold the same images if they are in the same place.
OWN_LAYOUTS = ("image_folder", "table", "folders")
# The layouts in which phantoms can be generated, with the titles of these phantoms.
PHANTOMS = {
    "vindr_spinexr": "Spine phantoms",
    "mimic_cxr_jpg": "Chest phantoms",
    "image_folder": "Natural phantoms",
}


def _may_be_read(folder: str | Path) -> bool:
    return os.access(folder, os.R_OK | os.X_OK)


def find_tables(
    adapter: str, root: str | Path, labeler: str = "chexpert", file: str = ""
) -> tuple[list[str], list[str]]:
    """Return the release's tables under ``root``, or none, and the patterns without a match.

    Folders of images are among the tables, so that new images are noticed. ``labeler`` is for
    ``mimic_cxr_jpg``, ``file`` for ``table``.
    """
    if adapter == "table":
        path = Path(root, file)
        matches = {file: [str(path)] if _may_be_read(path.parent) and path.is_file() else []}
    elif adapter == "folders":
        matches = {"images": [str(root)] if _may_be_read(root) and Path(root).is_dir() else []}
    else:
        patterns = [pattern.format(labeler=labeler) for pattern in RELEASES[adapter].tables]
        # Snakemake opens what it finds, and a named pipe would make it wait forever.
        matches = {
            pattern: sorted(str(path) for path in Path(root).glob(pattern) if path.is_file() or path.is_dir())
            if _may_be_read(root)
            else []
            for pattern in patterns
        }
    missing = [pattern for pattern, files in matches.items() if not files]
    return ([] if missing else [file for files in matches.values() for file in files]), missing


def describe_missing(
    datasets: Mapping[str, tuple[str, ...]], public_sets: Mapping[str, str | None] = MappingProxyType({})
) -> str:
    """Return which of ``datasets`` are missing and what to do, one line per dataset.

    ``datasets`` has the arguments of ``find_tables`` by name: (adapter, root) or (adapter, root, labeler,
    file). ``public_sets`` names the public set of a dataset, if it is one.
    """
    lines = []
    for name, (adapter, root, *chosen) in datasets.items():
        missing = find_tables(adapter, root, *chosen)[1]
        if missing:
            what, origin = RELEASES[adapter].name, RELEASES[adapter].origin
            origin = f"get it from {origin}; " if origin else ""
            if public := public_sets.get(name):
                what = PUBLIC_SETS[public].title
                origin = f"get it with make open-data DIR=... SETS={public}, as docs/open-data.md says; "
            why = "" if _may_be_read(root) else ", a folder that is missing or may not be read"
            lines.append(
                f"dataset '{name}', {what}: no {' and no '.join(missing)} in {root}/{why} "
                f"({origin}set datasets.{name}.root to its folder)"
            )
    lines.append("To run everything on built-in data instead: snakemake --configfile config/demo.yaml")
    return "\n".join(lines)
