"""How many images each dataset has, and how many of them train, validate and test.

The best witness speaks: the splits of this run, else the packed or read index, else the phantoms that are asked for, the
user's own table, the folders of images, or the known size of the release. What a split by patient or study will give is
not known before, so the shares are then taken of the images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from moco_transfer.config import Config, Split
from moco_transfer.config.datasets import Dataset
from moco_transfer.data.columns import SPLITS
from moco_transfer.data.read_parquet import read_columns
from moco_transfer.data.releases import RELEASES, describe_missing, find_tables
from moco_transfer.data.split import side_sizes
from moco_transfer.errors import UserError
from moco_transfer.results import stored_datasets

# Shares of the phantoms' official splits: every fifth study of the spine, one patient in twenty of the chest.
PHANTOM_SPLITS = {
    "vindr_spinexr": {"train": Fraction(4, 5), "test": Fraction(1, 5)},
    "mimic_cxr_jpg": {"train": Fraction(18, 20), "validation": Fraction(1, 20), "test": Fraction(1, 20)},
}


@dataclass(frozen=True)
class Images:
    """The images of one dataset.

    Attributes
    ----------
    stored : how many are packed, unreadable ones not known of included
    sides : how many train, validate and test
    exact : whether ``sides`` are certain for that number of images
    basis : what the counts rest on, in words
    """

    stored: int
    sides: Mapping[str, int]
    exact: bool
    basis: str


def count_images(config: Config) -> dict[str, Images]:
    """Return the images of every dataset of a run; paths are relative to the folder that Snakemake is called in.

    Raises UserError where nothing tells the size of a dataset, or its split cannot be made.
    """
    return {name: _count(config, name) for name in stored_datasets(config)}


def _count(config: Config, name: str) -> Images:
    dataset = config.datasets[name]
    splits = Path("results", config.run, "splits", f"{name}.parquet")
    if splits.is_file():
        found = Counter(read_columns(splits, ["split"])["split"].to_pylist())
        # Splits of fewer or more phantoms than are asked for now are of an earlier configuration.
        if dataset.phantom is None or dataset.phantom.images == found.total():
            sides = {side: found[side] for side in SPLITS}
            return Images(found.total(), sides, True, f"the splits in {splits}")
    folder = Path("results", "data", config.data, name)
    indexes = [folder / "store/index.parquet", folder / "index.parquet"]
    known = [_of_index(index) for index in indexes if index.is_file() and dataset.phantom is None]
    count = known[0] if known else _expected(config, name, dataset)
    is_exact, basis = count.is_certain and dataset.split.unit == "image", count.basis
    if dataset.labels.unlabeled == "drop":
        is_exact, basis = False, f"{basis}, unlabeled ones not yet dropped"
    return Images(count.images, _sides(dataset.split, count.images, count.official), is_exact, basis)


@dataclass(frozen=True)
class _Found:
    """A number of images, those of each official split, what tells it, and whether it is certain."""

    images: int
    official: Mapping[str, int]
    basis: str
    is_certain: bool


def _of_index(index: Path) -> _Found:
    official = Counter(read_columns(index, ["official_split"])["official_split"].to_pylist())
    return _Found(official.total(), official, f"the images in {index}", True)


def _expected(config: Config, name: str, dataset: Dataset) -> _Found:
    """Return what is known of a dataset that has not been read yet."""
    if dataset.phantom:
        images = dataset.phantom.images
        shares = PHANTOM_SPLITS.get(dataset.adapter, {})
        official = {side: int(share * images) for side, share in shares.items()}
        asked = "official" in (dataset.split.validation, dataset.split.test)
        return _Found(images, official, "the configuration (phantoms)", not asked)
    found = _of_table(name, dataset) if dataset.adapter == "table" else _of_release(config, dataset)
    if dataset.views is None:
        return found
    return replace(found, basis=f"{found.basis}, of all views", is_certain=False)


def _of_table(name: str, dataset: Dataset) -> _Found:
    from moco_transfer.data.adapters import csv_file, parquet_file

    table = dataset.table
    if not find_tables("table", dataset.root, file=table.file)[0]:
        missing = describe_missing({name: ("table", dataset.root, dataset.labeler, table.file)})
        raise UserError(f"{missing.splitlines()[0]}, or nothing tells how many images there are")
    path = Path(dataset.root, table.file)
    read = parquet_file.read_columns if parquet_file.is_parquet(path) else csv_file.read_columns
    rows = read(path, [table.official_split or table.path])
    official = Counter(rows[table.official_split]) if table.official_split else {}
    return _Found(len(rows), official, f"the rows of {path}", True)


def _of_release(config: Config, dataset: Dataset) -> _Found:
    """Return the images in the folders that the adapter lists, if there are any, or else those of the whole release."""
    from moco_transfer.data.adapters.image_folder import SUFFIXES

    release = RELEASES[dataset.adapter]
    whole = sum(release.images.values())
    folders = [Path(path) for path in find_tables(dataset.adapter, dataset.root, dataset.labeler)[0]]
    listed = (file for folder in folders if folder.is_dir() for file in folder.iterdir())
    there = sum(file.suffix.lower() in SUFFIXES for file in listed)
    if there and not whole:
        return _Found(there, {}, f"the files in {dataset.root}", True)
    if there and there < whole:
        official = {side: images * there // whole for side, images in release.images.items()}
        return _Found(there, official, f"the files in {dataset.root}", False)
    if whole:
        return _Found(whole, release.images, f"the known size of all of {release.name}", True)
    needed = config.similarity.images
    return _Found(needed, {}, f"what the similarity needs, as {dataset.root} holds no images", False)


def _sides(split: Split, images: int, official: Mapping[str, int]) -> dict[str, int]:
    """Return how many images train, validate and test, as ``data.split.assign_splits`` would cut images."""
    shares = {side: getattr(split, side) for side in SPLITS}
    taken = {side: official.get(side, 0) for side, share in shares.items() if share == "official"}
    for side, members in taken.items():
        if members == 0:
            raise UserError(
                f"split: {side} is 'official', but the release has no official {side} images; give a share"
            )
    cut = {side: Fraction(str(share)) for side, share in shares.items() if share != "official"}
    sides = taken | side_sizes(images - sum(taken.values()), "image", cut)
    return {side: sides.get(side, 0) for side in SPLITS}
