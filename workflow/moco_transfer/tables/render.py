"""A table written four times: CSV for machines, Markdown, LaTeX (booktabs) and self-contained HTML for people.

Columns may have two levels, the upper one a heading over several columns. A note, such as that the data are phantoms, is
printed with the caption and fills a column ``data`` of the CSV, so that no number travels without it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path

import pandas as pd

from moco_transfer.atomic import write_csv, write_text

STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;margin:2rem;color:#222}"
    "table{border-collapse:collapse;border-top:2px solid;border-bottom:2px solid}"
    "caption{text-align:left;padding-bottom:.7rem;max-width:60rem}"
    "th,td{padding:.25rem .8rem;text-align:left;vertical-align:top}"
    "thead tr:last-child th{border-bottom:1px solid}th[colspan]{text-align:center}"
    "tbody tr:nth-child(even){background:#f4f4f4}.note{font-weight:bold;color:#a33}"
)
LATEX = {
    "\\": r"\textbackslash{}",
    **{character: "\\" + character for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "–": "--",
}


def write_table(
    frame: pd.DataFrame,
    paths: Mapping[str, str | Path],
    caption: str,
    note: str = "",
    records: pd.DataFrame | None = None,
) -> None:
    """Write ``frame`` to ``paths``, by format: 'csv', 'md', 'tex', 'html', or some of them.

    The cells of ``frame`` are text, or are turned into it; missing ones stay empty. ``records`` is what the CSV holds in
    its stead, where a table for people rounds and arranges. The CSV's column ``data`` is ``note``, or 'real' without one.
    Raises KeyError for another format.
    """
    writers = {"md": markdown, "tex": latex, "html": html_page}
    for form, path in paths.items():
        if form == "csv":
            rows = frame.set_axis(_flat_names(frame), axis=1) if records is None else records
            write_csv(rows.assign(data=note or "real"), path)
        else:
            write_text(path, writers[form](frame, caption, note))


def markdown(frame: pd.DataFrame, caption: str, note: str = "") -> str:
    """Return ``frame`` as a Markdown table under its caption; an upper heading is joined to those below it."""
    names = [_markdown_cell(name) for name in _flat_names(frame)]
    rows = [[_markdown_cell(cell) for cell in row] for row in _text_rows(frame)]
    lines = ["| " + " | ".join(row) + " |" for row in [names, ["---"] * len(names), *rows]]
    warning = [f"**{_markdown_cell(note)}**", ""] if note else []
    return "\n".join([*warning, _markdown_cell(caption), "", *lines, ""])


def latex(frame: pd.DataFrame, caption: str, note: str = "") -> str:
    """Return ``frame`` as a LaTeX table environment that needs the packages booktabs and graphicx.

    Columns with long text wrap; a table wider than the line is scaled down to it.
    """
    levels, rows = _levels(frame), _text_rows(frame)
    wraps = [any(len(row[i]) > 40 for row in rows) for i in range(frame.shape[1])]
    warning = rf"\textbf{{{_latex_cell(note)}.}} " if note else ""
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{warning}{_latex_cell(caption)}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{''.join('p{5cm}' if wrap else 'l' for wrap in wraps)}}}",
        r"\toprule",
    ]
    for upper in levels[:-1]:
        spans = _spans(upper)
        heads = [rf"\multicolumn{{{n}}}{{c}}{{{_latex_cell(name)}}}" for name, _, n in spans]
        rules = [rf"\cmidrule(lr){{{start + 1}-{start + n}}}" for name, start, n in spans if name]
        lines += [" & ".join(heads) + r" \\", " ".join(rules)]
    lines += [" & ".join(map(_latex_cell, levels[-1])) + r" \\", r"\midrule"]
    lines += [" & ".join(map(_latex_cell, row)) + r" \\" for row in rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}}", r"\end{table}", ""])


def html_page(frame: pd.DataFrame, caption: str, note: str = "") -> str:
    """Return ``frame`` as one HTML page that loads nothing."""
    levels = _levels(frame)
    head = [
        "".join(
            f'<th scope="colgroup" colspan="{n}">{html.escape(name)}</th>' for name, _, n in _spans(upper)
        )
        for upper in levels[:-1]
    ]
    head.append("".join(f'<th scope="col">{html.escape(name)}</th>' for name in levels[-1]))
    body = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in _text_rows(frame)]
    warning = f'<span class="note">{html.escape(note)}.</span> ' if note else ""
    lines = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{html.escape(caption.split(".")[0])}</title>',
        f"<style>{STYLE}</style></head><body><table>",
        f"<caption>{warning}{html.escape(caption)}</caption>",
        "<thead>",
        *(f"<tr>{row}</tr>" for row in head),
        "</thead><tbody>",
        *(f"<tr>{row}</tr>" for row in body),
        "</tbody></table></body></html>",
        "",
    ]
    return "\n".join(lines)


def _levels(frame: pd.DataFrame) -> list[list[str]]:
    """Return the column names level by level, the lowest last."""
    columns = frame.columns
    return [[str(name) for name in columns.get_level_values(level)] for level in range(columns.nlevels)]


def _flat_names(frame: pd.DataFrame) -> list[str]:
    return [": ".join(filter(None, names)) for names in zip(*_levels(frame), strict=True)]


def _spans(names: list[str]) -> list[tuple[str, int, int]]:
    """Return the runs of equal names: name, first column, number of columns."""
    runs = [(name, [i for i, _ in run]) for name, run in groupby(enumerate(names), key=lambda pair: pair[1])]
    return [(name, columns[0], len(columns)) for name, columns in runs]


def _text_rows(frame: pd.DataFrame) -> list[list[str]]:
    return [["" if pd.isna(cell) else str(cell) for cell in row] for row in frame.itertuples(index=False)]


def _markdown_cell(text: str) -> str:
    return re.sub(r"([\\|*_<>`\[\]])", r"\\\1", text).replace("\n", " ")


def _latex_cell(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in text)
