"""Which way to train for a given number of labels: the choice, what it is worth, and which others may be best.

The best of many estimates is partly the luckiest. So the validation images choose a way, and the test images, which had
no say, tell what it is worth: luck with the test patients has no part in its test AUROC. (Luck of encoders and labelled
subsets that validation and test images share may have one. The interval includes these parts; more of them make it smaller.)
In a cross-validation, this fails: the images of one fold's validation test other folds, so that over all folds the same images
choose and test. Then the test AUROC of the choice has nearly the whole bias of the luckiest (docs/statistics.md).

Which ways may be the best is said by the test images: the confidence set of the best (Gupta 1965; Edwards and Hsu 1983)
is every way that is not significantly worse than any other. All ways are compared with all others, not only with the
choice, so the choice needs no further correction. A way leaves the set if the smallest of its one-sided p-values against
the others, times their number (Bonferroni), is below the level; the truly best way leaves it no more often than that. The
same bounds, read upwards, say how much AUROC one may lose by taking a way that is not the best (Hsu's multiple comparisons
with the best, 1984).

In simulations, the 5% set of eight equal ways leaves out the best in 2 to 5% of runs, with two subsets or twenty, whether
the subsets' variance equals that of the test set or is four times as large.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pandas as pd

from moco_transfer.statistics.contrast import Contrast
from moco_transfer.statistics.evidence import EstimateKey, Evidence

FACTS = [
    "target",
    "percent",
    "n_labeled",
    "source",
    "mode",
    "epochs",
    "n_subsets",
    "validation_auroc",
    "auroc",
]
FINDINGS = {
    **{"lower": np.nan, "upper": np.nan, "one_encoder": False},
    **{"chosen": False, "p_best": np.nan, "may_be_best": False, "may_cost": np.nan, "cheapest": False},
}
COLUMNS = [*FACTS, *FINDINGS, "images_trained", "may_have_seen"]


def advice_table(
    estimates: pd.DataFrame,
    evidence: Evidence,
    level: float,
    seen: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
) -> pd.DataFrame:
    """Return every way to train for each target and percentage, best validation AUROC first, with how sure that is.

    ``estimates`` holds the sources that may be chosen, in the columns of ``evaluation.evaluate_target``, and images_trained,
    the cost of one model; end-to-end training counts only at its selected budget. ``seen`` gives the reasons, by target and
    source, why an encoder may have seen the test images: these ways come last, are compared with no other and are never
    chosen.

    Returns target, percent, n_labeled, source, mode, epochs, n_subsets, validation_auroc, auroc (of the test images), and

    - lower, upper: the 1 - 2 ``level`` interval of auroc, over test patients, labelled subsets and encoders, within 0 to 1
    - one_encoder: whether only one encoder of this source was trained, so that the interval is about this encoder
    - chosen: true for the highest validation_auroc; of equal ones for the cheapest, and of equally cheap ones for the first
      of ``estimates``. An unknown one (NaN) is never chosen.
    - p_best: the p-value of "this is the best on test images", with Bonferroni's correction over the others
    - may_be_best: p_best is not below ``level``; this set contains the truly best way in 1 - ``level`` of runs
    - may_cost: at the same confidence, the most AUROC that one may lose by taking this way instead of the best
    - cheapest: true for the way in this set that costs least; of equally cheap ones for the first row
    - images_trained, may_have_seen: as given, the latter None if there is no reason

    If standard errors are unknown, so are lower, upper, p_best and may_cost (NaN): nothing is ruled out, and no way is the
    cheapest.
    """
    chosen = estimates[estimates["selected"]]
    rows = []
    for target, of_target in chosen.groupby("target", sort=False):
        reasons = seen.get(target, {})
        for percent in sorted(set(of_target["percent"]), key=float):
            every = of_target[of_target["percent"] == percent].sort_values(
                ["validation_auroc", "images_trained"], ascending=[False, True], kind="stable"
            )
            every = every.assign(may_have_seen=[reasons.get(source) for source in every["source"]])
            left_out = every["may_have_seen"].notna()
            ways = every[~left_out].reset_index(drop=True)
            rows += [_compared(ways, evidence, level), every[left_out].assign(**FINDINGS)]
    return pd.concat(rows, ignore_index=True)[COLUMNS] if rows else pd.DataFrame(columns=COLUMNS)


def _compared(ways: pd.DataFrame, evidence: Evidence, level: float) -> pd.DataFrame:
    """Return the ``ways`` of one target and percentage, in the order of the advice, with what is found of each."""
    keys = [EstimateKey(way.target, way.source, way.mode, way.percent) for way in ways.itertuples()]
    found = []
    for key in keys:
        alone = evidence.contrast({key: 1.0})
        lower, upper = np.clip(alone.interval(level), 0, 1)
        others = [evidence.contrast({other: 1.0, key: -1.0}) for other in keys if other != key]
        p_best = _p_best(others)
        found.append(
            FINDINGS
            | {"lower": lower, "upper": upper, "one_encoder": bool(alone.one_encoder), "p_best": p_best}
            | {"may_be_best": not p_best < level, "may_cost": _may_cost(others, level)}
        )
    ways = ways.assign(**pd.DataFrame(found, columns=list(FINDINGS)))
    ways["chosen"] = (ways.index == 0) & ways["validation_auroc"].notna()
    tested = ways[ways["may_be_best"] & ways["p_best"].notna()]
    if len(tested):
        ways["cheapest"] = ways.index == tested["images_trained"].idxmin()
    return ways


def _p_best(others: Sequence[Contrast]) -> float:
    """Return the p-value of "this way is the best", from the contrasts of each other way minus this one."""
    p = np.array([other.p_above(0.0) for other in others])
    if np.isnan(p).all():
        return float("nan") if others else 1.0
    return float(min(np.nanmin(p) * len(others), 1.0))


def _may_cost(others: Sequence[Contrast], level: float) -> float:
    """Return the largest upper bound of the others' lead over this way, from 0 (surely the best) to 1."""
    if not others:
        return 0.0
    # A standard error of zero shows a degenerate sample, not certainty.
    ends = [other.interval(level / len(others))[1] if other.se > 0 else float("nan") for other in others]
    return float(np.clip(np.max(ends), 0.0, 1.0))


def longest_budgets(estimates: pd.DataFrame) -> dict[tuple[str, str], int]:
    """Return the longest budget of each target and percentage in which every source did best with it.

    ``estimates`` holds all budgets of the sources that may be chosen. A single budget is no choice.
    """
    tried = estimates[estimates["mode"] == "end_to_end"]
    found = {}
    for (target, percent), cell in tried.groupby(["target", "percent"], sort=False):
        longest = cell["epochs"].max()
        if cell["epochs"].nunique() > 1 and (cell.loc[cell["selected"], "epochs"] == longest).all():
            found[target, percent] = int(longest)
    return found
