"""From p-values to verdicts, for one comparison and for a claim about several.

Each comparison is asked in two directions, one-sided: for the claim and against it. "Supported" and "not supported" are
both findings; "undecided" is the lack of one. A claim about several comparisons says that it holds in all of them, in
most, or in some. With m comparisons and a claim about at least u, the p-value is (m - u + 1) times the u-th smallest
(Benjamini and Heller 2008, partial conjunction, valid under any dependence): for all of them the largest p-value, the
intersection-union test; for some, Bonferroni's smallest. The claim is contradicted where at least m - u + 1 are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Quantifier = Literal["all", "most", "some"]
Verdict = Literal["supported", "not supported", "undecided", "cannot be tested"]


@dataclass(frozen=True)
class Comparison:
    """One comparison: its effect with an interval, and the p-values for the claim and against it.

    ``holds`` says on which side the estimate lies, whatever its uncertainty. p-values are NaN where no test is possible; ``remark`` then says why.
    """

    cell: str
    effect: float
    lower: float
    upper: float
    holds: bool
    p: float
    p_against: float
    remark: str = ""


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Return Holm's adjusted p-values of a family, in its order (Holm 1979); NaNs are no members of it."""
    p_values = np.asarray(p_values, dtype=float)
    adjusted = np.full(len(p_values), np.nan)
    order = np.argsort(p_values)[: np.count_nonzero(~np.isnan(p_values))]
    steps = p_values[order] * (len(order) - np.arange(len(order)))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def at_least(p_values: Sequence[float], u: int) -> float:
    """Return the p-value for "at least ``u`` of the family's hypotheses hold" (Benjamini and Heller 2008).

    NaNs, of comparisons that cannot be tested, count as the largest.
    """
    ordered = np.sort(np.asarray(p_values, dtype=float))
    return float(min((len(ordered) - u + 1) * ordered[u - 1], 1.0))


def required(quantifier: Quantifier, m: int) -> int:
    """Return how many of ``m`` comparisons a claim about all, most (more than half) or some of them is about."""
    return {"all": m, "most": m // 2 + 1, "some": 1}[quantifier]


def verdict(p: float, p_against: float, level: float) -> Verdict:
    """Return what the two one-sided p-values say at ``level``; NaN says that no test was possible.

    A claim about several comparisons of which one cannot be tested may still be contradicted by the others.
    """
    if p < level:
        return "supported"
    if p_against < level:
        return "not supported"
    return "cannot be tested" if np.isnan(p) else "undecided"
