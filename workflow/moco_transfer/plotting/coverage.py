"""How often intervals of simulated AUROCs hold the truth, by number of positives and by images of a patient."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator
from scipy.special import ndtri

from moco_transfer.report import style

COLORS = {"percentile": "#D55E00", "logit": "#0072B2"}
MARKERS = {"percentile": "o", "logit": "s"}
LINES = ("-", "--")
NOTE = "Simulated scores, no images"


def draw_coverage(coverage: pd.DataFrame, percentiles: Sequence[float]) -> Figure:
    """Return the figure of ``coverage.coverage_table``: a panel of its two studies each, coverage in percent.

    ``percentiles`` are the ends of the interval, whose confidence is drawn as a line, with the band in which 95% of
    simulations of an interval of that confidence lie.
    """
    confidence = (percentiles[1] - percentiles[0]) / 100
    spread = ndtri(0.975) * np.sqrt(confidence * (1 - confidence) / coverage["trials"].max())
    independent = coverage[coverage["study"] == "positives"]
    grouped = coverage[coverage["study"] == "patients"]
    # With one image a patient the units are one, and both lines start there.
    both = pd.concat([grouped, grouped[grouped["images"] == 1].assign(unit="patient")])
    aurocs = sorted(independent["auroc"].unique())
    with mpl.rc_context(style.RC):
        figure = style.new_figure(style.TWO_COLUMNS, 2.9, NOTE)
        left, right = figure.subplots(1, 2, sharey=True)
        for ax in (left, right):
            ax.axhspan(100 * (confidence - spread), 100 * (confidence + spread), color="0.88", lw=0)
            ax.axhline(100 * confidence, color="0.4", lw=0.7)
        handles = _draw_lines(left, independent, "positives", "auroc", aurocs, "AUROC {}")
        handles += _draw_lines(right, both, "images", "unit", ["patient", "image"], "by {}")
        for ax, column, label in (
            (left, "positives", "Positive images (log scale)"),
            (right, "images", "Images of a patient (log scale)"),
        ):
            values = sorted((independent if ax is left else grouped)[column].unique())
            ax.set_xscale("log")
            ax.set_xticks(values, [str(value) for value in values])
            ax.xaxis.set_minor_locator(NullLocator())
            ax.set_xlabel(label)
        left.set_ylabel(f"Coverage of a {100 * confidence:g}% interval (%)")
        style.label_panels([left, right], ["independent images", f"correlated images, AUROC {aurocs[0]:g}"])
        handles.append(Patch(color="0.88", lw=0, label="nominal, 95% of simulations"))
        style.legend_below(figure, handles)
    return figure


def _draw_lines(
    ax: Axes, rows: pd.DataFrame, x: str, by: str, values: Sequence[float | str], label: str
) -> list[Line2D]:
    """Draw coverage against column ``x``: a colour an interval, a kind of line for each of two ``values`` of ``by``."""
    handles = []
    for interval, color in COLORS.items():
        for value, line in zip(values, LINES, strict=True):
            own = rows[(rows["interval"] == interval) & (rows[by] == value)].sort_values(x)
            look = {"color": color, "marker": MARKERS[interval], "ls": line}
            look["mfc"] = color if line == LINES[0] else "white"
            ax.plot(own[x], 100 * own["coverage"], **look)
            handles.append(Line2D([], [], **look, label=f"{interval}, {label.format(value)}"))
    return handles
