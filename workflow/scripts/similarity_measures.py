"""The similarity of datasets by measures on shared channels, with nulls and ceilings."""

import json
from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from moco_transfer.errors import in_one_line
from moco_transfer.files import read_parquet
from moco_transfer.report import style
from moco_transfer.report.names import MEASURE_LABELS

DIRECTIONS = (style.Look("#000000", "o"), style.Look("#E69F00", "s"))
"""The looks of a pair and, for the directed measure, of the reversed pair."""


def draw(similarity: pd.DataFrame, titles: Mapping[str, str], note: str = "") -> Figure:
    """Return the figure: one row per measure, one column per pair, layers on the x axis.

    Each panel shows the value, with its 5% to 95% interval over random halves of the images, between its null
    (channels rotated at random) and its ceiling (one half of a dataset against the other). ``similarity`` has
    the columns of similarity.parquet.
    """
    cells = similarity[similarity["measure"] != "svcca"]
    measures = [measure for measure in MEASURE_LABELS if measure in set(cells["measure"])]
    undirected = cells[cells["measure"] == measures[0]]
    pairs = list(dict.fromkeys(zip(undirected["dataset_a"], undirected["dataset_b"], strict=True)))
    figure = style.new_figure(style.TWO_COLUMNS, 0.9 + 1.35 * len(measures), note, titles.values())
    axes = figure.subplots(len(measures), len(pairs), squeeze=False, sharey="row", sharex=True)
    for row, measure in zip(axes, measures, strict=True):
        for ax, pair in zip(row, pairs, strict=True):
            for (a, b), look in zip((pair, pair[::-1]), DIRECTIONS, strict=True):
                own = cells[(cells["dataset_a"] == a) & (cells["dataset_b"] == b)]
                own = own[own["measure"] == measure]
                if len(own):
                    _draw_panel(ax, own, look)
        row[0].set_ylabel(MEASURE_LABELS[measure])
        if measure == "frechet":
            row[0].set_yscale("log")
            style.plain_log_scale(row[0].yaxis)
            row[0].set_ylabel(MEASURE_LABELS[measure] + "\n(log scale, low is alike)")
    for ax in axes[-1]:
        style.layer_ticks(ax, list(cells["layer"].unique()))
    style.title_panels(axes[0], [f"{titles.get(a, a)} – {titles.get(b, b)}" for a, b in pairs])
    forward, backward = DIRECTIONS
    handles = [
        Line2D([], [], label="value, 5 to 95% over halves (share: second in first)", **forward.kwargs),
        Line2D([], [], label="share: first dataset in second", **backward.kwargs),
        Line2D([], [], color="0.3", ls="--", marker="_", label="ceiling: halves of one dataset"),
        Patch(color="0.8", lw=0, label="null: channels rotated (5 to 95%)"),
    ]
    style.legend_below(figure, handles)
    return figure


def _draw_panel(ax: Axes, cells: pd.DataFrame, look: style.Look) -> None:
    """Draw null, ceiling and value of one direction, all visible even if there is a single layer."""
    ax.use_sticky_edges = False  # otherwise the bars leave no margin at the axis
    height = cells["null_upper"] - cells["null_lower"]
    ax.bar(cells["layer"], height, bottom=cells["null_lower"], width=0.8, color="0.8", lw=0)
    color = "0.3" if look is DIRECTIONS[0] else look.color
    ax.plot(cells["layer"], cells["ceiling"], ls="--", lw=0.9, color=color, marker="_", markersize=9)
    values = cells.rename(columns={"value_lower": "lower", "value_upper": "upper"})
    style.draw_values(ax, values["layer"], values, look, ms=2.5, elinewidth=0.9)


def main(inputs, outputs, params) -> None:
    style.save(draw(read_parquet(inputs[0]), json.loads(params.titles), params.note), *outputs)


if "snakemake" in globals():
    with in_one_line():
        main(snakemake.input, snakemake.output, snakemake.params)
