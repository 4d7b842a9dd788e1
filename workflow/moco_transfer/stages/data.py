"""Stages from a raw release to labelled subsets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

Settings = dict[str, Any]


def phantom(settings: Settings, *, release: Path, workers: int) -> None:
    """Generate a phantom release in the layout of the real one."""
    from moco_transfer import phantom

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


def index(settings: Settings, *, root: Path, index: Path, max_quarantined: float) -> None:
    """Read a release's tables into the one index table."""
    from moco_transfer.config.datasets import Table
    from moco_transfer.data.adapters import read_release
    from moco_transfer.files import write_parquet

    table = settings["table"]
    frame = read_release(
        settings["adapter"],
        root,
        labeler=settings["labeler"],
        views=settings["views"],
        table=Table.model_validate(table) if table else None,
        max_quarantined=max_quarantined,
    )
    write_parquet(frame, index)


def pack_shard(
    settings: Settings, *, index: Path, root: Path, packed: Path, max_quarantined: float, workers: int
) -> None:
    """Decode and resize one shard of the images of a release."""
    import pandas as pd

    from moco_transfer import config
    from moco_transfer.data.packing import pack_shard

    pack_shard(
        pd.read_parquet(index),
        root,
        config.Store.model_validate({**settings["store"], "max_quarantined": max_quarantined}),
        packed,
        shard=settings["shard"],
        shards=settings["shards"],
        workers=workers,
    )


def pack(settings: Settings, *, index: Path, shards: list[Path], store: Path, max_quarantined: float) -> None:
    """Join the packed shards of a release into one array."""
    import pandas as pd

    from moco_transfer import config
    from moco_transfer.data.store import join

    allowed = {**settings["store"], "max_quarantined": max_quarantined}
    join(pd.read_parquet(index), shards, config.Store.model_validate(allowed), store)


def verify(*, store: Path, root: Path | None = None, sample: int = 100) -> None:
    """Check a store against its manifest and, given the release's root, a sample of its images."""
    from moco_transfer.data.verify import verify

    print(verify(store, root, sample))


def split(settings: Settings, *, index: Path, splits: Path) -> None:
    """Assign every stored image to training, validation or test."""
    import pandas as pd

    from moco_transfer import config
    from moco_transfer.data.split import assign_splits
    from moco_transfer.files import write_parquet

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

    from moco_transfer.data.labels import read_targets
    from moco_transfer.data.split import draw_subset
    from moco_transfer.files import write_parquet

    frame = draw_subset(
        pd.read_parquet(splits),
        read_targets(index, settings["uncertain"])[1],
        settings["percent"],
        number=settings["subset"],
        seed=settings["seed"],
        how=settings["how"],
    )
    write_parquet(frame, subset)


def extra_subsets(settings: Settings, *, index: Path, splits: Path, subsets: Path) -> None:
    """Draw further labelled subsets of a target, as rows of the store by percentage and number of their subset."""
    import pandas as pd

    from moco_transfer.data.labels import read_targets
    from moco_transfer.data.split import draw_subset
    from moco_transfer.files import write_parquet

    frame, labels = pd.read_parquet(splits), read_targets(index, settings["uncertain"])[1]
    drawn = [
        draw_subset(
            frame,
            labels,
            percent,
            number=number,
            seed=settings["seed"],
            how=settings["how"],
        ).assign(percent=percent, subset=number)
        for percent in settings["percents"]
        for number in settings["subsets"]
    ]
    write_parquet(pd.concat(drawn, ignore_index=True)[["percent", "subset", "row"]], subsets)


def size_sample(settings: Settings, *, splits: Path, as_many_as: Path, sample: Path) -> None:
    """Draw as many images for MoCo from one dataset as another has."""
    import pandas as pd

    from moco_transfer.data.labels import split_rows
    from moco_transfer.data.split import draw_images
    from moco_transfer.files import write_parquet

    parts = settings["images"].split("+")
    images = len(split_rows(as_many_as, parts))
    write_parquet(
        draw_images(pd.read_parquet(splits), parts, images, settings["seed"], settings["name"]), sample
    )
