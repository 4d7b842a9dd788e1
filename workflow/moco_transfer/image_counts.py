"""Count the images of a run's datasets before anything is computed, from the best source that exists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from moco_transfer.config.datasets import Dataset, Split
from moco_transfer.config.experiment import Config
from moco_transfer.data.counts import fold_sizes
from moco_transfer.data.labels import SPLITS
from moco_transfer.data.public_sets import PUBLIC_SETS
from moco_transfer.data.releases import RELEASES, find_tables
from moco_transfer.errors import UserError
from moco_transfer.experiment import stored_datasets
from moco_transfer.files import read_columns


class Images(NamedTuple):
    """How many images of a dataset are in each split (None: no split) of fold 1, and where the numbers come from.

    If ``may_be_fewer``, they are those of a whole release, and only a part of it may have been downloaded.
    """

    sides: Counter[str | None]
    basis: str
    may_be_fewer: bool = False


def count_images(config: Config) -> dict[str, Images]:
    """Return the images of every dataset of a run; paths are relative to the folder where Snakemake runs.

    Raises UserError if a user's own table is missing or wrong, or a split is impossible.
    """
    images = {}
    for name in stored_datasets(config):
        splits = Path("results", config.run, "splits", name, "fold1.parquet")
        if splits.is_file():
            images[name] = Images(_column(splits, "split"), str(splits))
        else:
            official = _official_splits(config, name)
            sides = _sides(name, config.datasets[name].split, official.sides)
            images[name] = official._replace(sides=sides)
    return images


def configured_images(config: Config) -> dict[str, Images]:
    """Return the images of the datasets whose size the configuration tells: phantoms and whole releases. Nothing is read.

    Raises UserError if a split is impossible.
    """
    images = {}
    for name in stored_datasets(config):
        dataset, documented = config.datasets[name], RELEASES[config.datasets[name].adapter].images
        # Of NIH ChestX-ray14, only some parts may have been downloaded.
        if dataset.phantom or (documented and dataset.adapter != "nih_chestxray14"):
            total = dataset.phantom.images if dataset.phantom else sum(documented.values())
            sides = _sides(name, dataset.split, _documented_splits(documented, total))
            images[name] = Images(sides, "the configuration", may_be_fewer=not dataset.phantom)
    return images


def _official_splits(config: Config, name: str) -> Images:
    """Return how many images of a dataset are in each official split (None: in no split)."""
    dataset, release = config.datasets[name], RELEASES[config.datasets[name].adapter]
    index = Path("results", "data", config.data, name, "index.parquet")
    documented = sum(release.images.values())
    if dataset.phantom:
        total, basis = dataset.phantom.images, "the configuration (phantoms)"
    elif index.is_file():
        return Images(_column(index, "official_split"), str(index))
    elif dataset.listing and find_tables(dataset.adapter, dataset.root, file=_table_file(dataset))[1]:
        if dataset.public_set is None:
            raise UserError(
                f"config: datasets.{name}: no images can be counted, because {Path(dataset.root, _table_file(dataset))} is missing; "
                f"set datasets.{name}.root to the folder that holds it"
            )
        basis = f"the size of {dataset.public_set}; none of it in {dataset.root}/"
        return Images(Counter(PUBLIC_SETS[dataset.public_set].images), basis, may_be_fewer=True)
    elif dataset.folders:
        from moco_transfer.data.adapters.folders import find_images
        from moco_transfer.data.adapters.tables import split_values

        images, _ = find_images(Path(dataset.root), dataset.folders.pattern)
        splits = split_values(images["split"], dataset.root) if "split" in images else [None] * len(images)
        return Images(Counter(splits), f"the images in {dataset.root}/")
    elif dataset.table:
        from moco_transfer.data.adapters.tables import read_table, split_values

        path, column = Path(dataset.root, dataset.table.file), dataset.table.official_split
        rows = read_table(path, [column or dataset.table.path])
        splits = split_values(rows[column], path) if column else [None] * len(rows)
        return Images(Counter(splits), str(path))
    else:
        found, missing = find_tables(dataset.adapter, dataset.root, dataset.labeler)
        folders = [Path(path) for path in found if Path(path).is_dir()]
        files = sum(len(list(folder.iterdir())) for folder in folders)
        total, basis = files or documented or config.similarity.images, f"the files in {dataset.root}/"
        if not files:
            basis = f"the size of {release.name}" if documented else "what similarity needs"
            basis += f"; none of it in {dataset.root}/" if missing else ""
    return Images(_documented_splits(release.images, total), basis, may_be_fewer=not dataset.phantom)


def _table_file(dataset: Dataset) -> str:
    return dataset.table.file if dataset.table else ""


def _documented_splits(documented: Mapping[str, int], total: int) -> Counter[str | None]:
    """Return how many of ``total`` images are in each official split, if their shares are those of the whole release."""
    whole = sum(documented.values())
    official = Counter({side: images * total // whole for side, images in documented.items()})
    return official + Counter({None: total - official.total()})


def _column(path: Path, name: str) -> Counter[str | None]:
    return Counter(read_columns(path, [name])[name].to_pylist())


def _sides(name: str, split: Split, official: Counter[str | None]) -> Counter[str | None]:
    """Return how many images each split of the dataset ``name`` would get in fold 1 if it were split by image.

    No fold has fewer training images.
    """
    shares = {side: getattr(split, side) for side in SPLITS}
    taken = {side: official[side] for side, share in shares.items() if share == "official"}
    for side, count in taken.items():
        if not count:
            raise UserError(
                f"config: datasets.{name}.split: {side} is 'official', but there are no official {side} images; give a share"
            )
    cut = {side: Fraction(str(share)) for side, share in shares.items() if share != "official"}
    try:
        units = official.total() - sum(taken.values())
        sizes, _ = fold_sizes(units, "image", cut, 1, split.folds)
        return Counter(taken | sizes)
    except UserError as error:
        raise UserError(f"config: datasets.{name}.{error}") from None
