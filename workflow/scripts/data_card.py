"""The data card of one dataset: a page of Markdown and a figure."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from moco_transfer.data.card import data_card
from moco_transfer.files import write_text
from moco_transfer.plotting.data_card import EXAMPLES, draw_data_card
from moco_transfer.report import style
from moco_transfer.seeds import stream
from moco_transfer.tables.data_card import data_card_page


def example_images(path: str, seed: int, dataset: str) -> list[np.ndarray]:
    images = np.load(path, mmap_mode="r")
    chosen = stream(seed, "card examples", dataset).permutation(len(images))[:EXAMPLES]
    return [images[row] for row in np.sort(chosen)]


def main(inputs, outputs, params, dataset: str) -> None:
    card = data_card(
        pd.read_parquet(inputs.index),
        pd.read_parquet(inputs.splits),
        pd.read_parquet(inputs.sizes),
        pd.read_csv(inputs.quarantine, usecols=["reason"]),
        json.loads(Path(inputs.manifest).read_text(encoding="utf-8")),
    )
    # images are no input of a dataset that is not shareable: nothing here could show them
    examples = example_images(inputs.images, params.seed, dataset) if params.shareable else None
    figure = draw_data_card(card, params.title, examples, params.note)
    style.save(figure, outputs.pdf, outputs.svg, outputs.png)
    page = data_card_page(
        card,
        params.title,
        Path(outputs.svg).name,
        params.split,
        params.labels,
        params.shareable,
        params.note,
    )
    write_text(outputs.md, page)


main(snakemake.input, snakemake.output, snakemake.params, snakemake.wildcards.dataset)
