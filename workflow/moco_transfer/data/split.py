"""Split a dataset into train, validation and test, and draw the labelled subsets of its training images.

Each unit (image, study or patient) gets a key from a random stream named after its own identifier; units are
sorted by key and cut. So an assignment depends only on the identifiers and the seed, never on the order of
rows on disk. The labelled subsets of one number are prefixes of one such order, so the smaller percentages
are contained in the larger ones.

With folds, the same order is cut into one test part per fold, from its end, so that fold 1 is nearly the split without
folds. The other units follow in their order, beginning after the test part: training, then validation. So every unit is
tested in one fold, and is for validation in about as many folds as any other.

If a dataset grows, sides keep their exact shares, so some units may have to move. New images of known units
move no unit. m new units, sorted in among the old ones, shift each cut by the difference between the number
of new units before it and the growth of the sides before it: about the square root of m, because keys are
random, and never more than m units at the one cut of two sides, or 2m + 1 at the two cuts of three (a floor
may add one). The old units keep their order, and so do the old images of a nested subset.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd

from moco_transfer.config import Task, stages
from moco_transfer.config.datasets import Labels, Split
from moco_transfer.data.counts import (
    check_moco_images,
    check_percents,
    check_sample,
    fold_sizes,
    subset_size,
)
from moco_transfer.data.labels import (
    MULTICLASS,
    SPLITS,
    has_labels,
    label_columns,
    read_targets,
    require_one_class,
    split_rows,
    targets,
)
from moco_transfer.errors import UserError
from moco_transfer.files import read_parquet, write_parquet, write_text
from moco_transfer.seeds import stream, stream_key

SPLIT_TITLES = {"train": "training", "validation": "validation", "test": "test"}
UNIT_COLUMNS = {"image": "image_id", "study": "study_id", "patient": "patient_id"}


def split(
    settings: stages.AssignSplits,
    *,
    index: Path,
    splits: Path,
    dataset: str,
    scored: str,
    task: Task = "multilabel",
) -> None:
    """Assign every stored image to training, validation or test.

    ``scored`` says what uncertain labels count as if networks are scored on the ``dataset``, else ``no``. If they are, each
    split must have a class with both values, and each image exactly one class if the ``task`` is multiclass.
    """
    table = read_parquet(index)
    frame = assign_splits(table, settings.split, settings.labels, settings.seed, settings.fold)
    if scored != "no":
        check_classes(_fold_name(dataset, settings.split, settings.fold), table, frame["split"], scored)
        if task == "multiclass":
            check_one_class(table, frame["split"], scored, index)
    write_parquet(frame, splits)


def subset(settings: stages.DrawSubset, *, index: Path, splits: Path, subset: Path) -> None:
    """Draw one labelled subset of the training images."""
    labels, table = read_targets(index, settings.uncertain)[1], read_parquet(splits)
    check_percents(str(splits), [settings.percent], (table["split"] == "train").sum())
    drawn = draw_subset(table, labels, settings.percent, settings.subset, settings.seed, settings.sampling)
    write_parquet(drawn, subset)


def extra_subsets(settings: stages.DrawExtraSubsets, *, index: Path, splits: Path, subsets: Path) -> None:
    """Draw more labelled subsets of a target: percentage, number of the subset, row of the store."""
    table, labels = read_parquet(splits), read_targets(index, settings.uncertain)[1]
    drawn = [
        draw_subset(table, labels, percent, number, settings.seed, settings.sampling).assign(
            percent=percent, subset=number
        )
        for percent in settings.percents
        for number in settings.subsets
    ]
    write_parquet(pd.concat(drawn, ignore_index=True)[["percent", "subset", "row"]], subsets)


def size_sample(settings: stages.DrawSample, *, splits: Path, as_many_as: Path, sample: Path) -> None:
    """Draw as many images for MoCo from one dataset as another dataset has.

    The file has ``row`` (in ``splits``), in the order drawn. Raises UserError if there are too few images.
    """
    parts = settings.images.split("+")
    images = len(split_rows(as_many_as, parts))
    table = read_parquet(splits)
    rows = np.flatnonzero(table["split"].isin(parts))
    check_sample(f"controls.size.{settings.name}", images, len(rows))
    order = _random_order(table["image_id"].to_numpy()[rows], settings.seed, "size", settings.name)
    write_parquet(pd.DataFrame({"row": rows[order[:images]].astype(np.int64)}), sample)


def check_data(settings: stages.CheckData, *, index: list[Path], checked: Path) -> None:
    """Check before packing that a dataset has the images that its splits, labelled subsets, MoCo and size controls need.

    ``index`` has one file per dataset of the settings. With folds, each is checked. Writes one line to ``checked``. The numbers are upper bounds,
    because unreadable images will be quarantined; the jobs that use the splits check them again. Raises UserError.
    """
    dataset, *_ = settings.datasets
    folds, *others = [
        _counted_sides(path, each, settings, is_target=bool(settings.percents) and each == dataset)
        for path, each in zip(index, settings.datasets, strict=True)
    ]
    for sides in folds:
        if settings.percents:
            check_percents(f"targets.{dataset.name}.percents", settings.percents, sides["train"])
        # A dataset of a size control has one fold.
        images, *needed = [_moco_images(each, settings) for each in (sides, *(sides for (sides,) in others))]
        for source in settings.sources:
            check_moco_images(source, images)
        for sample, count in zip(settings.samples, needed, strict=True):
            check_sample(f"controls.size.{sample}", count, images)
    counts = [", ".join(f"{sides[side]} {side}" for side in SPLITS) + " images" for sides in folds]
    if len(folds) > 1:
        counts = [f"{count} in fold {number}" for number, count in enumerate(counts, 1)]
    found = "; ".join(counts)
    write_text(checked, f"{dataset.name}: at most {found}; unreadable images are not yet known\n")


def assign_splits(
    index: pd.DataFrame, split: Split, labels: Labels, seed: int, fold: int = 1
) -> pd.DataFrame:
    """Return ``image_id``, ``patient_id`` and ``split`` of every row of ``index``, in its order, in a ``fold`` (from 1).

    Official sides are kept as they are. The remaining units are cut in the order train, validation, test:
    each side gets floor(share x units), and the last one gets the rest; of several folds, ``counts.fold_sizes`` says how
    large the sides are. If ``labels.unlabeled`` is ``drop``,
    ``split`` is null for images without any label, and they count in no share. Raises UserError if a side is
    'official' and an image names no official side, if a unit would be divided, or if there are too few units.
    """
    used = has_labels(index) if labels.unlabeled == "drop" else np.ones(len(index), dtype=bool)
    if not used.any():
        raise UserError("split: no image has a label, and labels.unlabeled is 'drop'; set it to 'zero'")
    side = np.full(len(index), None, dtype=object)
    free = used.copy()
    shares = {name: getattr(split, name) for name in SPLITS}
    for name, share in shares.items():
        if share == "official":
            members = used & _official_members(index, used, name)
            side[members] = name
            free &= ~members
    units = index[UNIT_COLUMNS[split.unit]]
    cuts = {name: Fraction(str(share)) for name, share in shares.items() if share != "official"}
    side[free] = _cut(units[free], split, cuts, seed, fold)
    _check_undivided(units[used], side[used], split.unit)
    return pd.DataFrame(
        {
            "image_id": index["image_id"],
            "patient_id": index["patient_id"],
            "split": pd.Series(side, index=index.index, dtype="str"),
        }
    ).reset_index(drop=True)


def check_classes(target: str, index: pd.DataFrame, side: pd.Series, uncertain: str) -> None:
    """Raise UserError unless some class has both values among the images of each split in ``side``.

    Otherwise nothing can be learned, no budget can be chosen, or no AUROC is defined.
    """
    values = targets(index[label_columns(index.columns)].to_numpy(), uncertain)
    for name in SPLITS:
        known = values[(side == name).to_numpy()]
        if not ((known == 1).any(axis=0) & (known == 0).any(axis=0)).any():
            what = {
                "train": "nothing can be learned",
                "validation": "no number of epochs can be chosen",
                "test": "nothing can be evaluated",
            }
            raise UserError(
                f"{target}: no class has both values among the {len(known)} {SPLIT_TITLES[name]} images, so "
                f"{what[name]}; give split.{name} a (larger) share, or correct the table's split or labels"
            )


def check_one_class(index: pd.DataFrame, side: pd.Series, uncertain: str, path: Path) -> None:
    """Raise UserError unless each image in a split has exactly one class; ``index`` was read from ``path``."""
    values = targets(index[label_columns(index.columns)].to_numpy(), uncertain)
    require_one_class(values, np.flatnonzero(side.notna()), path, MULTICLASS)


def draw_subset(
    splits: pd.DataFrame, labels: np.ndarray, percent: str, number: int, seed: int, sampling: str
) -> pd.DataFrame:
    """Return a labelled subset of the training images: ``image_id`` and ``row`` (in ``splits``).

    Its size is that of ``subset_size``. Rows are in the order in which they were drawn, so a smaller subset
    of the same ``number`` is the head of a larger one. ``sampling``: ``nested`` draws at random;
    ``stratified`` draws in proportion from each set of labels that occur together in ``labels`` (float
    [rows of ``splits``, classes] of 0, 1 and NaN). Raises UserError if there is no training image.
    """
    rows = np.flatnonzero(splits["split"] == "train")
    if len(rows) == 0:
        raise UserError("splits: there is no training image to draw a labelled subset from")
    identifiers = splits["image_id"].to_numpy()[rows]
    order = _random_order(identifiers, seed, "subset", number)
    if sampling == "stratified":
        order = _interleave(order, labels[rows], seed, number)
    drawn = order[: subset_size(percent, len(rows))]
    return pd.DataFrame({"image_id": identifiers[drawn], "row": rows[drawn].astype(np.int64)}).astype(
        {"image_id": "str"}
    )


def _counted_sides(
    path: Path, dataset: stages.SplitDataset, settings: stages.CheckData, is_target: bool
) -> list[Counter[str]]:
    """Return the images of each split in each fold of ``dataset`` if all images of the index at ``path`` are stored."""
    table, counts = read_parquet(path), []
    for fold in range(1, dataset.split.folds + 1):
        try:
            side = assign_splits(table, dataset.split, dataset.labels, settings.seed, fold)["split"]
        except UserError as error:
            raise UserError(f"datasets.{dataset.name}.{error}") from None
        if is_target:
            name = _fold_name(dataset.name, dataset.split, fold)
            check_classes(name, table, side, dataset.labels.uncertain)
            if settings.task == "multiclass":
                check_one_class(table, side, dataset.labels.uncertain, path)
        counts.append(Counter(side.dropna()))
    return counts


def _fold_name(dataset: str, split: Split, fold: int) -> str:
    return f"{dataset}, fold {fold} of {split.folds}" if split.folds > 1 else dataset


def _moco_images(sides: Counter[str], settings: stages.CheckData) -> int:
    return sum(sides[side] for side in settings.images.split("+"))


def _official_members(index: pd.DataFrame, used: np.ndarray, name: str) -> np.ndarray:
    official = index["official_split"]
    blank = (used & official.isna().to_numpy()).sum()
    if blank:
        raise UserError(
            f"split: {name} is 'official', but {blank} of {used.sum()} images name no official split; "
            "give a share"
        )
    members = (official == name).to_numpy()
    if not members.any():
        raise UserError(
            f"split: {name} is 'official', but the release has no official {name} images; give a share"
        )
    return members


def _cut(units: pd.Series, split: Split, shares: dict[str, Fraction], seed: int, fold: int) -> np.ndarray:
    """Return the side of each row in a fold, given its unit: the units in random order, cut at their shares."""
    codes, identifiers = pd.factorize(units)
    sizes, after_test = fold_sizes(len(identifiers), split.unit, shares, fold, split.folds)
    # The units after the test part come first, so that the test part is the last one, as it is without folds.
    order = np.roll(_random_order(identifiers, seed, "split", split.unit), after_test)
    side = np.empty(len(identifiers), dtype=object)
    side[order] = np.repeat(np.array(list(sizes), dtype=object), list(sizes.values()))
    return side[codes]


def _check_undivided(units: pd.Series, side: np.ndarray, unit: str) -> None:
    """Raise UserError if one of the ``units`` has rows on two sides: then the official split divides it."""
    sides = pd.Series(side, dtype="str").groupby(units.to_numpy()).nunique()
    divided = (sides > 1).sum()
    if divided:
        raise UserError(
            f"split: unit is '{unit}', but the official split divides {divided} of {len(sides)} of them; "
            "choose a smaller unit, or shares instead of 'official'"
        )


def _random_order(identifiers: np.ndarray, seed: int, *names: str | int) -> np.ndarray:
    """Return the permutation that sorts ``identifiers`` by the keys of the streams (*names, identifier)."""
    keys = [stream_key(seed, *names, identifier) for identifier in identifiers]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)


def _interleave(order: np.ndarray, labels: np.ndarray, seed: int, number: int) -> np.ndarray:
    """Return ``order``, rearranged so that every prefix contains each set of labels in proportion.

    This is systematic sampling: the r-th image of a stratum of n is placed at (r + offset) / n on a line from
    0 to 1, and the images are taken in the order of their positions. Offsets are random, so that a rare set
    of labels is neither always early nor always late, and evenly spread, so that strata do not coincide.
    """
    known = pd.DataFrame(np.where(np.isnan(labels), -1, labels)[order])
    strata = known.groupby(list(known.columns))
    stratum, rank, sizes = strata.ngroup().to_numpy(), strata.cumcount().to_numpy(), strata.size().to_numpy()
    rng = stream(seed, "subset strata", number)
    offsets = (rng.permutation(len(sizes)) + rng.random()) / len(sizes)
    position = (rank + offsets[stratum]) / sizes[stratum]
    return order[np.argsort(position, kind="stable")]
