"""What is known about a set of AUROCs, and what follows for any contrast of them.

A contrast is a weighted sum of cells, such as "MoCo less ImageNet alone". Its variance has two parts: that of the test
set, from the paired covariance of the cells, and that of the labelled subsets, from the scatter of the contrast over
the subsets, each of which all sources share. Few subsets make the second part uncertain, and the more so the
further out in the tails, where Holm's correction leads. Cochran's quantiles account for it: simulated, whatever the ratio
of the parts, null contrasts err in at most 5.2% at a nominal 5% with two subsets or more, and at 0.5% in 0.6% with three and
1.1% with two. Satterthwaite's degrees of freedom would err in up to 1.9% and 3.9% there, and families of twelve in 12%
instead of 5%. What no contrast knows is the scatter between MoCo pretrainings, of which there is one for each source, and
that of the budget's selection, which is taken as given: every statement is about these encoders and these budgets. The
paper's own tables enter by the same door, with what they hold: no covariance (cells as independent, which overstates the
variance of differences on one test set) and no subsets (no subset variance, which understates it).


From p-values to verdicts, for one comparison and for a claim about several.

Each comparison is asked in two directions, one-sided: for the claim and against it. "Supported" and "not supported" are
both findings; "undecided" is the lack of one. A claim about several comparisons says that it holds in all of them, in
most, or in some. With m comparisons and a claim about at least u, the p-value is (m - u + 1) times the u-th smallest
(Benjamini and Heller 2008, partial conjunction, valid under any dependence): for all of them the largest p-value, the
intersection-union test; for some, Bonferroni's smallest. The claim is contradicted where at least m - u + 1 are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri, stdtrit

REFERENCE_DTYPES = {"target": str, "percent": str, "mode": str, "source": str}


class Cell(NamedTuple):
    """One average over subsets. ``epochs`` None stands for the selected budget."""

    target: str
    source: str
    mode: str
    percent: str
    epochs: int | None = None


@dataclass(frozen=True)
class Contrast:
    """An estimated effect with its standard error.

    ``subset_share`` is the part of its variance that comes from the labelled subsets, and ``df`` the degrees of freedom of
    that part. The part of the test set, of hundreds of images, counts as known. Quantiles are Cochran's (1964): those of
    Student and of the normal distribution, weighed by the two parts of the variance.
    """

    effect: float
    se: float
    subset_share: float = 0.0
    df: float = np.inf

    def p_above(self, threshold: float) -> float:
        """Return the one-sided p-value for "the effect is above ``threshold``".

        NaN where the standard error is unknown. A standard error of zero is a degenerate sample, not certainty: 1.
        """
        if np.isnan(self.se):
            return float("nan")
        if self.se == 0:
            return 1.0
        return self._upper_tail((self.effect - threshold) / self.se)

    def p_below(self, threshold: float) -> float:
        """Return the one-sided p-value for "the effect is below ``threshold``"."""
        return replace(self, effect=-self.effect).p_above(-threshold)

    def interval(self, level: float) -> tuple[float, float]:
        """Return the 1 - 2 ``level`` interval, whose ends are what one-sided tests at ``level`` can exclude."""
        reach = self._upper_quantile(level) * self.se
        return self.effect - reach, self.effect + reach

    def _upper_quantile(self, p: float) -> float:
        """Return how many standard errors are exceeded by chance with probability ``p``."""
        if self.subset_share == 0:
            return -float(ndtri(p))
        return -float((1 - self.subset_share) * ndtri(p) + self.subset_share * stdtrit(self.df, p))

    def _upper_tail(self, t: float) -> float:
        """Return the probability whose upper quantile is ``t``, by bisection: no formula inverts the quantile."""
        if t < 0:
            return 1 - self._upper_tail(-t)
        if self.subset_share == 0:
            return float(ndtr(-t))
        # On the scale of normal quantiles, of which Cochran's is never the smaller; beyond 20 lie p-values below 1e-88.
        low, high = 0.0, min(t, 20.0)
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if self._upper_quantile(float(ndtr(-middle))) < t else (low, middle)
        return float(ndtr(-high))


class Evidence:
    """AUROCs by cell with their covariance over test sets and, for a run of ours, their values by subset."""

    def __init__(
        self,
        values: Mapping[Cell, float],
        covariance: Mapping[tuple[Cell, Cell], float],
        by_subset: Mapping[Cell, Mapping[int, float]] | None,
        averaged: Mapping[Cell, int] | None = None,
    ):
        """Take the AUROC of each cell, the covariance of pairs of cells (absent: zero), and each cell's AUROC by subset.

        ``by_subset`` None says that the scatter between subsets is out of reach, and leaves it out. It may hold more subsets
        than the AUROC is the average of; then ``averaged`` says of how many it is.
        """
        self._values, self._covariance, self._by_subset = values, covariance, by_subset
        self._averaged = averaged or {}

    @classmethod
    def from_run(
        cls,
        estimates: pd.DataFrame,
        covariances: Mapping[str, pd.DataFrame],
        subsets: pd.DataFrame,
        extra: pd.DataFrame | None = None,
    ) -> Evidence:
        """Return the evidence of a run, from the frames of ``evaluation.evaluate_target``.

        ``estimates`` and ``subsets`` hold all targets, ``covariances`` one frame for each target. ``extra`` holds AUROCs on
        further labelled subsets, with the columns of ``subsets``: they tell the variance between subsets, and enter no
        average.
        """
        chosen = {
            (row.target, row.source, row.mode, row.percent): row.epochs
            for row in estimates[estimates["selected"]].itertuples()
        }

        def cells(target: str, source: str, mode: str, percent: str, epochs: int) -> list[Cell]:
            named = [Cell(target, source, mode, percent, epochs)]
            selected = chosen.get((target, source, mode, percent)) == epochs
            return [*named, Cell(target, source, mode, percent)] if selected else named

        def every(rows: pd.DataFrame) -> Iterable[tuple[Cell, tuple]]:
            for row in rows.itertuples():
                for cell in cells(row.target, row.source, row.mode, row.percent, row.epochs):
                    yield cell, row

        by_subset: dict[Cell, dict[int, float]] = {}
        for cell, row in every(subsets if extra is None else pd.concat([subsets, extra], ignore_index=True)):
            by_subset.setdefault(cell, {})[row.subset] = row.auroc
        averaged = {cell: row.n_subsets for cell, row in every(estimates)}
        covariance = {
            (a, b): row.covariance
            for target, frame in covariances.items()
            for row in frame.itertuples()
            for a in cells(target, row.source_a, row.mode_a, row.percent_a, row.epochs_a)
            for b in cells(target, row.source_b, row.mode_b, row.percent_b, row.epochs_b)
        }
        values = {cell: row.auroc for cell, row in every(estimates)}
        return cls(values, covariance, by_subset, averaged)

    @classmethod
    def from_tables(cls, tables: pd.DataFrame) -> Evidence:
        """Return the evidence of published ``tables``: medians, and standard errors from their 5% and 95% quantiles.

        The columns are target, percent, n_labeled, mode, source, auroc_median, q05 and q95. They are rounded to three
        decimals, which is no small part of the chest intervals (0.003 wide).
        """
        values, covariance = {}, {}
        for row in tables.itertuples():
            cell = Cell(row.target, row.source, row.mode, row.percent)
            values[cell] = row.auroc_median
            covariance[cell, cell] = ((row.q95 - row.q05) / (2 * ndtri(0.95))) ** 2
        return cls(values, covariance, None)

    def scattered(self, sd: float, subsets: int) -> Evidence:
        """Return this evidence, were each AUROC a mean over ``subsets`` labelled subsets that scatter by ``sd`` on their own."""
        variances = {
            (cell, cell): self._covariance.get((cell, cell), 0.0) + sd**2 / subsets for cell in self._values
        }
        return Evidence(self._values, {**self._covariance, **variances}, self._by_subset, self._averaged)

    def targets(self) -> list[str]:
        """Return the targets in the order in which they came."""
        return list(dict.fromkeys(cell.target for cell in self._values))

    def percents(self, target: str) -> list[str]:
        """Return the percentages of ``target``, ascending."""
        return sorted({cell.percent for cell in self._values if cell.target == target}, key=float)

    def budgets(self, target: str, percent: str, sources: Collection[str]) -> list[int]:
        """Return the budgets of end-to-end training from ``sources`` that are known one by one, ascending."""
        return sorted(
            {
                cell.epochs
                for cell in self._values
                if (cell.target, cell.mode, cell.percent) == (target, "end_to_end", percent)
                and cell.source in sources
                and cell.epochs is not None
            }
        )

    def has(self, *cells: Cell) -> bool:
        """Return whether all ``cells`` are known."""
        return all(cell in self._values for cell in cells)

    def contrast(self, weights: Mapping[Cell, float]) -> Contrast:
        """Return the sum of ``weights`` times the AUROCs of their cells, with its standard error.

        The variance over test sets is w'Cw. That over subsets is the variance between subsets of the contrast, computed
        within each of the S subsets that its cells share, with S - 1 degrees of freedom, over the number of subsets that the
        AUROCs are averages of; with one subset it is unknown, and the standard error NaN. The scatter between subsets holds some of the test set's chance as well, so that the sum errs,
        if at all, on the side of caution. Raises KeyError for a cell that is not known.
        """
        effect = sum(weight * self._values[cell] for cell, weight in weights.items())
        pairs = ((a, b) for a in weights for b in weights)
        test = max(sum(weights[a] * weights[b] * self._covariance.get((a, b), 0.0) for a, b in pairs), 0.0)
        if self._by_subset is None:
            return Contrast(effect, float(np.sqrt(test)))
        shared = set.intersection(*(set(self._by_subset[cell]) for cell in weights))
        if len(shared) < 2:
            return Contrast(effect, float("nan"))
        by_subset = [
            sum(w * self._by_subset[cell][subset] for cell, w in weights.items()) for subset in sorted(shared)
        ]
        averaged = min(self._averaged.get(cell, len(by_subset)) for cell in weights)
        scatter = float(np.var(by_subset, ddof=1)) / averaged
        share = scatter / (test + scatter) if scatter > 0 else 0.0
        return Contrast(effect, float(np.sqrt(test + scatter)), share, len(by_subset) - 1)


def read_run(
    estimates: Sequence[str | Path],
    covariances: Sequence[str | Path],
    subsets: Sequence[str | Path],
    extra: Sequence[str | Path] = (),
) -> tuple[pd.DataFrame, Evidence]:
    """Return the estimates of a run and the evidence in it, from files of one target each, the first two in step."""
    frames = [pd.read_parquet(path) for path in estimates]
    by_target = {
        frame["target"].iloc[0]: pd.read_parquet(path)
        for frame, path in zip(frames, covariances, strict=True)
    }
    every = pd.concat(frames, ignore_index=True)
    further = read_all(extra) if extra else None
    return every, Evidence.from_run(every, by_target, read_all(subsets), further)


def read_all(paths: Sequence[str | Path]) -> pd.DataFrame:
    """Return the Parquet files ``paths`` one below the other."""
    return pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)


def read_reference(*paths: str | Path) -> pd.DataFrame:
    """Return the paper's tables, read from CSV with percentages as the strings they are, one below the other."""
    return pd.concat([pd.read_csv(path, dtype=REFERENCE_DTYPES) for path in paths], ignore_index=True)


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
