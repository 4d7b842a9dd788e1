"""The datasets used in each stage, from initial weights to evaluation, with example images (figure 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from numpy.typing import NDArray

from moco_transfer.report import style

WIDTH = 1.56
"""Width of a card in inches."""
HEIGHT = 0.68
"""Height of a card in inches."""
TILE = 0.45
"""Side of an example image in inches."""
Examples = Mapping[str, Sequence[NDArray[np.uint8]] | None]


class Card(NamedTuple):
    """One box: the datasets whose tiles it shows, its heading, and the lines beside the tiles."""

    datasets: Sequence[str]
    heading: str
    lines: Sequence[str]


def draw_pipeline(
    initial: str,
    sources: Mapping[str, Sequence[str]],
    unlabeled: Mapping[str, int],
    labeled: Mapping[str, Mapping[str, int]],
    tests: Mapping[str, int],
    examples: Examples,
    titles: Mapping[str, str],
    note: str = "",
) -> Figure:
    """Return figure 1: four columns of cards, an arrow from each column to the next.

    ``initial`` is the dataset of the initial weights. ``sources`` maps source to the datasets MoCo sees (none: an
    empty list; ``limited`` sees the labelled images), ``unlabeled`` source to the number of images it sees, where that
    is one number. ``labeled`` maps target to percent to the number of labelled images, ``tests`` target to the number
    of test images. ``examples`` maps dataset to uint8 images, [height, width] or [height, width, 3], of which the
    first is shown, or to None where its images must not be shown: a tile says so instead. A dataset that is not in
    ``examples`` has no tile, and a card has room for two. ``titles`` maps dataset to title, ``note`` is written on the
    figure.
    """
    stages = [
        ("Initial weights", [Card([initial], titles.get(initial, initial), ["supervised"])]),
        ("MoCo pretraining", [_source_card(source, seen, unlabeled) for source, seen in sources.items()]),
        ("Finetuning", [_target_card(target, n, titles) for target, n in labeled.items()]),
        ("Evaluation", [_test_card(target, tests[target], titles) for target in labeled]),
    ]
    pitch = HEIGHT + 0.08
    height = pitch * max(len(cards) for _, cards in stages) + 0.2
    gap = (style.TWO_COLUMNS - 0.04 - len(stages) * WIDTH) / (len(stages) - 1)
    middle = -0.2 - (height - 0.2) / 2
    with mpl.rc_context(style.RC):
        figure = style.new_figure(style.TWO_COLUMNS, height + (0.3 if note else 0.1), note)
        ax = figure.subplots()
        ax.axis("off")
        for column, (stage, cards) in enumerate(stages):
            left = column * (WIDTH + gap)
            ax.text(left + WIDTH / 2, -0.08, stage, ha="center", va="center", fontsize=8, fontweight="bold")
            for i, card in enumerate(cards):
                _draw_card(ax, left, middle + pitch * ((len(cards) - 1) / 2 - i), card, examples)
            if column:
                ax.add_patch(
                    FancyArrowPatch(
                        (left - gap + 0.03, middle),
                        (left - 0.03, middle),
                        arrowstyle="simple,head_width=7,head_length=5,tail_width=2.5",
                        color="0.45",
                        lw=0,
                    )
                )
        ax.set(xlim=(-0.02, style.TWO_COLUMNS - 0.02), ylim=(-height, 0.02), aspect="equal")
    return figure


def _source_card(source: str, seen: Sequence[str], unlabeled: Mapping[str, int]) -> Card:
    if source == "limited":
        return Card([], style.source_label(source), ["the same images", "as are labelled"])
    if not seen:
        return Card([], style.source_label(source), ["initial weights", "as they are"])
    return Card(seen[:2], style.source_label(source), [f"{unlabeled[source]:,}", "unlabelled", "images"])


def _target_card(target: str, labeled: Mapping[str, int], titles: Mapping[str, str]) -> Card:
    numbers = sorted({min(labeled.values()), max(labeled.values())})
    images = " to ".join(f"{number:,}" for number in numbers)
    return Card([target], titles.get(target, target), [images, "labelled images;", "linear, end to end"])


def _test_card(target: str, images: int, titles: Mapping[str, str]) -> Card:
    return Card([target], titles.get(target, target), [f"{images:,}", "test images;", "AUROC"])


def _draw_card(ax: Axes, left: float, center: float, card: Card, examples: Examples) -> None:
    bottom = center - HEIGHT / 2
    ax.add_patch(
        FancyBboxPatch(
            (left, bottom),
            WIDTH,
            HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.05",
            fc="0.97",
            ec="0.6",
            lw=0.6,
        )
    )
    inner = left + 0.06
    ax.text(inner, bottom + HEIGHT - 0.05, card.heading, va="top", fontsize=6.5, fontweight="bold")
    for dataset in [name for name in card.datasets if name in examples]:
        _draw_tile(ax, inner, bottom + 0.05, dataset, examples[dataset])
        inner += TILE + 0.05
    ax.text(inner, bottom + 0.05 + TILE / 2, "\n".join(card.lines), va="center", fontsize=6, linespacing=1.3)


def _draw_tile(
    ax: Axes, left: float, bottom: float, dataset: str, images: Sequence[NDArray[np.uint8]] | None
) -> None:
    if images is None:
        ax.add_patch(Rectangle((left, bottom), TILE, TILE, fc="0.88", ec="0.6", lw=0.5))
        words = f"{dataset}:\nnot\nshareable"
        size = 5 * min(1, 10 / (len(dataset) + 1))
        ax.text(
            left + TILE / 2, bottom + TILE / 2, words, ha="center", va="center", fontsize=size, color="0.3"
        )
        return
    extent = (left, left + TILE, bottom, bottom + TILE)
    ax.imshow(images[0], cmap="gray", vmin=0, vmax=255, extent=extent, aspect="equal", zorder=2)
