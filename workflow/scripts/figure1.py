"""Figure 1: which datasets are used in each stage, with example images of those that may be shown."""

import numpy as np
import pandas as pd

from moco_transfer.data.split import subset_size
from moco_transfer.plotting.pipeline import draw_pipeline
from moco_transfer.report import style


def first_image(path: str) -> list[np.ndarray]:
    return list(np.load(path, mmap_mode="r")[:1])


def main(inputs, outputs, params) -> None:
    splits = {
        name: pd.read_parquet(path)["split"].value_counts()
        for name, path in zip(params.used, inputs.splits, strict=True)
    }
    train = {name: int(counts.get("train", 0)) for name, counts in splits.items()}
    seen = {name: int(counts.reindex(params.pretrained_on).sum()) for name, counts in splits.items()}
    sources = dict(params.sources) | ({"limited": []} if params.limited else {})
    figure = draw_pipeline(
        initial=params.initial,
        sources=sources,
        unlabeled={name: sum(seen[part] for part in parts) for name, parts in sources.items() if parts},
        labeled={
            target: {percent: subset_size(percent, train[target]) for percent in percents}
            for target, percents in params.percents.items()
        },
        tests={target: int(splits[target].get("test", 0)) for target in params.percents},
        examples={
            name: first_image(path) if shareable else None
            for name, path, shareable in zip(params.shown, inputs.images, params.shareable, strict=True)
        },
        titles=params.titles,
        note=params.note,
    )
    style.save(figure, outputs.pdf, outputs.svg, outputs.png)


main(snakemake.input, snakemake.output, snakemake.params)
