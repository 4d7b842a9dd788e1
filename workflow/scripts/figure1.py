"""Figure 1: which datasets are used in each stage, with example images of those that may be shown."""

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from numpy.typing import NDArray

from moco_transfer.data.releases import RELEASES
from moco_transfer.data.split import subset_size
from moco_transfer.errors import in_one_line
from moco_transfer.files import map_array, read_parquet
from moco_transfer.report import style
from moco_transfer.report.lettering import SPACING, fitted
from moco_transfer.report.names import source_label

# Sizes in inches of a card with a heading of one line, of the tile with an example image, around both, and between cards.
WIDTH, HEIGHT, TILE, EDGE, GAP = 1.57, 0.72, 0.45, 0.06, 0.08
HEADING_SIZE = 6.5


class Card(NamedTuple):
    """One box: the datasets whose tiles it shows, its heading, and the lines beside the tiles."""

    datasets: Sequence[str]
    heading: str
    lines: Sequence[str]


def draw(
    initial: Sequence[str],
    weights: str,
    sources: Mapping[str, Sequence[str]],
    unlabeled: Mapping[str, int],
    labeled: Mapping[str, Mapping[str, int]],
    tests: Mapping[str, int],
    examples: Mapping[str, NDArray[np.uint8] | None],
    titles: Mapping[str, str],
    note: str = "",
    encoders: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Figure:
    """Return figure 1: four columns of cards, with an arrow from each column to the next.

    Parameters
    ----------
    initial : the datasets behind the initial weights, if any
    weights : where the initial weights come from
    sources : every source, in order, to the datasets that MoCo sees; none for ``none``, for ``encoders``, and for
        ``limited``, which sees the labelled images
    unlabeled : source to the number of images that MoCo sees, for sources with datasets
    labeled : target to percentage to the number of labelled images
    tests : target to the number of test images, of all folds
    examples : dataset to one image, [height, width] or [height, width, 3], or to None if its images must not
        be shown: its tile then says so. Other datasets have no tile.
    encoders : the sources that are encoders of others, to their architecture and where their weights come from
    """
    texts = [*titles.values(), *unlabeled, *examples]
    cards = [
        _encoder_card(source, encoders[source])
        if source in encoders
        else _source_card(source, seen, unlabeled)
        for source, seen in sources.items()
    ]
    figure = style.new_figure(style.TWO_COLUMNS, 0.3 if note else 0.1, note, texts)
    stages = {
        "Initial weights": [_initial_card(initial, weights, titles)],
        "MoCo, or another encoder" if encoders else "MoCo pretraining": cards,
        "Finetuning": [_target_card(target, numbers, titles) for target, numbers in labeled.items()],
        "Evaluation": [
            Card([target], titles.get(target, target), [f"{tests[target]:,}", "test images;", "AUROC"])
            for target in labeled
        ],
    }
    stages = {stage: [_fitted_card(card) for card in cards] for stage, cards in stages.items()}
    heights = {stage: sum(_height(card) + GAP for card in cards) for stage, cards in stages.items()}
    height = max(heights.values()) + 0.2
    gap = (style.TWO_COLUMNS - 0.04 - len(stages) * WIDTH) / (len(stages) - 1)
    middle = -0.1 - height / 2
    figure.set_figheight(figure.get_figheight() + height)
    ax = figure.subplots()
    ax.axis("off")
    arrow = {"arrowstyle": "simple,head_width=7,head_length=5,tail_width=2.5", "color": "0.45", "lw": 0}
    for column, (stage, cards) in enumerate(stages.items()):
        left = column * (WIDTH + gap)
        ax.text(left + WIDTH / 2, -0.08, stage, ha="center", va="center", fontsize=8, fontweight="bold")
        bottom = middle + (heights[stage] + GAP) / 2
        for card in cards:
            bottom -= _height(card) + GAP
            _draw_card(ax, left, bottom, card, examples)
        if column:
            ax.add_patch(FancyArrowPatch((left - gap + 0.03, middle), (left - 0.03, middle), **arrow))
    ax.set(xlim=(-0.02, style.TWO_COLUMNS - 0.02), ylim=(-height, 0.02), aspect="equal")
    return figure


def _initial_card(initial: Sequence[str], weights: str, titles: Mapping[str, str]) -> Card:
    heading = " + ".join(titles.get(name, name) for name in initial) or "Weights of others"
    if weights == "random":
        return Card([], "Random weights", ["trained on nothing"])
    if initial == ["ImageNet"] or weights.startswith("trained here"):
        return Card(initial[:2], heading, ["supervised"])
    return Card([], heading, [fitted(weights, WIDTH - 2 * EDGE, 6, most_lines=3)])


def _encoder_card(source: str, lines: Sequence[str]) -> Card:
    architecture, weights = lines
    lines = [architecture, "random weights" if weights == "random" else weights]
    lines = [fitted(line, WIDTH - 2 * EDGE, 6, most_lines=2) for line in lines]
    return Card([], source_label(source, "encoder"), lines)


def _source_card(source: str, seen: Sequence[str], unlabeled: Mapping[str, int]) -> Card:
    if source == "limited":
        lines = ["the same images", "as are labelled"]
    elif seen:
        lines = [f"{unlabeled[source]:,}", "unlabelled", "images"]
    else:
        lines = ["initial weights,", "unchanged"]
    kind = "moco" if seen or source == "limited" else "initial"
    return Card(seen[:2], source_label(source, kind), lines)


def _target_card(target: str, labeled: Mapping[str, int], titles: Mapping[str, str]) -> Card:
    numbers = sorted({min(labeled.values()), max(labeled.values())})
    images = " to ".join(f"{number:,}" for number in numbers)
    return Card([target], titles.get(target, target), [images, "labelled images;", "linear, end to end"])


def _height(card: Card) -> float:
    return HEIGHT + card.heading.count("\n") * SPACING * HEADING_SIZE / 72


def _fitted_card(card: Card) -> Card:
    return card._replace(heading=fitted(card.heading, WIDTH - 2 * EDGE, HEADING_SIZE, "bold"))


def _draw_card(
    ax: Axes,
    left: float,
    bottom: float,
    card: Card,
    examples: Mapping[str, NDArray[np.uint8] | None],
) -> None:
    height = _height(card)
    frame = {"boxstyle": "round,pad=0,rounding_size=0.05", "fc": "0.97", "ec": "0.6", "lw": 0.6}
    ax.add_patch(FancyBboxPatch((left, bottom), WIDTH, height, **frame))
    inner, top = left + EDGE, bottom + height - 0.05
    ax.text(inner, top, card.heading, va="top", fontsize=HEADING_SIZE, fontweight="bold")
    for dataset in [name for name in card.datasets if name in examples]:
        _draw_tile(ax, inner, bottom + 0.05, dataset, examples[dataset])
        inner += TILE + 0.05
    ax.text(inner, bottom + 0.05 + TILE / 2, "\n".join(card.lines), va="center", fontsize=6, linespacing=1.3)


def _draw_tile(ax: Axes, left: float, bottom: float, dataset: str, image: NDArray[np.uint8] | None) -> None:
    if image is not None:
        extent = (left, left + TILE, bottom, bottom + TILE)
        ax.imshow(image, cmap="gray", vmin=0, vmax=255, extent=extent, aspect="equal", zorder=2)
        return
    ax.add_patch(Rectangle((left, bottom), TILE, TILE, fc="0.88", ec="0.6", lw=0.5))
    words = fitted(f"{dataset}:", TILE - 0.04, 5, most_lines=2) + "\nnot\nshareable"
    ax.text(left + TILE / 2, bottom + TILE / 2, words, ha="center", va="center", color="0.3", fontsize=5)


def main(inputs, outputs, params) -> None:
    splits = {
        name: read_parquet(path)["split"].value_counts()
        for name, path in zip(params.used, inputs.splits, strict=True)
    }
    train = {name: int(counts.get("train", 0)) for name, counts in splits.items()}
    seen = {name: int(counts.reindex(params.pretrained_on).sum()) for name, counts in splits.items()}
    figure = draw(
        initial=params.initial,
        weights=params.weights,
        sources=params.sources,
        unlabeled={
            name: sum(seen[part] for part in parts) for name, parts in params.sources.items() if parts
        },
        labeled={
            target: {percent: subset_size(percent, train[target]) for percent in percents}
            for target, percents in params.percents.items()
        },
        tests={
            # With folds, each image is tested in one of them.
            target: int(splits[target].sum() if params.folds[target] > 1 else splits[target].get("test", 0))
            for target in params.percents
        },
        examples={
            name: map_array(path)[0] if shareable else None
            for name, path, shareable in zip(params.shown, inputs.images, params.shareable, strict=True)
        },
        titles={name: release.title for name, release in RELEASES.items()} | json.loads(params.titles),
        note=params.note,
        encoders=params.encoders,
    )
    style.save(figure, *outputs)


if "snakemake" in globals():
    with in_one_line():
        main(snakemake.input, snakemake.output, snakemake.params)
