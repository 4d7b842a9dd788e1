"""What all figures share: theme, sizes, the look of each source, the visible note, and saving.

Each figure has a file ``workflow/scripts/NAME.py`` with a function ``draw`` and, last, the entry point that
Snakemake runs. All of them take ``titles`` (dataset to title), ``sources`` (all sources of the run, in order,
each with its kind) and ``note`` (written on the figure, unless it is empty). Those that show test results also take
``seen`` (why encoders may have seen a target's test images) and mark these results. To add a figure: copy such a file; add a rule to
``workflow/rules/figures.smk``, a caption ``workflow/report/NAME.rst`` and the name in
``experiment.figure_names``; draw made-up data in ``tests/unit/made_up_figures.py``, so that the layout tests
check the figure.

No figure computes an interval. Error bars run from the column ``lower`` to the column ``upper`` of the table
that the figure reads. For figures 2, 4 and 5 this is ``results/<run>/evaluate/<target>/estimates.parquet``,
where ``statistics/evaluation.py`` writes percentiles of the bootstrap over test images or patients.

A source has the same colour, marker and line style in every figure. The colours are those of Okabe and Ito,
which colour-blind readers can tell apart; markers and line styles work in grey. Equal input gives files with
equal bytes.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter
from matplotlib.transforms import ScaledTranslation
from numpy.typing import ArrayLike, NDArray

from moco_transfer.config.experiment import LIMITED, LIMITED_STEPS, NONE_LONGER
from moco_transfer.escape import printable
from moco_transfer.experiment import Kind
from moco_transfer.files import replacing
from moco_transfer.report.lettering import FONT, SPACING, families, fitted
from moco_transfer.report.names import MARK, SEEN_MARK, Seen, source_label

ONE_COLUMN = 3.5
"""Width in inches of a figure in one column of a journal (89 mm)."""
TWO_COLUMNS = 7.2
"""Width in inches of a figure across two columns (183 mm)."""
TITLE_SIZE, NOTE_SIZE = 8, 7
"""Sizes in points of the titles of panels and of the note."""
INDENT = 11 / 72
"""The place in inches of a panel's letter, before its title."""
LEGEND_HEIGHT = 0.6
"""The height in inches of a legend that figures have room for."""

sns.set_theme(
    context="paper",
    style="ticks",
    font=FONT,
    font_scale=0.73,
    rc={
        "axes.titlesize": TITLE_SIZE,
        "legend.frameon": False,
        "legend.handlelength": 2.6,
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "grid.color": "0.9",
        "grid.linewidth": 0.5,
        "lines.linewidth": 1.1,
        "lines.markersize": 4,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "xtick.major.size": 3,
        "ytick.major.size": 3,
        "ytick.minor.size": 1.5,
        "ytick.minor.width": 0.4,
        "pdf.fonttype": 42,
        "svg.fonttype": "none",
        "svg.hashsalt": "moco-transfer",
        "text.parse_math": False,  # titles may hold dollars
        "savefig.dpi": 300,
    },
)


@dataclass(frozen=True)
class Look:
    """How one source, or one pair of datasets, is drawn, and its name in legends; without dashes, the line is solid."""

    color: str
    marker: str | tuple[int, int, float]
    dashes: tuple[float, ...] = ()
    label: str = ""

    @property
    def line(self) -> str | tuple[float, tuple[float, ...]]:
        return (0, self.dashes) if self.dashes else "-"

    @property
    def kwargs(self) -> dict[str, Any]:
        """Arguments for matplotlib's ``plot``, ``errorbar`` and ``Line2D``."""
        return {"color": self.color, "marker": self.marker, "ls": self.line}


DASHED, _DASH_DOT, _DOTTED = (3.7, 1.6), (6.4, 1.6, 1, 1.6), (1, 1.65)
_DASH_DOT_DOT = (5, 1.2, 1, 1.2, 1, 1.2)
_FIXED_LOOKS = {
    "none": Look("#000000", "o"),
    "spine": Look("#0072B2", "s", DASHED),
    "chest": Look("#D55E00", "^", _DASH_DOT),
    "spine+chest": Look("#009E73", "D", _DOTTED),
    LIMITED: Look("#CC79A7", "v", _DASH_DOT_DOT),
    LIMITED_STEPS: Look("#999933", "*", DASHED),
    NONE_LONGER: Look("#7F7F7F", "p", _DASH_DOT),
}
# Looks that are likely in one figure differ in lightness too, as photocopies are grey.
_OTHER_LOOKS = (
    Look("#56B4E9", "P"),
    Look("#5E3C99", "X", DASHED),
    Look("#E69F00", "8", _DASH_DOT),
    Look("#44AA99", "H", _DOTTED),
    Look("#4D5D6C", (6, 1, 0.0), DASHED),
    Look("#B15928", "h"),
    Look("#117733", "d", _DOTTED),
    Look("#E7298A", (4, 1, 0.0), _DASH_DOT_DOT),
    Look("#8C6D31", "<", _DOTTED),
    Look("#332288", ">", _DASH_DOT_DOT),
    Look("#882255", (3, 1, 0.0)),
)
# Where single datasets, encoders and mixtures begin among these: one more of a kind seldom changes the looks of the others.
_SINGLE, _ENCODER, _MIXTURE = 0, 3, 6


def source_looks(sources: Mapping[str, Kind]) -> dict[str, Look]:
    """Return the look of each source: the paper's five and the built-in controls have fixed looks; others take free ones in turn.

    Pass the same sources for every figure of a run, so that a source looks the same in all of them. A figure that leaves out the
    last ones shows the others alike.
    """
    looks: dict[str, Look] = {}
    for source, kind in sources.items():
        first = _ENCODER if kind == "encoder" else _MIXTURE if "+" in source else _SINGLE
        turn = [*_OTHER_LOOKS[first:], *_OTHER_LOOKS[:first]]
        free = [each for each in turn if each not in looks.values()] or turn
        looks[source] = _FIXED_LOOKS.get(source, free[0])
    return {
        source: replace(look, label=source_label(source, sources[source])) for source, look in looks.items()
    }


def by(column: str, looks: Mapping[str, Look]) -> dict[str, Any]:
    """Return arguments for seaborn's ``lineplot`` that give each value of ``column`` its look."""
    return {
        **{"hue": column, "style": column, "hue_order": list(looks), "style_order": list(looks)},
        "palette": {value: look.color for value, look in looks.items()},
        "markers": {value: look.marker for value, look in looks.items()},
        "dashes": {value: look.dashes or "" for value, look in looks.items()},
        "markeredgecolor": "auto",
        "legend": False,
    }


def pair_looks(pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Look]:
    """Return the look of each pair of datasets; up to three pairs differ from all sources of a usual run."""
    looks = _OTHER_LOOKS[::-1]
    return {pair: looks[i % len(looks)] for i, pair in enumerate(pairs)}


def new_figure(width: float, height: float, note: str, texts: Iterable[str] = ()) -> Figure:
    """Return an empty figure of that size in inches, with ``note`` above it unless it is empty.

    ``texts`` are all texts from users that will be drawn: what is drawn next has fonts with their characters.
    """
    mpl.rcParams["font.family"] = families(texts)
    note = fitted(note, 0.98 * width, NOTE_SIZE, "bold")
    figure = Figure(figsize=(width, height), layout="constrained")
    if note:
        figure.suptitle(note, x=0.995, ha="right", fontsize=NOTE_SIZE, fontweight="bold", color="#B00020")
        grow(figure, note.count("\n"), NOTE_SIZE)
    return figure


def grow(figure: Figure, lines: int, size: float) -> None:
    """Make the figure higher, by that many lines of text of that size in points."""
    if lines:
        figure.set_figheight(figure.get_figheight() + lines * SPACING * size / 72)


def source_handles(sources: Sequence[str], looks: Mapping[str, Look]) -> list[Line2D]:
    """Return one legend entry per source."""
    return [Line2D([], [], label=looks[source].label, **looks[source].kwargs) for source in sources]


def seen_handles(seen: Seen, targets: Iterable[str], sources: Iterable[str]) -> list[Line2D]:
    """Return the legend entry of the mark if a result of ``targets`` and ``sources`` has it."""
    sources = set(sources)
    marked = any(sources & seen.get(target, {}).keys() for target in targets)
    return [Line2D([], [], ls="", label=SEEN_MARK)] if marked else []


def bar_lengths(middle: ArrayLike, lower: ArrayLike, upper: ArrayLike) -> NDArray[np.float64]:
    """Return the lengths below and above ``middle``, [2, points], of error bars from ``lower`` to ``upper``.

    If the configured percentiles exclude the middle, a length would be negative; it is then 0.
    """
    return np.maximum([np.subtract(middle, lower), np.subtract(upper, middle)], 0)


def draw_values(
    ax: Axes, x: ArrayLike, cells: pd.DataFrame, look: Look, marked: bool = False, **kwargs: Any
) -> None:
    """Draw a line through the column ``value``, with error bars from ``lower`` to ``upper``; ``marked`` ones have a dagger."""
    bars = bar_lengths(cells["value"], cells["lower"], cells["upper"])
    ax.errorbar(x, cells["value"], bars, **{**look.kwargs, "elinewidth": 0.8, "mew": 0.8, **kwargs})
    for place, upper in zip(x, cells["upper"], strict=True) if marked else ():
        ax.annotate(MARK, (place, upper), (0, 2), textcoords="offset points", ha="center", color=look.color)


def side_by_side(names: Sequence[Hashable], ticks: ArrayLike) -> dict[Hashable, float]:
    """Return a factor per name that sets its error bars beside those of the others on a logarithmic axis."""
    ticks = np.log10(np.unique(ticks))
    gap = np.diff(ticks).min() if len(ticks) > 1 else 1.0
    step = min(0.05, min(0.3, 0.75 * gap) / max(len(names), 1))
    return {name: 10 ** (step * (i - (len(names) - 1) / 2)) for i, name in enumerate(names)}


def log_ticks(ax: Axes, positions: Sequence[float], labels: Iterable[object]) -> None:
    """Make the x axis logarithmic, with ticks only at ``positions``."""
    ax.set_xscale("log")
    ax.set_xticks(positions, [str(label) for label in labels])
    ax.set_xticks([], minor=True)


def layer_ticks(ax: Axes, layers: Sequence[str]) -> None:
    """Name the layers below the x axis; long names are tilted, so that they do not overlap."""
    tilt = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if max(map(len, layers)) > 4 else {}
    ax.set_xticks(range(len(layers)), layers, **tilt)
    ax.set_xlabel("Layer")


def beside_row(label: str, inches: float) -> str:
    """Return ``label`` in lines that fit beside a row of panels of that height, written upwards."""
    return fitted(label, inches, mpl.rcParams["axes.labelsize"])


def plain_log_scale(axis: Axis) -> None:
    """Label a logarithmic axis with plain numbers; powers would need math in text."""
    lowest, highest = axis.get_view_interval()
    # Powers of ten alone would leave a narrow range with one tick or none.
    if highest < 10 * lowest:
        axis.set_major_locator(MaxNLocator(5))
    else:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if highest < 100 * lowest else (1,)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_locator(NullLocator())


def legend_below(figure: Figure, handles: Sequence[Artist]) -> None:
    """Put one legend below the panels, in as few rows as the width of the figure allows."""
    size = mpl.rcParams["legend.fontsize"]
    for handle in handles:
        handle.set_label(fitted(str(handle.get_label()), figure.get_figwidth() - 0.6, size))
    for rows in range(1, len(handles) + 1):
        legend = figure.legend(handles=handles, loc="outside lower center", ncols=-(-len(handles) // rows))
        if rows == len(handles) or legend.get_window_extent().width <= figure.bbox.width:
            break
        legend.remove()
    excess = legend.get_window_extent().height / figure.dpi - LEGEND_HEIGHT
    if excess > 0:
        figure.set_figheight(figure.get_figheight() + excess)


def title_panels(axes: Sequence[Axes], titles: Iterable[str], indent: float = 0, **kwargs: Any) -> None:
    """Write a title above each panel, in lines that fit; the figure grows with them.

    A title may reach to the next panel or to the edge of the figure, ``indent`` inches less.
    """
    figure = axes[0].figure
    figure.draw_without_rendering()  # lays the panels out: the labels of ticks take room from them
    places, widths = [ax.get_position() for ax in axes], []
    for own in places:
        beside = [p.x0 - 0.01 for p in places if p.x0 > own.x0 and p.y0 < own.y1 and own.y0 < p.y1]
        widths.append(figure.get_figwidth() * (min([*beside, 1]) - own.x0) - indent)
    titles = [printable(title) for title in titles]
    titles = [fitted(title, room, TITLE_SIZE) for title, room in zip(titles, widths, strict=True)]
    more: dict[float, int] = {}
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title, **kwargs)
        row = round(ax.get_position().y1, 2)
        more[row] = max(more.get(row, 0), title.count("\n"))
    grow(figure, sum(more.values()), TITLE_SIZE)


def label_panels(axes: Iterable[Axes], titles: Iterable[str]) -> None:
    """Write each panel's letter and title above it, on the left."""
    labelled = list(zip("abcdefghijklmnopqrstuvwxyz", axes, titles, strict=False))
    title_panels([ax for _, ax, _ in labelled], [title for _, _, title in labelled], INDENT, loc="left")
    for letter, ax, _ in labelled:
        lines = ax.get_title(loc="left").count("\n")
        # The letter is the title in the centre, moved to the left and beside the first line.
        ax.set_title(letter + lines * "\n", loc="center", x=0, ha="left", fontweight="bold")
        title = ax._left_title  # Matplotlib gives no other access
        title.set_transform(title.get_transform() + ScaledTranslation(INDENT, 0, ax.figure.dpi_scale_trans))


def save(figure: Figure, *paths: str | Path) -> None:
    """Write the figure to each of ``paths``, as PDF, SVG or PNG by its suffix, each whole or not at all.

    Equal figures give equal bytes. The last digits of the layout vary, so they are rounded; dates are left
    out.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for ax in figure.axes:
        ax.set_position(np.round(ax.get_position(original=True).bounds, 6))
    undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {"Software": None}}
    for path in paths:
        kind = Path(path).suffix.removeprefix(".")
        with replacing(path) as temporary:
            figure.savefig(temporary, format=kind, metadata=undated[kind])
