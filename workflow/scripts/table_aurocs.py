"""Tables 2 and 3: the test AUROC of one target by percentage, mode and source, with the paper's."""

import json
from collections.abc import Mapping

import numpy as np
import pandas as pd

from moco_transfer.errors import in_one_line
from moco_transfer.experiment import Kind
from moco_transfer.files import read_parquet
from moco_transfer.report.names import interval_name, one_vs_rest_note, seen_note
from moco_transfer.report.tables import auroc_grid, labeled_text, with_seen, write_table
from moco_transfer.statistics.evidence import comparable, read_reference

PAPERS = (
    " The paper's values are medians over bootstrap replicates of its test set, and beside them stand those of this run; all "
    "other numbers are of the test set itself."
)


def main(inputs, outputs, params) -> None:
    titles, targets = json.loads(params.titles), [params.target]
    title = titles[params.target]
    estimates = read_parquet(inputs.estimates)
    estimates = with_seen(estimates[estimates["source"].isin(list(params.sources))], params.seen)
    reference = read_reference(*inputs.reference) if inputs.reference else None
    write_table(
        auroc_summary(estimates, reference, title, params.sources),
        outputs,
        f"Table {params.number}. The test AUROC on {title} of models finetuned linearly and end to "
        "end on different proportions of labelled data (mean over labelled subsets), with "
        f"{interval_name(params.percentiles)}, of the bootstrap over the test set, resampled by {params.unit}. "
        "Intervals hold only the test set's variance, not that between labelled subsets and encoders. Rows with a macro "
        "average weight all classes equally."
        + (PAPERS if reference is not None else "")
        + one_vs_rest_note(params.multiclass, targets, titles)
        + seen_note(params.seen, targets),
        params.note,
        auroc_records(estimates, reference),
    )


def auroc_summary(
    estimates: pd.DataFrame, reference: pd.DataFrame | None, title: str, sources: Mapping[str, Kind]
) -> pd.DataFrame:
    """Return "AUROC (lower–upper)" of the selected budgets as text.

    ``estimates`` is the frame of ``evaluate_target`` with the column may_have_seen, ``reference`` the paper's table of the same
    target or None, ``title`` the target's name in the headings. If there are several classes, a second row per
    percentage has the macro average; if the paper has as many labels there, the last two rows are bootstrap medians: ours and
    the paper's.
    """
    selected = estimates[estimates["selected"]]
    parts = {"this run": selected}
    if not np.allclose(selected["macro"], selected["auroc"], equal_nan=True):
        parts["this run, macro"] = selected.assign(auroc=selected["macro"], lower=np.nan, upper=np.nan)
    paper = None if reference is None else comparable(reference, estimates)
    if paper is not None and len(paper):
        beside = selected[selected["percent"].isin(paper["percent"])]
        parts["this run, median"] = beside.assign(auroc=beside["median"])
        parts["paper, median"] = paper.rename(
            columns={"auroc_median": "auroc", "q05": "lower", "q95": "upper"}
        )
    cells = pd.concat([part.assign(Result=name) for name, part in parts.items()], ignore_index=True)
    cells = cells.sort_values("percent", key=lambda percents: percents.astype(float), kind="stable")
    cells["Lab. % (#)"] = labeled_text(cells)
    table = auroc_grid(cells, ["Lab. % (#)", "Result"], sources, f" on {title}")
    return table if len(parts) > 1 else table.drop(columns=[("", "Result")])


def auroc_records(estimates: pd.DataFrame, reference: pd.DataFrame | None) -> pd.DataFrame:
    """Return every estimate, with all budgets.

    If there is a ``reference``, columns paper_n_labeled, paper_median, paper_lower and paper_upper hold the
    paper's values beside the selected estimate of the same cell with as many labels. A cell of the paper that
    was not run has its own row.
    """
    if reference is None:
        return estimates
    cell = ["target", "source", "mode", "percent", "selected"]
    names = {"n_labeled": "n_labeled", "auroc_median": "median", "q05": "lower", "q95": "upper"}
    published = (
        comparable(reference, estimates)
        .rename(columns={old: f"paper_{new}" for old, new in names.items()})
        .assign(selected=True)
    )
    merged = estimates.merge(published, on=cell, how="left")
    run = pd.MultiIndex.from_frame(estimates[cell])
    not_run = published[~pd.MultiIndex.from_frame(published[cell]).isin(run)]
    whole_numbers = dict.fromkeys(("n_labeled", "epochs", "n_subsets", "paper_n_labeled"), "Int64")
    return pd.concat([merged, not_run], ignore_index=True).astype(whole_numbers)


if "snakemake" in globals():
    with in_one_line():
        main(snakemake.input, snakemake.output, snakemake.params)
