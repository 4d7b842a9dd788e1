"""Check before packing that a run can use a dataset: its index already tells what packing would take hours to reach."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from moco_transfer.config import stages
from moco_transfer.data.counts import check_moco_images, check_percents, check_sample
from moco_transfer.data.labels import SPLITS
from moco_transfer.data.split import assign_splits, check_classes
from moco_transfer.errors import UserError
from moco_transfer.files import read_parquet, write_text


def check_data(settings: stages.CheckData, *, index: list[Path], checked: Path) -> None:
    """Check that a dataset has the images that its splits, labelled subsets, MoCo and size controls need.

    ``index`` has one file per dataset of the settings. Writes one line to ``checked``. The numbers are upper bounds,
    because unreadable images will be quarantined; the jobs that use the splits check them again. Raises UserError.
    """
    dataset, *_ = settings.datasets
    sides, *others = [
        _sides(path, each, settings, is_target=bool(settings.percents) and each == dataset)
        for path, each in zip(index, settings.datasets, strict=True)
    ]
    if settings.percents:
        check_percents(f"targets.{dataset.name}.percents", settings.percents, sides["train"])
    images, *needed = [sum(each[side] for side in settings.images.split("+")) for each in (sides, *others)]
    for source in settings.sources:
        check_moco_images(source, images)
    for sample, count in zip(settings.samples, needed, strict=True):
        check_sample(f"controls.size.{sample}", count, images)
    counts = ", ".join(f"{sides[side]} {side}" for side in SPLITS)
    write_text(checked, f"{dataset.name}: at most {counts} images; unreadable images are not yet known\n")


def _sides(
    path: Path, dataset: stages.SplitDataset, settings: stages.CheckData, is_target: bool
) -> Counter[str]:
    """Return the images of each split of ``dataset`` if all images of the index at ``path`` are stored."""
    table = read_parquet(path)
    try:
        side = assign_splits(table, dataset.split, dataset.labels, settings.seed)["split"]
    except UserError as error:
        raise UserError(f"datasets.{dataset.name}.{error}") from None
    if is_target:
        check_classes(dataset.name, table, side, dataset.labels.uncertain)
    return Counter(side.dropna())
