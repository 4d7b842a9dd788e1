"""Similarity of the out-of-domain sources to their target, against what they gain: a few points, and no line through them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from moco_transfer.plotting.similarity import MEASURE_LABELS
from moco_transfer.report import style
from moco_transfer.statistics.similarity_ranks import DISTANCES

LABELS = {"svcca": "SVCCA\n(images as rows)"} | MEASURE_LABELS
# Percentages of one source share their similarity; their bars stand side by side, this share of the axis apart.
DODGE = 0.035


def draw_gain_by_similarity(
    gains: pd.DataFrame, titles: Mapping[str, str], sources: Sequence[str], note: str = ""
) -> Figure:
    """Return the figure: a row for each target, a column for each measure, a point for each source and percentage.

    ``gains`` is the frame of ``source_ranking.source_gains``, of which the deepest layer is drawn; its bars are the
    intervals there, and it is hollow where the measure does not leave its null. Percentages ascend from left to right and
    grow in size. ``titles`` maps dataset to title, ``sources``
    are all sources of the run in their order, ``note`` is written on the figure.
    """
    deepest = gains[gains["layer"] == gains["layer"].iloc[-1]]
    targets = list(dict.fromkeys(deepest["target"]))
    measures = [measure for measure in LABELS if measure in set(deepest["measure"])]
    shown = [source for source in sources if source in set(deepest["source"])]
    looks = style.source_looks(sources)
    with mpl.rc_context(style.RC):
        figure = style.new_figure(style.TWO_COLUMNS, 0.9 + 1.7 * len(targets), note)
        axes = figure.subplots(len(targets), len(measures), squeeze=False, sharex="col", sharey="row")
        for column, measure in zip(axes.T, measures, strict=True):
            of_measure = deepest[deepest["measure"] == measure]
            distance = measure in DISTANCES
            # The whole range: differences of a thousandth shall look like that.
            width = 1.25 * of_measure["similarity"].max() if distance else 1.0
            for ax, target in zip(column, targets, strict=True):
                _panel(ax, of_measure[of_measure["target"] == target], looks, width)
            ax.set_xlim(0, width)
            ax.set_xlabel(LABELS[measure] + ("\n(low is alike)" if distance else ""))
        for ax, target in zip(axes[:, 0], targets, strict=True):
            ax.set_ylabel(f"Gain in AUROC over no MoCo\n{style.dataset_label(target, titles)}, linear")
        inside = {"color": "0.3", "marker": "o", "mfc": "white", "ls": ""}
        handles = style.source_handles(shown, looks)
        handles.append(Line2D([], [], label="says nothing: inside its null, or images as rows", **inside))
        style.legend_below(figure, handles)
    return figure


def _panel(ax: Axes, gains: pd.DataFrame, looks: Mapping[str, style.Look], width: float) -> None:
    """Draw one target by one measure on an axis from 0 to ``width``."""
    percents = sorted(set(gains["percent"]), key=float)
    ax.axhline(0, color="0.6", lw=0.6)
    for row in gains.itertuples():
        place, look = percents.index(row.percent), looks[row.source]
        ax.errorbar(
            row.similarity + DODGE * width * (place - (len(percents) - 1) / 2),
            row.gain,
            style.bar_lengths([row.gain], [row.lower], [row.upper]),
            color=look.color,
            marker=look.marker,
            mfc=look.color if row.outside_null else "white",
            ms=3 + 1.5 * place,
            elinewidth=0.8,
        )
    ax.margins(y=0.12)
