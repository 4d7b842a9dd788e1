"""How far each pretraining moved each layer: its similarity to the initial network's on the same images."""

import json
from collections.abc import Mapping
from itertools import product

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from moco_transfer.errors import in_one_line
from moco_transfer.experiment import Kind
from moco_transfer.files import read_parquet
from moco_transfer.report import style
from moco_transfer.report.names import dataset_label

LABELS = {"svcca": "SVCCA with the\ninitial network", "cka": "CKA with the\ninitial network"}


def draw(
    networks: pd.DataFrame, titles: Mapping[str, str], sources: Mapping[str, Kind], note: str = ""
) -> Figure:
    """Return the figure: one row per measure, one column per target, one line per source.

    ``networks`` has the columns of networks.parquet; the band is the range of the chance levels of all
    sources.
    """
    targets, layers = networks["target"].unique(), list(networks["layer"].unique())
    looks = style.source_looks(sources)
    shown = {source: look for source, look in looks.items() if source in set(networks["source"])}
    width = style.ONE_COLUMN if len(targets) == 1 else style.TWO_COLUMNS
    figure = style.new_figure(width, 0.9 + 1.7 * len(LABELS), note, titles.values())
    axes = figure.subplots(len(LABELS), len(targets), squeeze=False, sharex=True, sharey="row")
    for ax, (measure, target) in zip(axes.flat, product(LABELS, targets), strict=True):
        own = networks[(networks["target"] == target) & (networks["measure"] == measure)]
        sns.lineplot(own, x="layer", y="value", errorbar=None, ax=ax, **style.by("source", shown))
        chance = own.groupby("layer", sort=False)["chance"].agg(["min", "max"])
        ax.fill_between(layers, chance["min"], chance["max"], color="0.7", ec="0.7", lw=1.5, zorder=1)
        ax.set_ylim(min(0, ax.get_ylim()[0]), 1.03)
        ax.set_ylabel(LABELS[measure])
        style.layer_ticks(ax, layers)
        ax.label_outer()
    images = networks.drop_duplicates("target")["images"]
    names = [f"{dataset_label(t, titles)}, {n:,} images" for t, n in zip(targets, images, strict=True)]
    style.title_panels(axes[0], names)
    chance = Patch(color="0.7", label="chance: images permuted")
    style.legend_below(figure, [*style.source_handles(list(shown), looks), chance])
    return figure


def main(inputs, outputs, params) -> None:
    style.save(
        draw(read_parquet(inputs[0]), json.loads(params.titles), params.sources, params.note), *outputs
    )


if "snakemake" in globals():
    with in_one_line():
        main(snakemake.input, snakemake.output, snakemake.params)
