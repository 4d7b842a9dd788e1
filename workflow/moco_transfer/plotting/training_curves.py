"""The curves of every training of a run on one page: initial weights, MoCo, and a row for the finetuning of each target.

A training is a thin line in the colour and style of its source that ends in the source's marker, so that one of a
single epoch shows and sources differ in grey. A thicker line stands for a larger percentage of labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from moco_transfer.report import style

MOCO_METRICS = {
    "loss": "InfoNCE loss",
    "contrast_accuracy": "Contrast accuracy",
    "alignment": "Alignment",
    "uniformity": "Uniformity",
}
PROBE = "probe_"
THIN, THICK = 0.4, 0.9
"""Widths in points of lines: of the smallest percentage of labels, and of the largest or where there is none."""
MOST_COLUMNS = 5
"""As many as the paper's finetuning needs: linear and four budgets."""


@dataclass(frozen=True)
class _Panel:
    title: str
    quantity: str
    curves: pd.DataFrame
    column: str = "loss"
    budget: int | None = None
    has_shared_scale: bool = False
    by_share: bool = False  # of its own epochs: those of sources differ by far


def draw_training_curves(
    curves: Mapping[str, pd.DataFrame], sources: Sequence[str], note: str = ""
) -> Figure:
    """Return the page of training curves.

    Parameters
    ----------
    curves : tables by kind, ``initial``, ``moco``, ``linear`` and ``end_to_end``: a row for each epoch of each training
        with the columns of metrics.csv, ``training`` (a number within the kind) and ``source``; ``target`` and
        ``percent`` where the training saw a labelled subset, else missing. A table may be empty, not all four.
    sources : all sources of the run in their order
    note : written on the figure
    """
    groups = [
        _pretraining_panels(curves["initial"], curves["moco"]),
        *_finetuning_panels(curves["linear"], curves["end_to_end"]),
    ]
    groups = [group for group in groups if group]
    lines = [-(-len(group) // MOST_COLUMNS) for group in groups]
    looks = style.source_looks(sources)
    with mpl.rc_context(style.RC):
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
            if group[0].has_shared_scale:
                _share_scale(axes, len(group))
        style.label_panels(*zip(*drawn, strict=True))
        shown = {source for table in curves.values() if len(table) for source in table["source"]}
        style.legend_below(figure, style.source_handles([s for s in looks if s in shown], looks))
        style.settle(figure)
    return figure


def _pretraining_panels(initial: pd.DataFrame, moco: pd.DataFrame) -> list[_Panel]:
    quantities = dict(MOCO_METRICS) if len(moco) else {}
    probes = [column for column in moco.columns if column.startswith(PROBE)]
    quantities |= {column: f"Probe AUROC, {column.removeprefix(PROBE)}" for column in probes}
    panels = [_Panel("MoCo", label, moco, column, by_share=True) for column, label in quantities.items()]
    if len(initial):
        panels.append(_Panel("Initial weights", "Cross entropy", initial))
    return panels


def _finetuning_panels(linear: pd.DataFrame, end_to_end: pd.DataFrame) -> list[list[_Panel]]:
    """Return the panels of each target: linear, then each budget of the target's end-to-end trainings."""
    tables = [table for table in (linear, end_to_end) if len(table)]
    groups = []
    for target in dict.fromkeys(name for table in tables for name in table["target"]):
        quantity = f"Training loss, {target}"
        panels = []
        for table in tables:
            own = table[table["target"] == target]
            if table is linear:
                panels.append(_Panel("Linear", quantity, own, has_shared_scale=True))
            else:
                panels += [
                    _Panel("End to end", quantity, trained, budget=budget, has_shared_scale=True)
                    for budget, trained in own.groupby("budget")
                ]
        groups.append(panels)
    return groups


def _draw_panel(ax: Axes, panel: _Panel, looks: Mapping[str, style.Look]) -> None:
    epochs = panel.curves["epoch"]
    if panel.by_share:
        epochs = 100 * epochs / epochs.groupby(panel.curves["training"]).transform("max")
    curves = panel.curves.assign(done=epochs).dropna(subset=panel.column)
    widths = _line_widths(curves)
    for _, curve in curves.groupby("training"):
        look = looks[curve["source"].iloc[0]]
        ax.plot(
            curve["done"],
            curve[panel.column],
            color=look.color,
            ls=look.line,
            lw=widths[curve.index[0]],
            marker=look.marker,
            markevery=[-1],
            ms=3,
        )
    longest = max(curves["done"].max(), 1) if len(curves) else 1
    room = max(0.5, 0.05 * longest)
    ax.set_xlim(1 - room, longest + room)
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    ax.yaxis.set_major_locator(MaxNLocator(4))
    epoch = "Epoch" if panel.budget is None else f"Epoch of {panel.budget}"
    ax.set_xlabel("Epochs done (%)" if panel.by_share else epoch)
    ax.set_ylabel(panel.quantity)


def _line_widths(curves: pd.DataFrame) -> pd.Series:
    """Return the width of the line that each row belongs to: by the rank of its percentage, THICK where it has none."""
    percents = curves["percent"].astype(float) if "percent" in curves else pd.Series(np.nan, curves.index)
    rank = percents.rank(method="dense")
    return (THIN + (THICK - THIN) * (rank - 1) / max(rank.max() - 1, 1)).fillna(THICK)


def _share_scale(grid: np.ndarray, count: int) -> None:
    """Give the first ``count`` axes of ``grid`` one logarithmic scale, and its label to the first of each line."""
    first = grid[0, 0]
    for number, ax in enumerate(grid.flat[:count]):
        ax.set_yscale("log")
        if number:
            ax.sharey(first)
        if number % grid.shape[1]:
            ax.tick_params(labelleft=False)
            ax.set_ylabel("")
    first.autoscale(axis="y")
    lowest, highest = first.get_ylim()
    # Powers of ten alone would leave a narrow range with one tick, which is no scale, or with none.
    if highest < 10 * lowest:
        first.yaxis.set_major_locator(MaxNLocator(5))
    else:
        first.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if highest < 100 * lowest else (1,)))
    first.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    first.yaxis.set_minor_locator(NullLocator())
