"""Test AUROC against the number of epochs of end-to-end finetuning (figures 4 and 5): a panel for each percentage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from moco_transfer.report import style


def draw_auroc_by_epochs(
    estimates: pd.DataFrame, target: str, titles: Mapping[str, str], sources: Sequence[str], note: str = ""
) -> Figure:
    """Return figure 4 or 5: one line for each source, every budget trained, the chosen one ringed.

    ``estimates`` has the columns of estimates.parquet; its end-to-end rows of ``target`` are drawn, selected or not.
    ``titles`` maps dataset to title, ``sources`` are those that are drawn, in their order, ``note`` is written on the
    figure.
    """
    # The controls' sources have budgets of their own, which would stretch the axis.
    cells = estimates[
        (estimates["target"] == target)
        & (estimates["mode"] == "end_to_end")
        & estimates["source"].isin(sources)
    ]
    percents = sorted(set(cells["percent"]), key=float)
    shown = [source for source in sources if source in set(cells["source"])]
    budgets = np.unique(cells["epochs"])
    looks = style.source_looks(sources)
    columns = len(percents) if len(percents) <= 3 else 2
    lines = -(-len(percents) // columns)
    ratio = np.diff(np.log(budgets)).min() if len(budgets) > 1 else 1.0
    step = min(0.07, 0.7 * ratio / max(len(shown), 1))
    with mpl.rc_context(style.RC):
        width = style.ONE_COLUMN if columns == 1 else style.TWO_COLUMNS
        figure = style.new_figure(width, 0.8 + 2.0 * lines, note)
        axes = figure.subplots(lines, columns, squeeze=False, sharex=True)
        for ax, percent in zip(axes.flat, percents, strict=False):
            of_percent = cells[cells["percent"] == percent]
            for i, source in enumerate(shown):
                look, own = looks[source], of_percent[of_percent["source"] == source].sort_values("epochs")
                position = own["epochs"].to_numpy() * np.exp(step * (i - (len(shown) - 1) / 2))
                middle = own["median"].to_numpy()
                spread = style.bar_lengths(middle, own["lower"], own["upper"])
                ax.errorbar(
                    position,
                    middle,
                    spread,
                    color=look.color,
                    marker=look.marker,
                    ls=look.line,
                    elinewidth=0.8,
                )
                chosen = own["selected"].to_numpy(dtype=bool)
                ax.plot(position[chosen], middle[chosen], "o", ms=9, mfc="none", mec="0.2", mew=0.8, zorder=4)
            ax.set_xscale("log")
            ax.set_xticks(budgets, [str(epochs) for epochs in budgets])
            ax.set_xticks([], minor=True)
            ax.margins(y=0.12)
        for ax in axes.flat[len(percents) :]:
            ax.remove()
        for ax in axes[:, 0]:
            ax.set_ylabel(f"Test AUROC\n{style.dataset_label(target, titles)}")
        for ax in axes.flat[max(len(percents) - columns, 0) : len(percents)]:
            ax.set_xlabel("Epochs (log scale)")
            ax.tick_params(labelbottom=True)
        sizes = cells.drop_duplicates("percent").set_index("percent")["n_labeled"]
        style.label_panels(axes.flat, [f"{p}% of labels (n = {sizes[p]:,})" for p in percents])
        handles = style.source_handles(shown, looks)
        ring = {"color": "0.2", "marker": "o", "mfc": "none", "ms": 7, "ls": "", "mew": 0.8}
        handles.append(Line2D([], [], label="budget chosen on validation", **ring))
        style.legend_below(figure, handles)
    return figure
