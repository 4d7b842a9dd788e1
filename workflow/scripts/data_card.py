"""The data card of one dataset: a Markdown page, and a figure of counts, labels, sizes, views, examples."""

import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from moco_transfer import escape
from moco_transfer.data.adapters.reading import read_reading
from moco_transfer.data.card import NOT_USED, SHOWN_LABELS, DataCard, data_card, frequent_labels
from moco_transfer.data.manifest import read_manifest
from moco_transfer.errors import in_one_line
from moco_transfer.files import map_array, read_csv, read_parquet, write_text
from moco_transfer.report import reading_page, style
from moco_transfer.report.lettering import SPACING, fitted, width
from moco_transfer.report.tables import markdown
from moco_transfer.seeds import stream

SPLIT_COLORS = {"train": "#0072B2", "validation": "#E69F00", "test": "#009E73", NOT_USED: "#7F7F7F"}
SPLIT_MARKERS = {"train": "o", "validation": "s", "test": "D", NOT_USED: "X"}
EXAMPLES = 8
SIZE_BINS = 40
SHOWN_SIZES = 5
HEADING_SIZE = 11
LINE = 0.14
"""The height in inches of a line below the title."""
LABEL_WIDTH = 1.6
"""The width in inches of the longest label beside a panel."""


def draw(
    card: DataCard, title: str, examples: Sequence[NDArray[np.uint8]] | None, note: str = "", folds: int = 1
) -> Figure:
    """Return the card of the dataset called ``title``, one page.

    ``examples`` are up to EXAMPLES images, uint8 [height, width] or [height, width, 3], or None if the images
    must not be shown: the card then says so. ``card`` is that of the first of ``folds`` folds.
    """
    labels = frequent_labels(card.labels)
    splits = list(card.counts["split"][:-1])
    texts = [title, *labels, *card.views["view"], *_facts(card), *card.warnings]
    examples_height = 0.95 if examples else 0.2
    heights = [0.5, 0.35 + 0.2 * len(splits), 0.5 + 0.18 * max(len(labels), 2), 2.1, examples_height]
    figure = style.new_figure(style.TWO_COLUMNS, sum(heights) + 0.5, note, texts)
    names = _shortened(labels)
    beside = max(width(name, mpl.rcParams["ytick.labelsize"]) for name in [*names, *splits])
    room = style.TWO_COLUMNS - beside - 0.25
    title = fitted(title, room, HEADING_SIZE, "bold")
    facts, warnings = (_lines(texts, room) for texts in (_facts(card), card.warnings))
    above = title.count("\n") * 1.1 * SPACING * HEADING_SIZE / 72
    more = above + (len(facts) + len(warnings) - 2) * LINE
    heights[0] += more
    figure.set_figheight(figure.get_figheight() + more)
    grid = figure.add_gridspec(len(heights), 2, height_ratios=heights)
    header = figure.add_subplot(grid[0, :])
    header.axis("off")
    place = {"xy": (0, 1), "xycoords": "axes fraction", "textcoords": "offset points", "va": "top"}
    header.annotate(title, xytext=(0, 0), fontsize=HEADING_SIZE, fontweight="bold", **place)
    below = -72 * (above + 0.22)
    header.annotate("\n".join(facts), xytext=(0, below), linespacing=1.4, **place)
    below -= 72 * len(facts) * LINE
    header.annotate("\n".join(warnings), xytext=(0, below), linespacing=1.4, color="#B00020", **place)
    panels = [figure.add_subplot(place) for place in (grid[1, :], grid[2, :], grid[3, 0], grid[3, 1])]
    _draw_counts(panels[0], card, splits)
    _draw_prevalence(panels[1], card, labels, splits)
    _draw_sizes(panels[2], card.sizes)
    _draw_views(panels[3], card)
    total = card.labels["label"].nunique()
    prevalence = "Prevalence (share of images with the value 1)"
    if total > len(labels):
        prevalence = f"Prevalence of the {len(labels)} most frequent of {total:,} labels"
    by_split = "Images by split" + (f" in fold 1 of {folds}" if folds > 1 else "")
    style.label_panels(panels, [by_split, prevalence, "Original sizes", "Views"])
    _draw_examples(figure.add_subplot(grid[4, :]), examples)
    return figure


def _lines(texts: Iterable[str], room: float) -> list[str]:
    size = mpl.rcParams["font.size"]
    return [line for text in texts for line in fitted(text, room, size).split("\n")]


def _facts(card: DataCard) -> list[str]:
    reasons = _counted(card.quarantined)
    quarantined = f"{card.indexed - card.stored:,} quarantined" + (f" ({reasons})" if reasons else "")
    size, colour = card.settings["size"], "colour" if card.settings["colour"] else "grey"
    facts = [
        f"{card.indexed:,} images indexed = {card.stored:,} stored + {quarantined}",
        f"stored as {size} x {size} pixels, {colour}, fit '{card.settings['fit']}'",
    ]
    if len(card.repairs):
        facts.append(f"repaired: {_counted(card.repairs)}")
    return facts + (reading_page.facts(card.reading) if card.reading else [])


def _counted(frequencies: pd.DataFrame) -> str:
    """Return 'reason: 12; reason: 3', shortened to the width of the figure; the page lists all of them."""
    parts = (f"{what}: {images:,}" for what, images in frequencies.to_numpy())
    return textwrap.shorten("; ".join(parts), 80, placeholder=" ...")


def _draw_bars(
    ax: Axes, rows: pd.DataFrame, y: str, words: Sequence[str], room: float, **kwargs: Any
) -> None:
    """Draw one bar per row with its ``words`` beside it; the axis is ``room`` times the longest bar."""
    sns.barplot(rows, x="images", y=y, width=0.62, saturation=1, ax=ax, legend=False, **kwargs)
    for row, text in enumerate(words):
        ax.annotate(text, (rows["images"].iloc[row], row), (4, 0), textcoords="offset points", va="center")
    ax.set(xlim=(0, room * rows["images"].max()), xticks=[], xlabel="", ylabel="")
    ax.grid(visible=False)
    ax.spines["bottom"].set_visible(False)


def _draw_counts(ax: Axes, card: DataCard, splits: Sequence[str]) -> None:
    rows = card.counts.set_index("split").loc[list(splits)].reset_index()
    words = [
        f"{row.images:,} images, {row.studies:,} studies, {row.patients:,} patients"
        for row in rows.itertuples()
    ]
    _draw_bars(ax, rows, "split", words, 1.75, hue="split", palette=SPLIT_COLORS)


def _draw_prevalence(ax: Axes, card: DataCard, labels: Sequence[str], splits: Sequence[str]) -> None:
    sns.pointplot(
        card.labels,
        **{"x": "prevalence", "y": "label", "order": labels, "errorbar": None, "ax": ax},
        **{"hue": "split", "hue_order": splits, "palette": SPLIT_COLORS, "linestyles": ""},
        markers=[SPLIT_MARKERS[split] for split in splits],
        # Splits stand side by side, because those of one population have nearly the same prevalence.
        dodge=0.22 * (len(splits) - 1) or False,
        markersize=3.6,
    )
    for line in ax.lines[: len(splits)]:
        line.set_clip_on(False)  # so that a prevalence of 0 is a whole marker on the axis
    ax.set_yticks(range(len(labels)), _shortened(labels))
    ax.set(xlim=(0, 1.06 * max(card.labels["prevalence"].max(), 0.01)), ylim=(len(labels) - 0.5, -0.5))
    ax.set(xlabel="", ylabel="")
    ax.grid(axis="x")
    ax.grid(visible=False, axis="y")
    ax.hlines(np.arange(len(labels) - 1) + 0.5, *ax.get_xlim(), color="0.93", lw=0.5, zorder=0)
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    above = {"bbox_to_anchor": (1, 1), "borderaxespad": 0}
    sns.move_legend(ax, "lower right", ncols=len(splits), title=None, handlelength=1, **above)


def _shortened(names: Iterable[str]) -> list[str]:
    """Return ``names`` cut to the space beside a panel; users may choose long names of labels and views."""
    size = mpl.rcParams["ytick.labelsize"]
    return [fitted(name, LABEL_WIDTH, size, most_lines=1) for name in names]


def _draw_sizes(ax: Axes, sizes: pd.DataFrame) -> None:
    """Draw one dot per size, or per cell of a grid if there are many sizes; larger dots are more images."""
    top = 1.1 * sizes[["width", "height"]].to_numpy().max()
    if len(sizes) == 1:
        width, height = sizes.loc[0, ["width", "height"]]
        words = f"all {width:,} x {height:,}"
        ax.annotate(words, (width, height), (-8, -2), textcoords="offset points", ha="right")
    if len(sizes) > 4 * SIZE_BINS:
        step = np.ceil(top / 1.1 / SIZE_BINS)
        cells = ((sizes[["width", "height"]] // step + 0.5) * step).assign(images=sizes["images"])
        sizes = cells.groupby(["width", "height"], as_index=False)["images"].sum()
    area = 4 + 76 * sizes["images"] / sizes["images"].max()
    ax.scatter(sizes["width"], sizes["height"], area, color="#0072B2", alpha=0.6, lw=0)
    ax.axline((0, 0), slope=1, color="0.7", lw=0.6, ls=(0, (2, 2)), zorder=0)
    ax.set(xlim=(0, top), ylim=(0, top), xlabel="Width (pixels)", ylabel="Height (pixels)", aspect="equal")
    ax.grid(axis="both")


def _draw_views(ax: Axes, card: DataCard) -> None:
    words = [f"{images:,} ({images / card.stored:.1%})" for images in card.views["images"]]
    _draw_bars(ax, card.views, "view", words, 1.45, color="0.55")
    ax.set_yticks(range(len(words)), _shortened(card.views["view"]))
    ax.set_ylim(max(len(words), 4) - 0.5, -0.5)  # a single view is a slim bar, not a block


def _draw_examples(ax: Axes, examples: Sequence[NDArray[np.uint8]] | None) -> None:
    ax.axis("off")
    if not examples:
        words = "No example images are shown: this dataset is not shareable. The card holds only counts."
        ax.text(0, 0.5, words, va="center", fontstyle="italic", color="0.3")
        return
    for number, image in enumerate(examples):
        ax.imshow(image, cmap="gray", vmin=0, vmax=255, extent=(number, number + 0.94, 0, 0.94))
    ax.set(xlim=(0, EXAMPLES - 0.06), ylim=(0, 0.94), aspect="equal")


def page(
    card: DataCard,
    title: str,
    figure: str,
    split: Mapping[str, Any],
    labels: Mapping[str, Any],
    shareable: bool,
    note: str = "",
) -> str:
    """Return the card as Markdown, with the numbers that the figure draws.

    ``title`` is the dataset's, ``figure`` the path of its figure from the page; ``split`` and ``labels`` are
    those sections of the dataset's configuration; ``note`` comes first.
    """
    quarantined = card.indexed - card.stored
    examples = (
        "Example images are drawn at random from all stored images."
        if shareable
        else "No example images: the dataset is not shareable (`shareable: false`), so there are only counts."
    )
    settings = pd.DataFrame(card.settings.items(), columns=["setting", "value"])
    tables = [
        (_with_commas(card.counts), f"Images by split. {_split_text(split)}"),
        (_label_table(card.labels), _label_text(card.labels, labels)),
        (_with_commas(card.views), "Views."),
        (_with_commas(card.sizes.head(SHOWN_SIZES)), _size_text(card.sizes)),
        (settings, "How the images are stored."),
    ]
    if quarantined:
        tables.append((_with_commas(card.quarantined), "Quarantined images, by reason."))
    if len(card.repairs):
        tables.append((_with_commas(card.repairs), "Repaired images, by what was wrong with the file."))
    parts = [f"# Data card: {escape.markdown(title)}", ""]
    parts += [f"**{note}**", ""] if note else []
    parts += [
        f"{card.indexed:,} images indexed = {card.stored:,} stored + {quarantined:,} quarantined. {examples}",
        "",
        *(f"**Warning:** {escape.markdown(text)}\n" for text in card.warnings),
        *([*reading_page.section(card.reading), "## The images", ""] if card.reading else ()),
        f"![The card as a figure]({figure})",
        "",
        *(markdown(frame, caption) for frame, caption in tables),
    ]
    return "\n".join(parts)


def facts(card: DataCard, title: str, shareable: bool) -> dict[str, Any]:
    """Return what the front page of a run says of a dataset."""
    counts = card.counts[["split", "images", "patients"]].to_dict("records")
    sizes = {"indexed": card.indexed, "stored": card.stored, "counts": counts}
    return {"title": title, "shareable": shareable, **sizes, "warnings": list(card.warnings)}


def _split_text(split: Mapping[str, Any]) -> str:
    shares = ", ".join(f"{side} {split[side]}" for side in ("train", "validation", "test"))
    text = f"No {split['unit']} is in two splits; requested shares: {shares}."
    if split["folds"] > 1:
        text += f" These are the splits of fold 1 of {split['folds']}, here and below; every image is a test image in one fold."
    return text


def _label_text(labels: pd.DataFrame, policy: Mapping[str, Any]) -> str:
    count = labels["label"].nunique()
    shown = f" The {SHOWN_LABELS} most frequent of {count:,}." if count > SHOWN_LABELS else ""
    unlabeled = {"zero": "kept as all zeros", "drop": "left out"}[policy["unlabeled"]]
    return (
        "Labels by split: images with the value 1 (share of the split), with -1 (uncertain), and blank. For "
        f"training, -1 counts as '{policy['uncertain']}' and a blank as 0; images without any label are "
        f"{unlabeled}.{shown}"
    )


def _label_table(labels: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for label in frequent_labels(labels):
        row = {("", "label"): label}
        for cell in labels[labels["label"] == label].itertuples():
            row |= {
                (cell.split, "1"): f"{cell.present:,} ({cell.prevalence:.1%})",
                (cell.split, "-1"): f"{cell.uncertain:,}",
                (cell.split, "blank"): f"{cell.blank:,}",
            }
        rows.append(row)
    return pd.DataFrame(rows, columns=pd.MultiIndex.from_tuples(list(rows[0])))


def _size_text(sizes: pd.DataFrame) -> str:
    ends = {side: f"{sizes[side].min():,} to {sizes[side].max():,}" for side in ("width", "height")}
    shown = f"; the {SHOWN_SIZES} most frequent of {len(sizes):,} sizes" if len(sizes) > SHOWN_SIZES else ""
    return f"Original sizes in pixels: width {ends['width']}, height {ends['height']}{shown}."


def _with_commas(frame: pd.DataFrame) -> pd.DataFrame:
    """Return ``frame`` with thousands separators in its whole numbers."""
    numbers = frame.select_dtypes("integer").columns
    return frame.assign(**{name: frame[name].map("{:,}".format) for name in numbers})


def main(inputs, outputs, params) -> None:
    card = data_card(
        read_parquet(inputs.index),
        read_parquet(inputs.splits),
        read_parquet(inputs.sizes),
        read_csv(inputs.quarantine, ["reason"]),
        read_manifest(Path(inputs.manifest).parent),
        params.labels["uncertain"] if params.learned else None,
        params.declared,
        params.identified,
        read_reading(Path(inputs.reading)),
    )
    examples = None
    if params.shareable:  # otherwise the images are not even an input
        images = map_array(inputs.images)
        chosen = stream(params.seed, "card examples", params.dataset).permutation(len(images))[:EXAMPLES]
        examples = [images[row] for row in np.sort(chosen)]
    title = json.loads(params.titles)[params.dataset]
    drawn = draw(card, title, examples, params.note, params.split["folds"])
    style.save(drawn, outputs.pdf, outputs.svg, outputs.png)
    figure, policies = Path(outputs.svg).name, (params.split, params.labels)
    write_text(outputs.md, page(card, title, figure, *policies, params.shareable, params.note))
    write_text(outputs.facts, json.dumps(facts(card, title, params.shareable), indent=1) + "\n")


if "snakemake" in globals():
    with in_one_line():
        main(snakemake.input, snakemake.output, snakemake.params)
