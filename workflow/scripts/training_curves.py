"""The course of the trainings on one page: MoCo and supervised encoders, then one row of finetuning per target.

A line is the mean over the trainings of a source (its encoders and labelled subsets), and a band reaches from the lowest to the highest
of them. Finetuning is shown for the fewest and for the most labels, and end to end for the longest budget of each source: the others
lie between, and would make the page unreadable. ``metrics.csv`` beside each training has all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
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
MOST_COLUMNS = 4
MOST_POINTS = 60
"""A longer training is drawn as so many points, each the mean of its part of the epochs: single epochs scatter."""


@dataclass(frozen=True)
class Panel:
    """One panel: a ``quantity``, the ``column`` of ``curves``, against the share of each training's epochs."""

    title: str
    quantity: str
    curves: pd.DataFrame
    column: str = "loss"


def draw(curves: Mapping[str, pd.DataFrame], sources: Mapping[str, Kind], note: str = "") -> Figure:
    """Return the page of training curves.

    ``curves`` holds tables of the kinds ``initial``, ``moco``, ``linear`` and ``end_to_end``, one row per
    epoch of each training: the columns of metrics.csv, ``training`` (a number within the kind), ``source``,
    and ``target`` and ``percent`` if it saw a labelled subset. Tables may be empty.
    """
    pretraining = _pretraining_panels(curves["initial"], curves["moco"])
    finetuning = _finetuning_panels(curves["linear"], curves["end_to_end"])
    groups = [group for group in (pretraining, *finetuning) if group]
    if not groups:
        figure = style.new_figure(style.TWO_COLUMNS, 1, note)
        figure.text(0.5, 0.4, "No training of this run has epochs.", ha="center")
        return figure
    lines = [-(-len(group) // MOST_COLUMNS) for group in groups]
    looks = style.source_looks(sources)
    figure = style.new_figure(style.TWO_COLUMNS, 0.6 + 1.7 * sum(lines), note)
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
    panels = [Panel("MoCo", label, moco, column) for column, label in quantities.items()]
    if initial.empty:
        return panels
    title = "Initial weights" if set(initial["source"]) == {"none"} else "Supervised encoders"
    return [*panels, Panel(title, "Cross entropy", initial)]


def _finetuning_panels(linear: pd.DataFrame, end_to_end: pd.DataFrame) -> list[list[Panel]]:
    """Return the panels of each target: of each mode, the fewest labels and the most."""
    tables = {"linear": linear, "end_to_end": _longest(end_to_end)}
    targets = dict.fromkeys(target for table in tables.values() if len(table) for target in table["target"])
    groups = []
    for target in targets:
        panels = []
        for mode, table in tables.items():
            own = table[table["target"] == target] if len(table) else table
            percents = sorted(set(own["percent"]), key=float) if len(own) else []
            for percent in dict.fromkeys([*percents[:1], *percents[-1:]]):
                cell = own[own["percent"] == percent]
                if cell["epoch"].nunique() > 1:  # a logistic regression has no course
                    title = f"{MODE_LABELS[mode].capitalize()}, {percent}%"
                    panels.append(Panel(title, f"Training loss, {target}", cell))
        groups.append(panels)
    return groups


def _longest(end_to_end: pd.DataFrame) -> pd.DataFrame:
    """Return of each source, target and percentage the trainings with the longest budget."""
    if end_to_end.empty:
        return end_to_end
    budgets = end_to_end.groupby(["target", "source", "percent"])["budget"]
    return end_to_end[end_to_end["budget"] == budgets.transform("max")]


def _draw_panel(ax: Axes, panel: Panel, looks: Mapping[str, style.Look]) -> None:
    known = panel.curves.dropna(subset=panel.column)
    for source, look in looks.items():
        own = known[known["source"] == source]
        # MoCo on only the labelled images has a training for each target and percentage, of different lengths.
        for _, alike in own.groupby(
            [name for name in ("target", "percent") if name in own] or ["source"], dropna=False
        ):
            course = mean_course(alike, panel.column)
            ax.fill_between(course.index, course["min"], course["max"], color=look.color, alpha=0.13, lw=0)
            line = {"lw": 1.0, "ms": 3, "markevery": [-1], "markeredgecolor": look.color}
            ax.plot(course.index, course["mean"], **look.kwargs, **line)
    ax.set_xticks([0, 50, 100])
    ax.set_xlim(-4, 104)
    ax.yaxis.set_major_locator(MaxNLocator(4))
    ax.set(xlabel="Epochs done (%)", ylabel=style.beside_row(panel.quantity, 1.4))


def mean_course(trainings: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return the mean, min and max of ``column`` over trainings of one length, by the share of their epochs that is done, in percent.

    ``trainings`` has the columns training and epoch; epochs without a value may be missing.
    """
    epochs = trainings["epoch"]
    longest = epochs.max()
    width = -(-longest // MOST_POINTS)
    last = np.minimum(-(-epochs // width) * width, longest)
    parts = trainings.groupby(["training", last])[column].mean()
    course = parts.groupby(level=1).agg(["mean", "min", "max"])
    return course.set_axis(100 * course.index / longest)


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
