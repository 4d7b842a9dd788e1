"""Figures 4 and 5: test AUROC of one target by epochs of end-to-end finetuning, one panel per percentage.

Points and error bars are the columns ``auroc``, ``lower`` and ``upper`` of estimates.parquet, as in figure 2.
"""

import json
from collections.abc import Mapping
from types import MappingProxyType

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from moco_transfer.errors import in_one_line
from moco_transfer.experiment import Kind
from moco_transfer.files import read_parquet
from moco_transfer.report import style
from moco_transfer.report.names import Seen, dataset_label

RING = {"marker": "o", "mfc": "none", "mec": "0.2", "mew": 0.8, "ls": ""}


def draw(
    estimates: pd.DataFrame,
    target: str,
    titles: Mapping[str, str],
    sources: Mapping[str, Kind],
    note: str = "",
    seen: Seen = MappingProxyType({}),
) -> Figure:
    """Return figure 4 or 5: one line per source through all budgets of ``target``, the chosen one ringed.

    Sources in ``seen`` are marked.
    """
    cells = estimates[(estimates["target"] == target) & (estimates["mode"] == "end_to_end")]
    # Sources of the controls have other budgets, which would stretch the axis.
    cells = cells[cells["source"].isin(sources)].sort_values("epochs").rename(columns={"auroc": "value"})
    sizes = cells.drop_duplicates("percent").set_index("percent")["n_labeled"]
    percents, budgets = sorted(sizes.index, key=float), sorted(cells["epochs"].unique())
    shown = [source for source in sources if source in set(cells["source"])]
    looks, factors = style.source_looks(sources), style.side_by_side(shown, budgets)
    columns = len(percents) if len(percents) <= 3 else 2
    lines = -(-len(percents) // columns)
    width = style.ONE_COLUMN if columns == 1 else style.TWO_COLUMNS
    figure = style.new_figure(width, 0.8 + 2.0 * lines, note, titles.values())
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True)
    for ax, percent in zip(axes.flat, percents, strict=False):
        for source in shown:
            own = cells[(cells["percent"] == percent) & (cells["source"] == source)]
            marked = source in seen.get(target, {})
            style.draw_values(ax, own["epochs"] * factors[source], own, looks[source], marked)
            chosen = own[own["selected"]]
            ax.plot(chosen["epochs"] * factors[source], chosen["value"], ms=9, zorder=4, **RING)
        style.log_ticks(ax, budgets, budgets)
        ax.margins(y=0.12)
    for ax in axes.flat[len(percents) :]:
        ax.remove()
    for ax in axes[:, 0]:
        ax.set_ylabel("Test AUROC\n" + style.beside_row(dataset_label(target, titles), 1.7))
    for ax in axes.flat[len(percents) - columns : len(percents)]:
        ax.set_xlabel("Epochs (log scale)")
        ax.tick_params(labelbottom=True)
    style.label_panels(axes.flat, [f"{p}% of labels (n = {sizes[p]:,})" for p in percents])
    ring = Line2D([], [], label="budget chosen on validation", ms=7, **RING)
    handles = [*style.source_handles(shown, looks), ring, *style.seen_handles(seen, [target], shown)]
    style.legend_below(figure, handles)
    return figure


def main(inputs, outputs, params) -> None:
    estimates = read_parquet(inputs.estimates)
    titles = json.loads(params.titles)
    figure = draw(estimates, params.target, titles, params.sources, params.note, params.seen)
    style.save(figure, *outputs)


if "snakemake" in globals():
    with in_one_line():
        main(snakemake.input, snakemake.output, snakemake.params)
