"""Similarity of the datasets, layer by layer: the literal SVCCA (figure 3), and the measures on shared channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from moco_transfer.report import style

MEASURE_LABELS = {
    "svcca_channels": "SVCCA of channels",
    "cka_covariance": "CKA of covariances",
    "frechet": "Fréchet distance",
    "variance_share": "Share of variance\nin leading directions",
}


def draw_similarity_by_layer(similarity: pd.DataFrame, titles: Mapping[str, str], note: str = "") -> Figure:
    """Return figure 3: the literal SVCCA of each pair, with the 5 to 95% band of its permutation null.

    ``similarity`` has the columns of similarity.parquet; its rows of the measure ``svcca`` are drawn, layers in the
    order they come in. ``titles`` maps dataset to title, ``note`` is written on the figure.
    """
    literal = similarity[similarity["measure"] == "svcca"]
    layers = list(dict.fromkeys(literal["layer"]))
    looks = style.pair_looks(dict.fromkeys(zip(literal["dataset_a"], literal["dataset_b"], strict=True)))
    step = 0.5 / max(len(looks), 1)
    with mpl.rc_context(style.RC):
        figure = style.new_figure(style.ONE_COLUMN, 2.9 + 0.15 * len(looks), note)
        ax = figure.subplots()
        # Bars would pin the axis to their ends.
        ax.use_sticky_edges = False
        handles = []
        for i, ((a, b), look) in enumerate(looks.items()):
            own = (
                literal[(literal["dataset_a"] == a) & (literal["dataset_b"] == b)]
                .set_index("layer")
                .loc[layers]
            )
            position = [place + step * (i - (len(looks) - 1) / 2) for place in range(len(layers))]
            ax.bar(
                position,
                own["null_upper"] - own["null_lower"],
                bottom=own["null_lower"],
                width=0.9 * step,
                color=look.color,
                alpha=0.35,
                lw=0,
            )
            label = f"{titles.get(a, a)} – {titles.get(b, b)}"
            handles += ax.plot(
                position,
                own["value"],
                color=look.color,
                marker=look.marker,
                ls=look.line,
                lw=0.7,
                label=label,
            )
        ax.set_xticks(range(len(layers)), layers, **layer_tilt(layers))
        ax.set_xlabel("Layer")
        ax.set_ylabel("SVCCA (mean canonical correlation)")
        handles.append(Patch(color="0.75", lw=0, label="rows permuted (5 to 95%)"))
        style.legend_below(figure, handles)
    return figure


def draw_similarity_measures(similarity: pd.DataFrame, titles: Mapping[str, str], note: str = "") -> Figure:
    """Return the measures on shared channels: a row for each measure, a column for each pair, layers on the x axis.

    Each panel shows the value, with the 5 to 95% of it over random halves of the images, between its null (channels
    rotated at random) and its ceiling (one half of a dataset against the other). ``variance_share`` has a line for each
    direction. Arguments as in `draw_similarity_by_layer`.
    """
    channels = similarity[similarity["measure"] != "svcca"]
    measures = [measure for measure in MEASURE_LABELS if measure in set(channels["measure"])]
    # The directed measure has both orders; the others name each pair once.
    undirected = channels[channels["measure"] == measures[0]]
    pairs = list(dict.fromkeys(zip(undirected["dataset_a"], undirected["dataset_b"], strict=True)))
    with mpl.rc_context(style.RC):
        figure = style.new_figure(style.TWO_COLUMNS, 0.9 + 1.35 * len(measures), note)
        axes = figure.subplots(len(measures), len(pairs), squeeze=False, sharey="row", sharex=True)
        for row, measure in zip(axes, measures, strict=True):
            own = channels[channels["measure"] == measure]
            for ax, pair in zip(row, pairs, strict=True):
                _panel(ax, own, pair)
            row[0].set_ylabel(MEASURE_LABELS[measure])
            if measure == "frechet":
                row[0].set_yscale("log")
                row[0].set_ylabel(MEASURE_LABELS[measure] + "\n(log scale, low is alike)")
        for ax, (a, b) in zip(axes[0], pairs, strict=True):
            ax.set_title(f"{titles.get(a, a)} – {titles.get(b, b)}")
        layers = list(dict.fromkeys(channels["layer"]))
        for ax in axes[-1]:
            ax.set_xlabel("Layer")
            ax.set_xticks(range(len(layers)), layers, **layer_tilt(layers))
        forward = {"color": "#000000", "marker": "o", "ls": "-"}
        backward = {"color": "#E69F00", "marker": "s", "ls": "-"}
        handles = [
            Line2D([], [], label="value, 5 to 95% over halves (share: second in first)", **forward),
            Line2D([], [], label="share: first dataset in second", **backward),
            Line2D([], [], color="0.3", ls="--", marker="_", label="ceiling: halves of one dataset"),
            Patch(color="0.8", lw=0, label="null: channels rotated (5 to 95%)"),
        ]
        style.legend_below(figure, handles)
    return figure


def layer_tilt(layers: Sequence[str]) -> dict[str, Any]:
    """Return how the layers' names stand at the axis: tilted where they are paths, which overlap side by side."""
    return (
        {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
        if max(map(len, layers), default=0) > 4
        else {}
    )


def _panel(ax: Axes, measure: pd.DataFrame, pair: tuple[str, str]) -> None:
    # Bars would pin the axis to their ends.
    ax.use_sticky_edges = False
    for (a, b), color, marker in ((pair, "#000000", "o"), (pair[::-1], "#E69F00", "s")):
        own = measure[(measure["dataset_a"] == a) & (measure["dataset_b"] == b)]
        if own.empty:
            continue
        # Bars and marks, not bands and lines alone: they are there for a single layer too.
        height = own["null_upper"] - own["null_lower"]
        ax.bar(own["layer"], height, bottom=own["null_lower"], width=0.8, color="0.8", lw=0)
        mark = {"color": "0.3" if color == "#000000" else color, "marker": "_", "markersize": 9}
        ax.plot(own["layer"], own["ceiling"], ls="--", lw=0.9, **mark)
        ax.errorbar(
            own["layer"],
            own["value"],
            style.bar_lengths(own["value"], own["value_lower"], own["value_upper"]),
            color=color,
            marker=marker,
            markersize=2.5,  # smaller than the bars
            elinewidth=0.9,
        )
