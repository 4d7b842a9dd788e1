"""How often intervals of simulated AUROCs contain the truth, by positives and by images per patient."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy.special import ndtri

from moco_transfer.errors import in_one_line
from moco_transfer.files import read_parquet
from moco_transfer.report import style

LOOKS = {
    "percentile": (style.Look("#D55E00", "o"), style.Look("#D55E00", "^", style.DASHED)),
    "logit": (style.Look("#0072B2", "s"), style.Look("#0072B2", "D", style.DASHED)),
}
NOTE = "Simulated scores, no images"


def draw(coverage: pd.DataFrame, percentiles: Sequence[float]) -> Figure:
    """Return the figure of ``statistics.coverage.coverage_table``: one panel per study, coverage in percent.

    ``percentiles`` are the ends of the interval. A line shows its confidence, and a band shows where 95% of
    the simulations of an exact interval lie.
    """
    confidence = (percentiles[1] - percentiles[0]) / 100
    spread = ndtri(0.975) * np.sqrt(confidence * (1 - confidence) / coverage["trials"].max())
    coverage = coverage.assign(coverage=100 * coverage["coverage"])
    independent = coverage[coverage["study"] == "positives"]
    grouped = coverage[coverage["study"] == "patients"]
    # With one image per patient both units are the same, and both lines start there.
    both = pd.concat([grouped, grouped[grouped["images"] == 1].assign(unit="patient")])
    aurocs = sorted(independent["auroc"].unique())
    figure = style.new_figure(style.TWO_COLUMNS, 2.9, NOTE)
    left, right = figure.subplots(1, 2, sharey=True)
    for ax in (left, right):
        ax.axhspan(100 * (confidence - spread), 100 * (confidence + spread), color="0.88", lw=0)
        ax.axhline(100 * confidence, color="0.4", lw=0.7)
    handles = [
        *_draw_lines(left, independent, "positives", "auroc", aurocs, "AUROC {}"),
        *_draw_lines(right, both, "images", "unit", ["patient", "image"], "by {}"),
        Patch(color="0.88", lw=0, label="nominal, 95% of simulations"),
    ]
    left.set(xlabel="Positive images (log scale)", ylabel=f"Coverage of a {100 * confidence:g}% interval (%)")
    right.set(xlabel="Images per patient (log scale)")
    style.label_panels([left, right], ["independent images", f"correlated images, AUROC {aurocs[0]:g}"])
    style.legend_below(figure, handles)
    return figure


def _draw_lines(ax: Axes, rows: pd.DataFrame, x: str, by: str, values: Sequence, label: str) -> list[Line2D]:
    """Draw coverage by ``x``: one colour per interval, solid and dashed for the two ``values`` of ``by``."""
    looks = {
        f"{interval}, {label.format(value)}": look
        for interval, pair in LOOKS.items()
        for value, look in zip(values, pair, strict=True)
    }
    rows = rows.assign(series=rows["interval"] + ", " + rows[by].map(label.format))
    sns.lineplot(rows, x=x, y="coverage", errorbar=None, ax=ax, **style.by("series", looks))
    positions = sorted(rows[x].unique())
    style.log_ticks(ax, positions, positions)
    return [Line2D([], [], label=series, **look.kwargs) for series, look in looks.items()]


def main(inputs, outputs, params) -> None:
    style.save(draw(read_parquet(inputs.coverage), params.percentiles), *outputs)


if "snakemake" in globals():
    with in_one_line():
        main(snakemake.input, snakemake.output, snakemake.params)
