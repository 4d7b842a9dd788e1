"""What the table scripts share: writing a table in four formats, and the text of its cells.

Each table is written as CSV for machines, and as Markdown, LaTeX (booktabs) and self-contained HTML for
people. Several tables may share a page. Columns may have two levels; the upper level is a heading over several
columns. A note, such as a warning that the data are phantoms, is printed with the caption and fills the CSV's
column ``data``, so that no number is ever read without it.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd

from moco_transfer import escape
from moco_transfer.experiment import MODES, Kind
from moco_transfer.files import write_csv, write_text
from moco_transfer.report.names import (
    MARK,
    MODE_HEADINGS,
    MODE_HEADINGS_WITH_ENCODERS,
    Seen,
    source_title,
)

STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;margin:2rem;color:#222}"
    "table{border-collapse:collapse;border-top:2px solid;border-bottom:2px solid;margin-bottom:2rem}"
    "caption{text-align:left;padding-bottom:.7rem;max-width:min(60rem,calc(100vw - 4rem))}"
    "th,td{padding:.25rem .8rem;text-align:left;vertical-align:top}"
    "thead tr:last-child th{border-bottom:1px solid}th[colspan]{text-align:center}"
    "tbody tr:nth-child(even){background:#f4f4f4}.note{font-weight:bold;color:#a33}"
)
PAPER_SOURCES = ["none", "spine", "chest", "spine+chest", "limited"]


def write_table(
    frame: pd.DataFrame,
    paths: Mapping[str, str | Path],
    caption: str,
    note: str = "",
    records: pd.DataFrame | None = None,
) -> None:
    """Write ``frame`` to the paths 'csv', 'md', 'tex' and 'html'.

    Missing cells stay empty. If ``frame`` holds rounded text, ``records`` holds the numbers for the CSV. The
    CSV's column ``data`` is ``note``, or 'real' without a note.
    """
    if records is None:
        records = frame.set_axis(_flat_names(frame), axis=1)
    write_tables([(frame, caption)], paths, note, records)


def write_tables(
    tables: Sequence[tuple[pd.DataFrame, str]],
    paths: Mapping[str, str | Path],
    note: str,
    records: pd.DataFrame,
) -> None:
    """Write ``tables``, each with its caption, below each other to 'md', 'tex' and 'html', and ``records`` to 'csv'."""
    write_csv(records.assign(data=note or "real"), paths["csv"])
    (first, caption), *others = tables
    pages = [markdown(first, caption, note), *(markdown(*other) for other in others)]
    write_text(paths["md"], "\n".join(pages))
    # Each of them may be moved to another page of a paper.
    write_text(paths["tex"], "\n".join(latex(frame, caption, note) for frame, caption in tables))
    write_text(paths["html"], html_page(tables, note))


def markdown(frame: pd.DataFrame, caption: str, note: str = "") -> str:
    """Return ``frame`` as a Markdown table below its caption; upper headings are joined to the lower ones."""
    cells = _cells(frame, escape.markdown)
    names = _flat_names(cells)
    lines = ["| " + " | ".join(row) + " |" for row in [names, ["---"] * len(names), *cells.to_numpy()]]
    warning = [f"**{escape.markdown(note)}**", ""] if note else []
    return "\n".join([*warning, escape.markdown(caption), "", *lines, ""])


def latex(frame: pd.DataFrame, caption: str, note: str = "") -> str:
    """Return ``frame`` as a LaTeX table that needs the packages booktabs and graphicx.

    Columns with long text wrap; a table wider than the line is scaled down to the line.
    """
    cells = _cells(frame, escape.latex)
    wraps = [frame.iloc[:, i].astype(str).str.len().max() > 40 for i in range(frame.shape[1])]
    tabular = cells.to_latex(
        index=False,
        escape=False,
        column_format="".join("p{5cm}" if wrap else "l" for wrap in wraps),
        multicolumn_format="c",
    ).strip()
    if frame.columns.nlevels > 1:
        tabular = tabular.replace("\\\\\n", f"\\\\\n{_rules_below(frame.columns.get_level_values(0))}\n", 1)
    warning = rf"\textbf{{{escape.latex(note)}.}} " if note else ""
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{warning}{escape.latex(caption)}}}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            tabular + "}",
            r"\end{table}",
            "",
        ]
    )


def html_page(tables: Sequence[tuple[pd.DataFrame, str]], note: str = "") -> str:
    """Return ``tables``, each with its caption, as one HTML page that loads nothing."""
    title = tables[0][1].split(".")[0]
    warning = f'<span class="note">{escape.html(note)}.</span> ' if note else ""
    lines = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        f"<title>{escape.html(title)}</title>",
        f"<style>{STYLE}</style></head><body>",
    ]
    for frame, caption in tables:
        with pd.option_context("display.max_colwidth", None):
            table = _cells(frame, escape.printable).to_html(index=False, border=0)
        lines += [f"<table><caption>{warning}{escape.html(caption)}</caption>", table.partition(">")[2]]
    return "\n".join([*lines, "</body></html>", ""])


def html_parts(page: str) -> tuple[str, str]:
    """Return the title of a page of ``html_page`` as text, and what it shows as HTML, for a place in another page."""
    title = page.partition("<title>")[2].partition("</title>")[0]
    return html.unescape(title), page.partition("<body>")[2].rpartition("</body>")[0].strip()


def with_seen(frame: pd.DataFrame, seen: Seen) -> pd.DataFrame:
    """Return ``frame`` with the column may_have_seen: why a row's encoder may have seen its target's test images, or blank."""
    pairs = zip(frame["target"], frame["source"], strict=True)
    return frame.assign(may_have_seen=[seen.get(target, {}).get(source) for target, source in pairs])


def auroc_grid(
    cells: pd.DataFrame, labels: Sequence[str], sources: Mapping[str, Kind], suffix: str = ""
) -> pd.DataFrame:
    """Return "AUROC (lower–upper)" as text, with one row per ``labels`` and one column per mode and source.

    ``cells`` has the columns mode, source, auroc, lower, upper and may_have_seen, and two or more columns ``labels``. Rows
    keep the order of ``cells``; columns follow ``sources``, then the paper's others. ``suffix`` is added to the headings of the modes.
    """
    texts = [auroc_text(*values) for values in cells[["auroc", "lower", "upper"]].to_numpy(dtype=float)]
    marks = cells["may_have_seen"].map(lambda reason: "" if pd.isna(reason) else f" {MARK}")
    texts = [text and text + mark for text, mark in zip(texts, marks, strict=True)]
    grid = cells.assign(text=texts).pivot(index=labels, columns=["mode", "source"], values="text")
    rows = pd.MultiIndex.from_frame(cells[labels].drop_duplicates())
    order = list(dict.fromkeys([*sources, *PAPER_SOURCES]))
    columns = sorted(grid.columns, key=lambda column: (MODES.index(column[0]), order.index(column[1])))
    grid = (
        grid.reindex(index=rows, columns=pd.MultiIndex.from_tuples(columns)).fillna("").reset_index(drop=True)
    )
    head = rows.to_frame(index=False)
    names = [("", label) for label in labels]
    kinds = {source: sources.get(source, "moco") for _, source in columns}
    headings = MODE_HEADINGS_WITH_ENCODERS if "encoder" in kinds.values() else MODE_HEADINGS
    names += [(headings[mode] + suffix, source_title(source, kinds[source])) for mode, source in columns]
    return pd.concat([head, grid], axis=1).set_axis(pd.MultiIndex.from_tuples(names), axis=1)


def labeled_text(cells: pd.DataFrame) -> pd.Series:
    """Return '10% (580)', the percentage and the number of labelled images, for each row."""
    return cells["percent"] + "% (" + cells["n_labeled"].astype(str) + ")"


def auroc_text(auroc: float, lower: float = np.nan, upper: float = np.nan) -> str:
    """Return '0.812 (0.790–0.834)'; no interval if it is unknown, and nothing if the AUROC is unknown."""
    if np.isnan(auroc):
        return ""
    return f"{auroc:.3f}" + ("" if np.isnan(lower) else f" ({lower:.3f}–{upper:.3f})")


def effect_text(effect: float, lower: float, upper: float) -> str:
    """Return '+0.012 (-0.003 to +0.027)'; no interval if it is unknown, nothing if the effect is unknown."""
    if np.isnan(effect):
        return ""
    return f"{effect:+.3f}" + ("" if np.isnan(lower) else f" ({lower:+.3f} to {upper:+.3f})")


def p_value_text(p: float) -> str:
    """Return a p-value with four decimals, '< 0.0001' if it is smaller, and nothing if it is unknown."""
    if np.isnan(p):
        return ""
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}"


def _cells(frame: pd.DataFrame, escaped: Callable[[str], str]) -> pd.DataFrame:
    """Return ``frame`` with its cells and column names as escaped text."""
    return frame.map(lambda cell: "" if pd.isna(cell) else escaped(str(cell))).rename(columns=escaped)


def _flat_names(frame: pd.DataFrame) -> list[str]:
    levels = [frame.columns.get_level_values(level) for level in range(frame.columns.nlevels)]
    return [": ".join(filter(None, names)) for names in zip(*levels, strict=True)]


def _rules_below(headings: Sequence[str]) -> str:
    """Return the LaTeX rules below the headings, each as wide as its columns."""
    runs = [
        (name, [i for i, _ in run]) for name, run in groupby(enumerate(headings, 1), key=lambda pair: pair[1])
    ]
    return " ".join(rf"\cmidrule(lr){{{columns[0]}-{columns[-1]}}}" for name, columns in runs if name)
