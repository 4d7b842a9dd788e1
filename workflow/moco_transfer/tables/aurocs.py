"""Tables 2 and 3: the test AUROC of one target by percentage of labels, mode and source."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

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
    whole_numbers = dict.fromkeys(("n_labeled", "epochs", "seeds", "paper_n_labeled"), "Int64")
    return pd.concat([merged, alone], ignore_index=True).astype(whole_numbers)


def _source_order(sources: pd.Series) -> pd.Series:
    """Return a sort key: the paper's columns first, in its order, then ours by name."""
    known = ["none", "spine", "chest", "spine+chest", "limited"]
    return sources.map(lambda source: (known.index(source) if source in known else len(known), source))
