"""Stages from a raw release to labelled subsets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

Settings = dict[str, Any]


def phantom(settings: Settings, *, release: Path, workers: int) -> None:
    """Generate a phantom release in the layout of the real one."""
    from moco_transfer.data import phantom

    write = {
        "vindr_spinexr": phantom.write_spine_release,
        "mimic_cxr_jpg": phantom.write_chest_release,
        "image_folder": phantom.write_natural_release,
    }[settings["adapter"]]
    write(
        release,
        images=settings["images"],
        size=settings["size"],
        seed=settings["seed"],
        workers=workers,
    )


def index(settings: Settings, *, root: Path, index: Path) -> None:
    """Read a release's tables into the one index table."""
    from moco_transfer.atomic import write_parquet
    from moco_transfer.data.adapters import read_release

    write_parquet(read_release(settings["adapter"], root), index)


def pack(settings: Settings, *, index: Path, root: Path, store: Path, workers: int) -> None:
    """Decode and resize every image of a release into one array."""
    import pandas as pd

    from moco_transfer import config
    from moco_transfer.data.store import pack

    pack(
        pd.read_parquet(index),
        root,
        config.Store.model_validate(settings["store"]),
        store,
        workers=workers,
    )


def split(settings: Settings, *, index: Path, splits: Path) -> None:
    """Assign every stored image to training, validation or test."""
    import pandas as pd

    from moco_transfer import config
    from moco_transfer.atomic import write_parquet
    from moco_transfer.data.split import assign_splits

    frame = assign_splits(
        pd.read_parquet(index),
        config.Split.model_validate(settings["split"]),
        config.Labels.model_validate(settings["labels"]),
        settings["seed"],
    )
    write_parquet(frame, splits)


def subset(settings: Settings, *, index: Path, splits: Path, subset: Path) -> None:
    """Draw one labelled subset of the training images."""
    import pandas as pd

    from moco_transfer.atomic import write_parquet
    from moco_transfer.data.labels import read_targets
    from moco_transfer.data.split import draw_subset

    frame = draw_subset(
        pd.read_parquet(splits),
        read_targets(index, settings["uncertain"])[1],
        settings["percent"],
        seed=settings["subset"],
        root_seed=settings["seed"],
        how=settings["how"],
    )
    write_parquet(frame, subset)
