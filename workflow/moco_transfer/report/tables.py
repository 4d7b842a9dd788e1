"""A table written four times: CSV for machines, Markdown, LaTeX (booktabs) and self-contained HTML for people.

Columns may have two levels, the upper one a heading over several columns. A note, such as that the data are phantoms, is
printed with the caption and fills a column ``data`` of the CSV, so that no number travels without it.


Tables 2 and 3: the test AUROC of one target by percentage of labels, mode and source.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd

from moco_transfer.files import write_csv, write_text

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


MODES = {"linear": "MoCo + Linear Finetuning", "end_to_end": "MoCo + End-to-end Finetuning"}


def source_title(source: str) -> str:
    """Return a source's name in the tables: No MoCo, Spine MoCo, Spine+Chest MoCo, Limited MoCo."""
    if source == "none":
        return "No MoCo"
    return "+".join(part.capitalize() for part in source.split("+")) + " MoCo"


def interval_name(percentiles: Sequence[float]) -> str:
    """Return what a bootstrap interval between two percentiles is.

    >>> interval_name([5, 95])
    '5%-95% percentiles, a 90% interval'
    """
    lower, upper = percentiles
    return f"{lower:g}%-{upper:g}% percentiles, a {upper - lower:g}% interval"


def auroc_table(
    estimates: pd.DataFrame, target: str, title: str, reference: pd.DataFrame | None
) -> pd.DataFrame:
    """Return the table of ``target`` for people: "median (lower–upper)" of the selected budgets.

    ``estimates`` is the frame of ``evaluation.evaluate_target`` (other targets are ignored), ``title`` names the target
    in the headings, ``reference`` holds the paper's tables (target, percent, mode, source, auroc_median, q05, q95) or is
    None. Columns have two levels, mode over source. Where there are several classes, a second row of each percentage holds
    the macro average of the test set itself; with a reference the last row is the paper's.
    """
    ours = estimates[(estimates["target"] == target) & estimates["selected"]]
    parts = {"this run": ours}
    if not np.allclose(ours["macro"], ours["auroc"], equal_nan=True):
        parts["this run, macro"] = ours.assign(median=ours["macro"], lower=np.nan, upper=np.nan)
    if reference is not None:
        published = reference[reference["target"] == target]
        parts["paper"] = published.rename(columns={"auroc_median": "median", "q05": "lower", "q95": "upper"})
    every = pd.concat([part.assign(result=name) for name, part in parts.items()], ignore_index=True)
    columns = mode_columns(every)
    shown = {
        (row.percent, row.result, row.mode, row.source): auroc_text(row.median, row.lower, row.upper)
        for row in every.itertuples()
    }
    labels = {(row.percent, row.result): f"{row.percent}% ({row.n_labeled})" for row in every.itertuples()}
    rows = []
    for percent, result in sorted(labels, key=lambda row: (float(row[0]), list(parts).index(row[1]))):
        values = [shown.get((percent, result, mode, source), "") for mode, source in columns]
        rows.append([labels[percent, result], *([result] if len(parts) > 1 else []), *values])
    head = [("", "Lab. % (#)"), *([("", "Result")] if len(parts) > 1 else [])]
    names = head + [(f"{MODES[mode]} on {title}", source_title(source)) for mode, source in columns]
    return pd.DataFrame(rows, columns=pd.MultiIndex.from_tuples(names))


def mode_columns(cells: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the (mode, source) pairs of ``cells`` in the order of the paper's columns."""
    return [
        (mode, source)
        for mode in MODES
        for source in dict.fromkeys(cells.loc[cells["mode"] == mode, "source"].sort_values(key=_source_order))
    ]


def auroc_text(auroc: float, lower: float, upper: float) -> str:
    """Return '0.812 (0.790–0.834)', without an interval where there is none, and nothing without an AUROC."""
    if np.isnan(auroc):
        return ""
    return f"{auroc:.3f}" + ("" if np.isnan(lower) else f" ({lower:.3f}–{upper:.3f})")


def auroc_records(estimates: pd.DataFrame, target: str, reference: pd.DataFrame | None) -> pd.DataFrame:
    """Return every estimate of ``target``, all budgets among them, as records for machines.

    With a ``reference`` the paper's values stand beside the selected estimate of the same cell, as paper_n_labeled,
    paper_median, paper_lower and paper_upper; a cell of the paper that was not run is a record of its own.
    """
    ours = estimates[estimates["target"] == target].reset_index(drop=True)
    if reference is None:
        return ours
    cell = ["target", "source", "mode", "percent", "selected"]
    renamed = {"n_labeled": "paper_n_labeled", "auroc_median": "paper_median"}
    renamed |= {"q05": "paper_lower", "q95": "paper_upper"}
    published = reference[reference["target"] == target].rename(columns=renamed).assign(selected=True)
    published = published[[*cell, *renamed.values()]]
    merged = ours.merge(published, on=cell, how="left")
    known = pd.MultiIndex.from_frame(ours[cell])
    alone = published[~pd.MultiIndex.from_frame(published[cell]).isin(known)]
    whole_numbers = dict.fromkeys(("n_labeled", "epochs", "n_subsets", "paper_n_labeled"), "Int64")
    return pd.concat([merged, alone], ignore_index=True).astype(whole_numbers)


def _source_order(sources: pd.Series) -> pd.Series:
    """Return a sort key: the paper's columns first, in its order, then ours by name."""
    known = ["none", "spine", "chest", "spine+chest", "limited"]
    return sources.map(lambda source: (known.index(source) if source in known else len(known), source))
