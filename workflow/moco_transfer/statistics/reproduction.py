"""Whether a run on the paper's datasets gives the paper's AUROCs, cell by cell.

The paper publishes medians over bootstrap replicates of the test set, with 5% and 95% percentiles, each for the mean over three labelled
subsets and one encoder. How much subsets and encoders scatter, it does not say. Here its numbers are taken to scatter as those of this run
do, so that the difference of both has twice the run's variance due to subsets and encoders, and the variances due to test patients of both.
Both were tested on the same images where the split is official, so the last counts too much rather than too little: a verdict
that an AUROC differs errs on the side of caution, and "yes" is said only if the whole interval is near zero.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from moco_transfer.statistics.evidence import EstimateKey, Evidence, comparable

CELL = ["target", "percent", "n_labeled", "mode", "source"]


def reproduction(
    estimates: pd.DataFrame, evidence: Evidence, reference: pd.DataFrame, margin: float, level: float
) -> pd.DataFrame:
    """Return the paper's and the run's AUROC of each cell that both have, with as many labels.

    ``estimates`` and ``evidence`` are what ``read_run`` returns, ``reference`` the paper's tables. Columns are target, percent,
    n_labeled, mode, source, auroc (the run's bootstrap median), paper, difference (run minus paper), lower and upper (its 1 - 2
    ``level`` interval), one_encoder and verdict: "yes" if the interval is within ``margin`` of zero, "no" if it excludes zero, "within its
    interval" if it includes zero but is wider, and "unknown" without an interval.
    """
    published = comparable(reference, estimates)
    papers = Evidence.from_tables(published)
    cell = ["target", "percent", "mode", "source"]
    both = estimates[estimates["selected"]].merge(published[[*cell, "auroc_median"]], on=cell)
    rows = []
    for row in both.itertuples():
        key = EstimateKey(row.target, row.source, row.mode, row.percent)
        if not evidence.has(key):  # its encoder may have seen the test images
            continue
        run, paper = evidence.contrast({key: 1.0}), papers.contrast({key: 1.0})
        difference = replace(
            run,
            effect=row.median - row.auroc_median,
            patients=run.patients + paper.patients,
            subsets=2 * run.subsets,
            encoders=2 * run.encoders,
        )
        lower, upper = difference.interval(level)
        rows.append(
            {
                **{name: getattr(row, name) for name in CELL},
                "auroc": row.median,
                "paper": row.auroc_median,
                "difference": difference.effect,
                "lower": lower,
                "upper": upper,
                "one_encoder": ", ".join(difference.one_encoder),
                "verdict": _verdict(lower, upper, margin),
            }
        )
    columns = [*CELL, "auroc", "paper", "difference", "lower", "upper", "one_encoder", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def _verdict(lower: float, upper: float, margin: float) -> str:
    if np.isnan(lower) or np.isnan(upper):
        return "unknown"
    if -margin < lower and upper < margin:
        return "yes"
    return "within its interval" if lower <= 0 <= upper else "no"
