"""The curves of every training on one page: MoCo and supervised encoders, then one row of finetuning per target.

A training is a line in the look of its source, thicker for a larger percentage of labels. It ends in the
source's marker, so that a training of one epoch is visible.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from moco_transfer.errors import in_one_line
from moco_transfer.experiment import Kind
from moco_transfer.files import read_csv
from moco_transfer.report import style
from moco_transfer.report.names import MODE_LABELS

MOCO_METRICS = {
    "loss": "InfoNCE loss",
    "contrast_accuracy": "Contrast accuracy",
    "alignment": "Alignment",
    "uniformity": "Uniformity",
}
PROBE = "probe_"
THIN, THICK = 0.4, 0.9
"""Line widths in points: for the smallest percentage of labels, and for the largest or no percentage."""
MOST_COLUMNS = 5
"""The number of panels that the paper's finetuning needs: linear and four budgets."""


@dataclass(frozen=True)
class Panel:
    title: str
    quantity: str
    curves: pd.DataFrame
    column: str = "loss"
    budget: int = 0
    by_share: bool = False
    """Show epochs as a share of the training's epochs, because MoCo trainings differ widely in length."""


def draw(curves: Mapping[str, pd.DataFrame], sources: Mapping[str, Kind], note: str = "") -> Figure:
    """Return the page of training curves.

    ``curves`` holds tables of the kinds ``initial``, ``moco``, ``linear`` and ``end_to_end``, one row per
    epoch of each training: the columns of metrics.csv, ``training`` (a number within the kind), ``source``,
    and ``target`` and ``percent`` if it saw a labelled subset. Tables may be empty, but not all four.
    """
    pretraining = _pretraining_panels(curves["initial"], curves["moco"])
    finetuning = _finetuning_panels(curves["linear"], curves["end_to_end"])
    groups = [group for group in (pretraining, *finetuning) if group]
    lines = [-(-len(group) // MOST_COLUMNS) for group in groups]
    looks = style.source_looks(sources)
    figure = style.new_figure(style.TWO_COLUMNS, 0.6 + 1.5 * sum(lines), note)
    places = figure.add_gridspec(len(groups), 1, height_ratios=lines)
    drawn: list[tuple[Axes, str]] = []
    for group, height, place in zip(groups, lines, places, strict=True):
        axes = place.subgridspec(height, -(-len(group) // height)).subplots(squeeze=False)
        for ax, panel in zip(axes.flat, group, strict=False):
            _draw_panel(ax, panel, looks)
            drawn.append((ax, panel.title))
        for ax in axes.flat[len(group) :]:
            ax.remove()
        if group is not pretraining:
            _share_scale(axes, len(group))
    style.label_panels(*zip(*drawn, strict=True))
    shown = {source for table in curves.values() if len(table) for source in table["source"]}
    style.legend_below(figure, style.source_handles([s for s in looks if s in shown], looks))
    return figure


def _pretraining_panels(initial: pd.DataFrame, moco: pd.DataFrame) -> list[Panel]:
    quantities = dict(MOCO_METRICS) if len(moco) else {}
    probes = [column for column in moco.columns if column.startswith(PROBE)]
    quantities |= {column: f"Probe AUROC, {column.removeprefix(PROBE)}" for column in probes}
    panels = [Panel("MoCo", label, moco, column, by_share=True) for column, label in quantities.items()]
    if initial.empty:
        return panels
    title = "Initial weights" if set(initial["source"]) == {"none"} else "Supervised encoders"
    return [*panels, Panel(title, "Cross entropy", initial)]


def _finetuning_panels(linear: pd.DataFrame, end_to_end: pd.DataFrame) -> list[list[Panel]]:
    """Return the panels of each target: linear, then one per budget of end-to-end training."""
    rows = pd.concat([linear.assign(budget=0), end_to_end])
    if rows.empty:
        return []
    return [
        [
            Panel(
                MODE_LABELS["end_to_end" if budget else "linear"].capitalize(),
                f"Training loss, {target}",
                own,
                budget=budget,
            )
            for budget, own in of_target.groupby("budget")
        ]
        for target, of_target in rows.groupby("target", sort=False)
    ]


def _draw_panel(ax: Axes, panel: Panel, looks: Mapping[str, style.Look]) -> None:
    epochs = panel.curves["epoch"]
    if panel.by_share:
        epochs = 100 * epochs / epochs.groupby(panel.curves["training"]).transform("max")
    curves = panel.curves.assign(done=epochs, width=_line_widths(panel.curves)).dropna(subset=panel.column)
    sns.lineplot(
        curves,
        **{"x": "done", "y": panel.column, "units": "training", "estimator": None, "ax": ax},
        **{"size": "width", "sizes": {width: width for width in curves["width"]}},
        **{"markevery": [-1], "ms": 3},
        **style.by("source", looks),
    )
    longest = max(curves["done"].max(), 1) if len(curves) else 1
    room = max(0.5, 0.05 * longest)
    ax.set_xlim(1 - room, longest + room)
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    ax.yaxis.set_major_locator(MaxNLocator(4))
    epoch = f"Epoch of {panel.budget}" if panel.budget else "Epoch"
    ax.set(
        xlabel="Epochs done (%)" if panel.by_share else epoch, ylabel=style.beside_row(panel.quantity, 1.3)
    )


def _line_widths(curves: pd.DataFrame) -> pd.Series:
    """Return the width of the line that each row belongs to, by the rank of its percentage of labels."""
    percents = curves["percent"].astype(float) if "percent" in curves else pd.Series(np.nan, curves.index)
    rank = percents.rank(method="dense")
    return (THIN + (THICK - THIN) * (rank - 1) / max(rank.max() - 1, 1)).fillna(THICK)


def _share_scale(grid: np.ndarray, count: int) -> None:
    """Give the first ``count`` axes of ``grid`` one logarithmic scale, labelled at the left of each line."""
    first = grid[0, 0]
    for number, ax in enumerate(grid.flat[:count]):
        ax.set_yscale("log")
        if number:
            ax.sharey(first)
        if number % grid.shape[1]:
            ax.tick_params(labelleft=False)
            ax.set_ylabel("")
    first.autoscale(axis="y")
    style.plain_log_scale(first.yaxis)


def read_curves(paths: Sequence[str], names: Sequence[Mapping[str, str]]) -> pd.DataFrame:
    """Return the metrics of all trainings of a kind, each with its number and what identifies it."""
    tables = [
        read_csv(path, ["epoch"]).assign(training=number, **name)
        for number, (path, name) in enumerate(zip(paths, names, strict=True))
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def main(inputs, outputs, params) -> None:
    curves = {kind: read_curves(inputs[kind], names) for kind, names in params.trainings.items()}
    style.save(draw(curves, params.sources, params.note), *outputs)


if "snakemake" in globals():
    with in_one_line():
        main(snakemake.input, snakemake.output, snakemake.params)
