"""What all figures share: sizes, fonts, the look of each source, the visible note, and saving in three formats.

A source has one colour, one marker and one line style in every figure; the colours are Okabe and Ito's, which differ
for colour-blind readers, and markers and line styles tell the sources apart in grey. Files hold no date and no random
identifier, so equal input gives equal bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from moco_transfer.files import replacing

ONE_COLUMN = 3.5
"""Width in inches of a figure in one column of a journal (89 mm)."""
TWO_COLUMNS = 7.2
"""Width in inches of a figure across two columns (183 mm)."""

RC = {
    "font.family": "DejaVu Sans",
    "font.size": 7,
    "axes.titlesize": 8,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.1,
    "lines.markersize": 4,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "moco-transfer",
    "savefig.dpi": 300,
}


@dataclass(frozen=True)
class Look:
    """How one source, or one pair of datasets, appears."""

    color: str
    marker: str
    line: str | tuple[float, tuple[float, ...]]


_DASH_DOT_DOT = (0, (5, 1.2, 1, 1.2, 1, 1.2))
_PAPER_LOOKS = {
    "none": Look("#000000", "o", "-"),
    "spine": Look("#0072B2", "s", "--"),
    "chest": Look("#D55E00", "^", "-."),
    "spine+chest": Look("#009E73", "D", ":"),
    "limited": Look("#CC79A7", "v", _DASH_DOT_DOT),
}
_OTHER_LOOKS = (
    Look("#56B4E9", "P", "-"),
    Look("#E69F00", "X", "--"),
    Look("#7F7F7F", "p", "-."),
    Look("#8C6D31", "<", ":"),
    Look("#5E3C99", ">", _DASH_DOT_DOT),
    Look("#882255", "h", "-"),
)


def source_looks(sources: Iterable[str]) -> dict[str, Look]:
    """Return the look of each source. The paper's five are fixed; the others follow the order given, in a cycle.

    Give every figure of a run the same sources, so that a source looks the same in all of them.
    """
    sources = list(dict.fromkeys(sources))
    others = [source for source in sources if source not in _PAPER_LOOKS]
    looks = {name: _OTHER_LOOKS[i % len(_OTHER_LOOKS)] for i, name in enumerate(others)}
    return {source: _PAPER_LOOKS.get(source) or looks[source] for source in sources}


def pair_looks(pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Look]:
    """Return the look of each pair of datasets; three pairs look like none of the paper's sources nor our first three."""
    looks = _OTHER_LOOKS[::-1]
    return {pair: looks[i % len(looks)] for i, pair in enumerate(pairs)}


def source_label(source: str) -> str:
    """Return what a legend calls a source: 'No MoCo', 'MoCo on spine + chest', 'MoCo (limited)'."""
    built_in = {
        "none": "No MoCo",
        "none-longer": "No MoCo, longer",
        "limited": "MoCo (limited)",
        "limited-steps": "MoCo (limited, more steps)",
    }
    return built_in.get(source) or "MoCo on " + source.replace("+", " + ")


def dataset_label(dataset: str, titles: Mapping[str, str]) -> str:
    """Return 'VinDr-SpineXR (spine)': the title, and the short name that legends use."""
    return f"{titles[dataset]} ({dataset})" if dataset in titles else dataset


def new_figure(width: float, height: float, note: str) -> Figure:
    """Return an empty figure of that size in inches, with ``note`` written above it when it is not empty."""
    figure = Figure(figsize=(width, height), layout="constrained")
    if note:
        figure.suptitle(note, x=0.995, ha="right", fontsize=7, fontweight="bold", color="#B00020")
    return figure


def source_handles(sources: Sequence[str], looks: Mapping[str, Look]) -> list[Line2D]:
    """Return one legend entry for each source."""
    return [
        Line2D([], [], color=looks[s].color, marker=looks[s].marker, ls=looks[s].line, label=source_label(s))
        for s in sources
    ]


def bar_lengths(middle: ArrayLike, lower: ArrayLike, upper: ArrayLike) -> NDArray[np.float64]:
    """Return the lengths below and above ``middle``, [2, points], of bars from ``lower`` to ``upper``.

    A configured interval need not hold the median, and a bar has no negative length: it is then 0.
    """
    return np.maximum([np.subtract(middle, lower), np.subtract(upper, middle)], 0)


def legend_below(figure: Figure, handles: Sequence[Artist]) -> None:
    """Put one legend below the panels, in as few rows as the figure's width allows."""
    for rows in range(1, len(handles) + 1):
        legend = figure.legend(handles=handles, loc="outside lower center", ncols=-(-len(handles) // rows))
        if rows == len(handles) or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


def label_panels(axes: Iterable[Axes], titles: Iterable[str]) -> None:
    """Give each panel its letter and its title, on the left above it."""
    for letter, ax, title in zip("abcdefghijklmnopqrstuvwxyz", axes, titles, strict=False):
        ax.set_title(f"$\\bf{{{letter}}}$  {title}", loc="left")


def settle(figure: Figure) -> None:
    """Lay the page out once, to a millionth of it: the solver's last digits vary, and the bytes must not."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for ax in figure.axes:
        ax.set_position(np.round(ax.get_position(original=True).bounds, 6))


def save(figure: Figure, pdf: str | Path, svg: str | Path, png: str | Path) -> None:
    """Write the figure in three formats, each whole or not at all; equal figures give equal bytes."""
    nothing = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {"Software": None}}
    with mpl.rc_context(RC):
        for path, kind in ((pdf, "pdf"), (svg, "svg"), (png, "png")):
            with replacing(path) as temporary:
                figure.savefig(temporary, format=kind, metadata=nothing[kind])
