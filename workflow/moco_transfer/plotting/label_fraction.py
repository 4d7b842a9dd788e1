"""Test AUROC against the percentage of labelled data (figure 2): a row for each target, a column for each mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from moco_transfer.report import style

MODE_LABELS = {"linear": "linear", "end_to_end": "end to end"}


def draw_auroc_by_labels(
    estimates: pd.DataFrame,
    titles: Mapping[str, str],
    sources: Sequence[str],
    note: str = "",
    reference: pd.DataFrame | None = None,
) -> Figure:
    """Return figure 2: medians with their intervals, one line for each source.

    ``estimates`` has the columns of estimates.parquet, all targets together; only its selected rows are drawn.
    ``titles`` maps dataset to title, ``sources`` are all sources of the run in their order, ``note`` is written on the
    figure. ``reference`` has the paper's target, percent, mode, source, auroc_median, q05, q95; its values stand as
    hollow markers to the right of ours, where the figure has that cell.
    """
    estimates = _placed(estimates[estimates["selected"]])
    targets = list(dict.fromkeys(estimates["target"]))
    modes = [mode for mode in MODE_LABELS if mode in set(estimates["mode"])]
    shown = [source for source in sources if source in set(estimates["source"])]
    looks = style.source_looks(sources)
    with mpl.rc_context(style.RC):
        width = style.ONE_COLUMN if len(modes) == 1 else style.TWO_COLUMNS
        figure = style.new_figure(width, 0.8 + 2.3 * len(targets), note)
        axes = figure.subplots(len(targets), len(modes), squeeze=False, sharey="row", sharex="row")
        for row, target in zip(axes, targets, strict=True):
            of_target = estimates[estimates["target"] == target]
            paper = None if reference is None else _placed(reference[reference["target"] == target])
            slots = _slots(of_target, paper, shown)
            for ax, mode in zip(row, modes, strict=True):
                _draw_panel(ax, of_target, paper, mode, slots, looks)
            _ticks(row, of_target, max(slots.values()))
            row[0].set_ylabel("Test AUROC")
            _chance_line(row)
        for ax in axes[-1]:
            ax.set_xlabel("Labelled images (% of the training set, log scale; number)")
        names = [f"{style.dataset_label(t, titles)}, {MODE_LABELS[m]}" for t in targets for m in modes]
        style.label_panels(axes.flat, names)
        handles = style.source_handles(shown, looks)
        if reference is not None:
            handles.append(
                Line2D([], [], color="0.4", marker="o", mfc="white", ls="", label="the paper's value")
            )
        style.legend_below(figure, handles)
    return figure


def _draw_panel(
    ax: Axes,
    of_target: pd.DataFrame,
    paper: pd.DataFrame | None,
    mode: str,
    slots: Mapping[tuple[str, str], float],
    looks: Mapping[str, style.Look],
) -> None:
    for (source, owner), factor in slots.items():
        cells = of_target[(of_target["mode"] == mode) & (of_target["source"] == source)]
        if owner == "ours":
            columns = ["median", "lower", "upper"]
        else:
            known = paper[(paper["mode"] == mode) & (paper["source"] == source)]
            cells, columns = known[known["position"].isin(cells["position"])], ["auroc_median", "q05", "q95"]
        _draw_bars(ax, cells.sort_values("position"), columns, factor, looks[source], filled=owner == "ours")


def _placed(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cells with their place on the x axis, as percentages are strings."""
    return cells.assign(position=cells["percent"].astype(float))


def _slots(
    of_target: pd.DataFrame, paper: pd.DataFrame | None, sources: Sequence[str]
) -> dict[tuple[str, str], float]:
    """Return the factor by which each series is moved sideways, so that no two bars stand on one another."""
    series = []
    for source in sources:
        if source in set(of_target["source"]):
            series.append((source, "ours"))
            if paper is not None and source in set(paper["source"]):
                series.append((source, "paper"))
    ticks = np.log10(np.unique(of_target["position"]))
    gap = np.diff(ticks).min() if len(ticks) > 1 else 1.0
    step = min(0.05, 0.75 * gap / len(series))
    factors = 10 ** (step * (np.arange(len(series)) - (len(series) - 1) / 2))
    return {source_and_owner: float(factor) for source_and_owner, factor in zip(series, factors, strict=True)}


def _draw_bars(
    ax: Axes, cells: pd.DataFrame, columns: list[str], factor: float, look: style.Look, filled: bool
) -> None:
    if cells.empty:
        return
    middle, lower, upper = (cells[name].to_numpy() for name in columns)
    ax.errorbar(
        cells["position"] * factor,
        middle,
        style.bar_lengths(middle, lower, upper),
        color=look.color,
        marker=look.marker,
        ls=look.line if filled else "",
        mfc=look.color if filled else "white",
        ms=3.6 if filled else 3.2,
        mew=0.8,
        elinewidth=0.8,
    )


def _ticks(row: Sequence[Axes], of_target: pd.DataFrame, widest: float) -> None:
    cells = of_target.drop_duplicates("percent").sort_values("position")
    labels = [f"{p}%\n{n:,}" for p, n in zip(cells["percent"], cells["n_labeled"], strict=True)]
    margin = 10**0.1
    for ax in row:
        ax.set_xscale("log")
        ax.set_xticks(cells["position"], labels)
        ax.set_xticks([], minor=True)
        ax.set_xlim(cells["position"].min() / widest / margin, cells["position"].max() * widest * margin)
        ax.tick_params(labelleft=True)


def _chance_line(row: Sequence[Axes]) -> None:
    """Mark an AUROC of one half, but do not stretch the axis to it."""
    lower, upper = row[0].get_ylim()
    if lower <= 0.5 <= upper:
        for ax in row:
            ax.axhline(0.5, color="0.5", lw=0.8, ls=(0, (2, 2)), zorder=1)
            ax.annotate("chance", (0.995, 0.5), (0, 2), ax.get_yaxis_transform(), "offset points", ha="right")
