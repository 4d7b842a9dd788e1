"""Which way to train for a number of labels: the best source and mode, and which others may be the best instead.

The best of many estimates is partly the luckiest, so neither its AUROC nor its lead can be taken at face value. What is
sure is a confidence set of the best (Gupta 1965; Edwards and Hsu 1983): every way that is not significantly worse than
any other. All ways are compared with all, not with the winner alone, so that the choice of the winner costs nothing. A
way leaves the set where the smallest of its one-sided p-values against the others, times their number (Bonferroni), is
below the level; the truly best leaves it that seldom. The same bounds, read upwards, say what taking a way that is not
the best may cost (Hsu's multiple comparisons with the best, 1984). As in all of ``evidence``, each is a statement about
the encoders and the selected budgets of this run: neither the scatter between repeated pretrainings nor that of the
selection, by which other validation images might have chosen another budget, is counted. Simulated, the set of eight
equal ways at 5% leaves out the best in 2 to 5% of runs, with two subsets or twenty, whether the subsets' variance is that
of the test set or four times as much.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from moco_transfer.statistics.evidence import Cell, Contrast, Evidence

COLUMNS = [
    *("target", "percent", "n_labeled", "source", "mode", "epochs", "n_subsets", "auroc"),
    *("best", "behind", "p_best", "may_be_best", "may_cost"),
]


def advice_table(estimates: pd.DataFrame, evidence: Evidence, level: float) -> pd.DataFrame:
    """Return every way to train for each target and percentage, best AUROC first, with how sure that is.

    ``estimates`` holds the sources that may be chosen, with the columns of ``evaluation.evaluate_target``; end-to-end
    cells count at their selected budget alone. Returns target, percent, n_labeled, source, mode, epochs, n_subsets, auroc, best
    (the highest AUROC), behind (that AUROC less this one), p_best (of "this is the best", Bonferroni's over the others),
    may_be_best (p_best is not below ``level``: the set that holds the truly best in 1 - ``level`` of runs) and may_cost: at
    the same confidence, the most AUROC that taking this way instead of the best may lose.
    p_best and may_cost are NaN where standard errors are unknown, and nothing is then ruled out.
    """
    chosen = estimates[estimates["selected"]]
    rows = []
    for _, of_target in chosen.groupby("target", sort=False):
        for percent in sorted(set(of_target["percent"]), key=float):
            ways = of_target[of_target["percent"] == percent]
            rows += _ways(ways.sort_values("auroc", ascending=False, kind="stable"), evidence, level)
    return pd.DataFrame(rows, columns=COLUMNS)


def _ways(ways: pd.DataFrame, evidence: Evidence, level: float) -> list[dict]:
    """Return the rows of one target and percentage, in the order of ``ways``."""
    cells = [Cell(way.target, way.source, way.mode, way.percent) for way in ways.itertuples()]
    rows = []
    for way, cell in zip(ways.itertuples(), cells, strict=True):
        others = [evidence.contrast({other: 1.0, cell: -1.0}) for other in cells if other != cell]
        p_best = _p_best(others)
        rows.append(
            {
                **{name: getattr(way, name) for name in COLUMNS[:8]},
                "best": cell == cells[0],
                "behind": ways["auroc"].iloc[0] - way.auroc,
                "p_best": p_best,
                "may_be_best": not p_best < level,
                "may_cost": _may_cost(others, level),
            }
        )
    return rows


def _p_best(others: list[Contrast]) -> float:
    """Return the p-value of "none of the others, each less this way, is above 0"."""
    p = np.array([other.p_above(0.0) for other in others])
    if np.isnan(p).all():
        return float("nan") if others else 1.0
    return float(min(np.nanmin(p) * len(others), 1.0))


def _may_cost(others: list[Contrast], level: float) -> float:
    """Return the largest upper bound of the others' lead over this way, from 0 (the best for sure) to 1."""
    if not others:
        return 0.0
    # A standard error of zero is a degenerate sample, not certainty.
    ends = [other.interval(level / len(others))[1] if other.se > 0 else float("nan") for other in others]
    return float(np.clip(np.max(ends), 0.0, 1.0))
