"""Figure 2: test AUROC by the percentage of labelled data, one row per target and one column per mode.

The percentages stand equally far apart, each with room for the points of all sources side by side.

Points are the column ``auroc`` of results/<run>/evaluate/<target>/estimates.parquet, the mean over labelled subsets, and
error bars the columns ``lower`` and ``upper``: percentiles of the bootstrap over the test set.
``moco_transfer/statistics/evaluation.py`` computes them.
"""

import json
from collections.abc import Collection, Hashable, Mapping, Sequence
from types import MappingProxyType

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from moco_transfer.errors import in_one_line
from moco_transfer.experiment import Kind
from moco_transfer.report import style
from moco_transfer.report.names import MODE_LABELS, Seen, dataset_label
from moco_transfer.statistics.evidence import comparable, read_all, read_reference

MANY = 6
"""So many points beside each other need thin lines and small markers."""


def draw(
    estimates: pd.DataFrame,
    titles: Mapping[str, str],
    sources: Mapping[str, Kind],
    note: str = "",
    reference: pd.DataFrame | None = None,
    seen: Seen = MappingProxyType({}),
) -> Figure:
    """Return figure 2: one line per source through the selected rows of ``estimates``, of all targets.

    ``reference`` has the paper's values (target, percent, n_labeled, mode, source, auroc_median, q05, q95).
    For cells of this run with as many labels, they appear as hollow markers to the right of ours; the paper gives medians over
    bootstrap replicates. Cells in ``seen`` are marked.
    """
    cells = _add_paper(estimates[estimates["selected"]], reference)
    targets = list(dict.fromkeys(cells["target"]))
    modes = [mode for mode in MODE_LABELS if mode in set(cells["mode"])]
    shown = [source for source in sources if source in set(cells["source"])]
    looks = style.source_looks(sources)
    width = style.ONE_COLUMN if len(modes) == 1 else style.TWO_COLUMNS
    figure = style.new_figure(width, 0.8 + 2.3 * len(targets), note, titles.values())
    axes = figure.subplots(len(targets), len(modes), squeeze=False, sharey="row", sharex="row")
    for row, target in zip(axes, targets, strict=True):
        own = cells[cells["target"] == target].sort_values("position")
        percents = own[own["owner"] == "ours"].drop_duplicates("percent")
        series = set(zip(own["source"], own["owner"], strict=True))
        ordered = [(name, owner) for name in shown for owner in ("ours", "paper") if (name, owner) in series]
        offsets = side_by_side(ordered)
        for ax, mode in zip(row, modes, strict=True):
            _draw_panel(ax, own[own["mode"] == mode], offsets, looks, seen.get(target, {}))
            labels = [
                f"{p}%\n{n:,.0f}" for p, n in zip(percents["percent"], percents["n_labeled"], strict=True)
            ]
            ax.set_xticks(percents["position"], labels)
            ax.set_xlim(-0.5, len(percents) - 0.5)
            for place in percents["position"][1::2]:
                ax.axvspan(place - 0.5, place + 0.5, color="0.96", lw=0, zorder=0)
            ax.tick_params(labelleft=True)
        row[0].set_ylabel("Test AUROC")
        _mark_chance(row)
    for ax in axes[-1]:
        ax.set_xlabel("Labelled images (% of the training set; number)")
    names = [f"{dataset_label(t, titles)}, {MODE_LABELS[m]}" for t in targets for m in modes]
    style.label_panels(axes.flat, names)
    handles = style.source_handles(shown, looks) + style.seen_handles(seen, targets, shown)
    if (cells["owner"] == "paper").any():
        handles.append(
            Line2D([], [], color="0.4", marker="o", mfc="white", ls="", label="the paper's median")
        )
    style.legend_below(figure, handles)
    return figure


def _add_paper(ours: pd.DataFrame, reference: pd.DataFrame | None) -> pd.DataFrame:
    """Return our cells and the paper's values of the same cells, with the place of each on the x axis."""
    percents = ours["percent"].astype(float)
    places = percents.groupby(ours["target"]).rank(method="dense") - 1
    ours = ours.assign(position=places, owner="ours", value=ours["auroc"])
    if reference is None:
        return ours
    names = {"auroc_median": "value", "q05": "lower", "q95": "upper"}
    paper = comparable(reference, ours).rename(columns=names)
    cell = ["target", "mode", "source", "percent"]
    paper = paper.assign(owner="paper").merge(ours[[*cell, "position"]], on=cell)
    return pd.concat([ours, paper], ignore_index=True)


def side_by_side(names: Sequence[Hashable]) -> dict[Hashable, float]:
    """Return a shift for each of ``names`` on an axis of whole numbers, so that their points stand beside each other."""
    step = min(0.12, 0.8 / max(len(names), 1))
    return {name: step * (i - (len(names) - 1) / 2) for i, name in enumerate(names)}


def _draw_panel(
    ax: Axes,
    cells: pd.DataFrame,
    offsets: Mapping[tuple[str, str], float],
    looks: Mapping[str, style.Look],
    seen: Collection[str],
) -> None:
    # Lines only guide the eye: where many points stand side by side, thick ones would hide them.
    thin = {"lw": 0.6, "ms": 3.4} if len(offsets) > MANY else {}
    for (source, owner), offset in offsets.items():
        own = cells[(cells["source"] == source) & (cells["owner"] == owner)]
        hollow = thin | {"ls": "", "mfc": "white", "ms": 3.2} if owner == "paper" else thin
        if len(own):
            marked = owner == "ours" and source in seen
            style.draw_values(ax, own["position"] + offset, own, looks[source], marked, **hollow)


def _mark_chance(row: Sequence[Axes]) -> None:
    """Mark an AUROC of one half if the axis reaches it."""
    lower, upper = row[0].get_ylim()
    if lower <= 0.5 <= upper:
        for ax in row:
            ax.axhline(0.5, color="0.5", lw=0.8, ls=(0, (2, 2)), zorder=1)
            ax.annotate("chance", (0.995, 0.5), (0, 2), ax.get_yaxis_transform(), "offset points", ha="right")


def main(inputs, outputs, params) -> None:
    reference = read_reference(*inputs.reference) if inputs.reference else None
    titles = json.loads(params.titles)
    estimates = read_all(inputs.estimates)
    figure = draw(estimates, titles, params.sources, params.note, reference, params.seen)
    style.save(figure, *outputs)


if "snakemake" in globals():
    with in_one_line():
        main(snakemake.input, snakemake.output, snakemake.params)
