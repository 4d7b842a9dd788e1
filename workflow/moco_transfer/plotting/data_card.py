"""The data card of one dataset as a page: counts by split, label prevalence, original sizes, views, examples."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from moco_transfer.data.card import NOT_USED, DataCard, frequent_labels
from moco_transfer.report import style

SPLIT_LOOKS = {
    "train": style.Look("#0072B2", "o", ""),
    "validation": style.Look("#E69F00", "s", ""),
    "test": style.Look("#009E73", "D", ""),
    NOT_USED: style.Look("#7F7F7F", "X", ""),
}
EXAMPLES = 8
"""Example images in a row of the card."""
SIZE_BINS = 40


def draw_data_card(
    card: DataCard, title: str, examples: Sequence[NDArray[np.uint8]] | None, note: str = ""
) -> Figure:
    """Return the card of the dataset called ``title``, one page.

    ``examples`` are up to EXAMPLES images, uint8 [height, width] or [height, width, 3], or None where the dataset's images
    must not be shown: the card says so instead. ``note`` is written on the figure.
    """
    labels = frequent_labels(card.labels)
    splits = list(card.counts["split"][:-1])
    heights = [
        0.5,
        0.35 + 0.2 * len(splits),
        0.5 + 0.18 * max(len(labels), 2),
        2.1,
        0.95 if examples else 0.2,
    ]
    with mpl.rc_context(style.RC | {"axes.grid.axis": "x"}):
        figure = style.new_figure(style.TWO_COLUMNS, sum(heights) + 0.5, note)
        grid = figure.add_gridspec(len(heights), 2, height_ratios=heights)
        _write_header(figure.add_subplot(grid[0, :]), card, title)
        panels = [figure.add_subplot(place) for place in (grid[1, :], grid[2, :], grid[3, 0], grid[3, 1])]
        _draw_counts(panels[0], card, splits)
        _draw_prevalence(panels[1], card, labels, splits)
        _draw_sizes(panels[2], card)
        _draw_views(panels[3], card)
        total = card.labels["label"].nunique()
        shown = "" if total == len(labels) else f", {len(labels)} of {total:,} labels"
        style.label_panels(
            panels,
            [
                "Images by split",
                f"Prevalence (share of images with the value 1){shown}",
                "Original sizes",
                "Views",
            ],
        )
        _draw_examples(figure.add_subplot(grid[4, :]), examples)
        style.settle(figure)
    return figure


def _write_header(ax: Axes, card: DataCard, title: str) -> None:
    ax.axis("off")
    ax.text(0, 0.95, title, fontsize=11, fontweight="bold", va="top")
    reasons = "; ".join(f"{row.reason}: {row.images:,}" for row in card.quarantined.itertuples())
    # the page in Markdown has them all
    reasons = textwrap.shorten(reasons, 80, placeholder=" ...")
    quarantined = f"{card.indexed - card.stored:,} quarantined" + (f" ({reasons})" if reasons else "")
    size = card.settings["size"]
    colour = "colour" if card.settings["colour"] else "grey"
    lines = [
        f"{card.indexed:,} images indexed = {card.stored:,} stored + {quarantined}",
        f"stored as {size} x {size} pixels, {colour}, fit '{card.settings['fit']}'",
    ]
    ax.text(0, 0.5, "\n".join(lines), va="top", linespacing=1.4)


def _draw_counts(ax: Axes, card: DataCard, splits: Sequence[str]) -> None:
    rows = card.counts.set_index("split").loc[list(splits)]
    positions = np.arange(len(rows))
    ax.barh(positions, rows["images"], height=0.62, color=[SPLIT_LOOKS[name].color for name in rows.index])
    widest = rows["images"].max()
    for position, row in zip(positions, rows.itertuples(), strict=True):
        words = f"{row.images:,} images, {row.studies:,} studies, {row.patients:,} patients"
        ax.text(row.images + 0.01 * widest, position, words, va="center", fontsize=6.5)
    ax.set_yticks(positions, rows.index)
    # the longest bar leaves room for the words beside it
    ax.set(xlim=(0, 1.75 * widest), ylim=(len(rows) - 0.5, -0.5), xticks=[])
    ax.spines["bottom"].set_visible(False)


def _draw_prevalence(ax: Axes, card: DataCard, labels: Sequence[str], splits: Sequence[str]) -> None:
    for number, split in enumerate(splits):
        prevalence = card.labels[card.labels["split"] == split].set_index("label").loc[list(labels)]
        look = SPLIT_LOOKS[split]
        # side by side, because splits of one population have nearly the same prevalence
        positions = np.arange(len(labels)) + 0.22 * (number - (len(splits) - 1) / 2)
        shares = prevalence["prevalence"]
        # not clipped: a prevalence of 0 is a whole marker on the axis
        ax.plot(shares, positions, look.marker, color=look.color, ms=3.6, label=split, clip_on=False)
    ax.set_yticks(np.arange(len(labels)), [_shortened(label) for label in labels])
    ax.set(xlim=(0, 1.06 * max(card.labels["prevalence"].max(), 0.01)), ylim=(len(labels) - 0.5, -0.5))
    ax.hlines(np.arange(len(labels) - 1) + 0.5, *ax.get_xlim(), color="0.93", lw=0.5, zorder=0)
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(splits), borderaxespad=0, handlelength=1)


def _shortened(name: str) -> str:
    """Return ``name`` as it fits beside a panel: names of labels and views may be the user's own."""
    return name if len(name) <= 28 else name[:26] + "…"


def _draw_sizes(ax: Axes, card: DataCard) -> None:
    """Draw a dot for each cell of a grid of sizes; its area grows with the number of images."""
    sizes = card.sizes
    if len(sizes) > 4 * SIZE_BINS:
        step = np.ceil(sizes[["width", "height"]].to_numpy().max() / SIZE_BINS)
        cells = ((sizes[["width", "height"]] // step + 0.5) * step).assign(images=sizes["images"])
        sizes = cells.groupby(["width", "height"], as_index=False)["images"].sum()
    area = 4 + 76 * sizes["images"] / sizes["images"].max()
    ax.scatter(sizes["width"], sizes["height"], area, color="#0072B2", alpha=0.6, lw=0)
    top = 1.1 * card.sizes[["width", "height"]].to_numpy().max()
    ax.axline((0, 0), slope=1, color="0.7", lw=0.6, ls=(0, (2, 2)), zorder=0)
    ax.set(xlim=(0, top), ylim=(0, top), xlabel="Width (pixels)", ylabel="Height (pixels)", aspect="equal")
    ax.grid(axis="y")
    if len(card.sizes) == 1:
        width, height = card.sizes.loc[0, ["width", "height"]]
        ax.annotate(
            f"all {width:,} x {height:,}", (width, height), (-8, -2), textcoords="offset points", ha="right"
        )


def _draw_views(ax: Axes, card: DataCard) -> None:
    positions = np.arange(len(card.views))
    ax.barh(positions, card.views["images"], height=0.62, color="0.55")
    widest = card.views["images"].max()
    for position, images in zip(positions, card.views["images"], strict=True):
        words = f"{images:,} ({images / card.stored:.1%})"
        ax.text(images + 0.02 * widest, position, words, va="center", fontsize=6.5)
    ax.set_yticks(positions, [_shortened(view) for view in card.views["view"]])
    # one view is one slim bar, not a block
    ax.set(xlim=(0, 1.45 * widest), ylim=(max(len(positions), 4) - 0.5, -0.5), xticks=[])
    ax.spines["bottom"].set_visible(False)


def _draw_examples(ax: Axes, examples: Sequence[NDArray[np.uint8]] | None) -> None:
    ax.axis("off")
    if not examples:
        words = "No example images are shown: this dataset is not shareable. The card holds counts alone."
        ax.text(0, 0.5, words, va="center", fontstyle="italic", color="0.3")
        return
    for number, image in enumerate(examples):
        ax.imshow(image, cmap="gray", vmin=0, vmax=255, extent=(number, number + 0.94, 0, 0.94))
    ax.set(xlim=(0, EXAMPLES - 0.06), ylim=(0, 0.94), aspect="equal")
