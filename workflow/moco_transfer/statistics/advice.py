"""Which way to train for a given number of labels: the best source and mode, and which others may be best.

The best of many estimates is partly the luckiest, so neither its AUROC nor its lead can be taken at face
value. What can be stated with confidence is a confidence set of the best (Gupta 1965; Edwards and Hsu 1983):
every way to train that is not significantly worse than any other. All ways are compared with all others, not
only with the winner, so the choice of the winner needs no further correction. A way leaves the set if the
smallest of its one-sided p-values against the others, times their number (Bonferroni), is below the level;
the truly best way leaves it no more often than that. The same bounds, read upwards, say how much AUROC one
may lose by taking a way that is not the best (Hsu's multiple comparisons with the best, 1984).

As everywhere in ``evidence``, each statement is about the encoders and the selected budgets of this run. In
simulations, the 5% set of eight equal ways leaves out the best in 2 to 5% of runs, with two subsets or
twenty, whether the subsets' variance equals that of the test set or is four times as large.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import pandas as pd

from moco_transfer.statistics.contrast import Contrast
from moco_transfer.statistics.evidence import EstimateKey, Evidence

COLUMNS = [
    *("target", "percent", "n_labeled", "source", "mode", "epochs", "n_subsets", "auroc"),
    *("best", "behind", "p_best", "may_be_best", "may_cost", "may_have_seen"),
]


def advice_table(
    estimates: pd.DataFrame,
    evidence: Evidence,
    level: float,
    seen: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
) -> pd.DataFrame:
    """Return every way to train for each target and percentage, best AUROC first, with how sure that is.

    ``estimates`` holds the sources that may be chosen, in the columns of ``evaluation.evaluate_target``;
    end-to-end training counts only at its selected budget. ``seen`` gives the reasons, by target and source, why an encoder may
    have seen the test images: these ways come last, are compared with no other and are never the best. Returns target, percent,
    n_labeled, source, mode, epochs, n_subsets, auroc, best (true for at most one way, that with the highest AUROC), behind (that AUROC minus this one), p_best (the
    p-value of "this is the best", with Bonferroni's correction over the others), may_be_best (p_best is not
    below ``level``; this set contains the truly best way in 1 - ``level`` of runs) and may_cost (at the same
    confidence, the most AUROC that one may lose by taking this way instead of the best) and may_have_seen (the reason, or
    None). If standard errors are unknown, p_best and may_cost are NaN and nothing is ruled out.
    """
    chosen = estimates[estimates["selected"]]
    rows = []
    for _, of_target in chosen.groupby("target", sort=False):
        reasons = seen.get(of_target["target"].iloc[0], {})
        for percent in sorted(set(of_target["percent"]), key=float):
            every = of_target[of_target["percent"] == percent]
            every = every.sort_values("auroc", ascending=False, kind="stable")
            excluded = every["source"].isin(reasons.keys())
            ways = every[~excluded]
            keys = [EstimateKey(way.target, way.source, way.mode, way.percent) for way in ways.itertuples()]
            for way, key in zip(ways.itertuples(), keys, strict=True):
                others = [evidence.contrast({other: 1.0, key: -1.0}) for other in keys if other != key]
                p_best = _p_best(others)
                rows.append(
                    {
                        **{name: getattr(way, name) for name in COLUMNS[:8]},
                        "best": key == keys[0] and not np.isnan(way.auroc),
                        "behind": ways["auroc"].iloc[0] - way.auroc,
                        "p_best": p_best,
                        "may_be_best": not p_best < level,
                        "may_cost": _may_cost(others, level),
                        "may_have_seen": None,
                    }
                )
            for way in every[excluded].itertuples():
                named = {name: getattr(way, name) for name in COLUMNS[:8]}
                untested = {"best": False, "behind": np.nan, "p_best": np.nan, "may_cost": np.nan}
                rows.append(named | untested | {"may_be_best": False, "may_have_seen": reasons[way.source]})
    return pd.DataFrame(rows, columns=COLUMNS)


def _p_best(others: list[Contrast]) -> float:
    """Return the p-value of "this way is the best", from the contrasts of each other way minus this one."""
    p = np.array([other.p_above(0.0) for other in others])
    if np.isnan(p).all():
        return float("nan") if others else 1.0
    return float(min(np.nanmin(p) * len(others), 1.0))


def _may_cost(others: list[Contrast], level: float) -> float:
    """Return the largest upper bound of the others' lead over this way, from 0 (surely the best) to 1."""
    if not others:
        return 0.0
    # A standard error of zero shows a degenerate sample, not certainty.
    ends = [other.interval(level / len(others))[1] if other.se > 0 else float("nan") for other in others]
    return float(np.clip(np.max(ends), 0.0, 1.0))
