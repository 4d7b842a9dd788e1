"""Estimated AUROCs as evidence: contrasts between them, standard errors, p-values and verdicts.

A contrast is a weighted sum of AUROCs, such as "MoCo minus ImageNet alone". Its variance has two parts: the
test set's, from the paired covariance of the AUROCs, and the labelled subsets', from the scatter of the
contrast over the subsets (all sources share each subset). With few subsets the second part is uncertain,
which matters most in the far tails that Holm's correction uses. Cochran's quantiles account for it;
Satterthwaite's degrees of freedom would reject up to four times too often there. docs/statistics.md gives the
error rates and says what no contrast includes.

The paper's own tables are treated in the same way as far as possible. They give no covariance, so estimates
count as independent, which overstates the variance of differences on one test set. They give no values per
subset, so the subsets' variance is missing, which understates it.

Each comparison has two one-sided tests: for the claim and against it. "Supported" and "not supported" are
findings; "undecided" is not. For a claim that at least u of m comparisons hold (all, most or some of them),
the p-value is (m - u + 1) times the u-th smallest (partial conjunction, Benjamini and Heller 2008, valid
under any dependence): the largest p-value for all (the intersection-union test), m times the smallest for
some (Bonferroni). The claim is contradicted if at least m - u + 1 comparisons are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri, stdtrit

from moco_transfer.files import read_parquet

Quantifier = Literal["all", "most", "some"]
Verdict = Literal["supported", "not supported", "undecided", "cannot be tested"]
# A verdict on a question instead of a claim.
ANSWERS: dict[Verdict, str] = {
    "supported": "yes",
    "not supported": "no",
    "undecided": "undecided",
    "cannot be tested": "cannot be tested",
}
LABELS_TOLERANCE = 0.02
"""The largest relative difference between two numbers of labels that agree.

A split by patient varies around the paper's numbers by less than one percent, and one label of 58 is more than that.
"""


class EstimateKey(NamedTuple):
    """The name of an AUROC averaged over labelled subsets; without ``epochs``, at the selected budget."""

    target: str
    source: str
    mode: str
    percent: str
    epochs: int | None = None


Weights = Mapping[EstimateKey, float]


@dataclass(frozen=True)
class Contrast:
    """An estimated effect with its standard error.

    ``subset_share`` is the share of its variance that comes from the labelled subsets, and ``df`` are that
    part's degrees of freedom. The test set's part, from hundreds of images, counts as known. Quantiles are
    Cochran's (1964): the mean of Student's and the normal quantile, weighted by the two parts of the
    variance.
    """

    effect: float
    se: float
    subset_share: float = 0.0
    df: float = np.inf

    def p_above(self, threshold: float) -> float:
        """Return the one-sided p-value for "the effect is above ``threshold``".

        It is NaN if the standard error is unknown. A standard error of zero shows a degenerate sample, not
        certainty: the p-value is then 1.
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
        """Return the 1 - 2 ``level`` interval; one-sided tests at ``level`` exclude what lies beyond it."""
        reach = self._upper_quantile(level) * self.se
        return self.effect - reach, self.effect + reach

    def _upper_quantile(self, p: float) -> float:
        """Return the number of standard errors that chance exceeds with probability ``p``."""
        if self.subset_share == 0:
            return -float(ndtri(p))
        return -float((1 - self.subset_share) * ndtri(p) + self.subset_share * stdtrit(self.df, p))

    def _upper_tail(self, t: float) -> float:
        """Return the probability whose upper quantile is ``t``, by bisection, because there is no formula."""
        if t < 0:
            return 1 - self._upper_tail(-t)
        if self.subset_share == 0:
            return float(ndtr(-t))
        # Bisect normal quantiles, which never exceed Cochran's. Beyond 20, p-values are below 1e-88.
        low, high = 0.0, min(t, 20.0)
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if self._upper_quantile(float(ndtr(-middle))) < t else (low, middle)
        return float(ndtr(-high))


@dataclass(frozen=True)
class Evidence:
    """AUROCs with their covariance over test sets and, for a run of ours, their values per labelled subset.

    If ``by_subset`` is None, the scatter between subsets is unknown and contrasts leave it out. It may hold
    more subsets than an AUROC averages; ``n_averaged`` says how many are averaged. Pairs that ``covariance``
    lacks have a covariance of zero. ``selected`` gives the budget that a key without epochs means.
    """

    values: Mapping[EstimateKey, float]
    covariance: Mapping[tuple[EstimateKey, EstimateKey], float]
    by_subset: Mapping[EstimateKey, Mapping[int, float]] | None
    n_averaged: Mapping[EstimateKey, int] = field(default_factory=dict)
    selected: Mapping[EstimateKey, int] = field(default_factory=dict)

    @classmethod
    def from_run(
        cls,
        estimates: pd.DataFrame,
        covariances: Mapping[str, pd.DataFrame],
        subsets: pd.DataFrame,
        extra: pd.DataFrame | None = None,
    ) -> Evidence:
        """Return the evidence of a run, from the frames of ``evaluation.evaluate_target``.

        ``estimates`` and ``subsets`` hold all targets, ``covariances`` one frame per target. ``extra`` holds
        AUROCs on further labelled subsets, in the columns of ``subsets``, which count only for the variance
        between subsets.
        """
        keys = _keys(estimates)
        by_subset: dict[EstimateKey, dict[int, float]] = {}
        for frame in [subsets] if extra is None else [subsets, extra]:
            for key, subset, auroc in zip(_keys(frame), frame["subset"], frame["auroc"], strict=True):
                by_subset.setdefault(key, {})[subset] = auroc
        covariance = {}
        for target, frame in covariances.items():
            pairs = zip(_keys(frame, target, "_a"), _keys(frame, target, "_b"), strict=True)
            covariance |= dict(zip(pairs, frame["covariance"], strict=True))
        return cls(
            values=dict(zip(keys, estimates["auroc"], strict=True)),
            covariance=covariance,
            by_subset=by_subset,
            n_averaged=dict(zip(keys, estimates["n_subsets"], strict=True)),
            selected={
                key._replace(epochs=None): key.epochs for key in _keys(estimates[estimates["selected"]])
            },
        )

    @classmethod
    def from_tables(cls, tables: pd.DataFrame) -> Evidence:
        """Return the evidence of published tables: medians, and standard errors from 5% and 95% quantiles.

        The columns are target, percent, n_labeled, mode, source, auroc_median, q05 and q95. Values are
        rounded to three decimals, which matters for the chest intervals (0.003 wide).
        """
        values, covariance = {}, {}
        for row in tables.itertuples():
            key = EstimateKey(row.target, row.source, row.mode, row.percent)
            values[key] = row.auroc_median
            covariance[key, key] = ((row.q95 - row.q05) / (2 * ndtri(0.95))) ** 2
        return cls(values, covariance, None)

    def without(self, sources: Mapping[str, Collection[str]]) -> Evidence:
        """Return this evidence without the AUROCs of ``sources``, by target."""
        kept = {
            key: value for key, value in self.values.items() if key.source not in sources.get(key.target, ())
        }
        return replace(self, values=kept)

    def scattered(self, sd: float, n_subsets: int) -> Evidence:
        """Return this evidence with AUROCs as means of ``n_subsets`` subsets that scatter by ``sd``."""
        variances = {
            (key, key): self.covariance.get((key, key), 0.0) + sd**2 / n_subsets for key in self.values
        }
        return replace(self, covariance={**self.covariance, **variances})

    def targets(self) -> list[str]:
        """Return the targets in their order of appearance."""
        return list(dict.fromkeys(key.target for key in self.values))

    def percents(self, target: str) -> list[str]:
        """Return the percentages of ``target``, ascending."""
        return sorted({key.percent for key in self.values if key.target == target}, key=float)

    def cells(self) -> list[tuple[str, str]]:
        """Return all pairs of a target and a percentage."""
        return [(target, percent) for target in self.targets() for percent in self.percents(target)]

    def budgets(self, target: str, percent: str, sources: Collection[str]) -> list[int]:
        """Return the end-to-end budgets of ``sources`` whose AUROCs are known, ascending."""
        return sorted(
            {
                key.epochs
                for key in self.values
                if (key.target, key.mode, key.percent) == (target, "end_to_end", percent)
                and key.source in sources
                and key.epochs is not None
            }
        )

    def has(self, *keys: EstimateKey) -> bool:
        """Return whether all estimates ``keys`` are known."""
        return all(self._resolved(key) in self.values for key in keys)

    def contrast(self, weights: Weights) -> Contrast:
        """Return the sum of ``weights`` times their AUROCs, with its standard error.

        The variance over test sets is w'Cw. The variance over labelled subsets is the contrast's variance
        between the S subsets that all its estimates share (S - 1 degrees of freedom), divided by the number
        of subsets that the AUROCs average. With one subset it is unknown and the standard error is NaN. The
        scatter between subsets includes some of the test set's chance variation, so the sum errs, if at all,
        on the side of caution.
        """
        weights = {self._resolved(key): weight for key, weight in weights.items()}
        effect = sum(weight * self.values[key] for key, weight in weights.items())
        pairs = ((a, b) for a in weights for b in weights)
        test = max(sum(weights[a] * weights[b] * self.covariance.get((a, b), 0.0) for a, b in pairs), 0.0)
        if self.by_subset is None:
            return Contrast(effect, float(np.sqrt(test)))
        shared = set.intersection(*(set(self.by_subset[key]) for key in weights))
        if len(shared) < 2:
            return Contrast(effect, float("nan"))
        by_subset = [
            sum(weight * self.by_subset[key][subset] for key, weight in weights.items())
            for subset in sorted(shared)
        ]
        n_averaged = min(self.n_averaged.get(key, len(by_subset)) for key in weights)
        scatter = float(np.var(by_subset, ddof=1)) / n_averaged
        share = scatter / (test + scatter) if scatter > 0 else 0.0
        return Contrast(effect, float(np.sqrt(test + scatter)), share, len(by_subset) - 1)

    def _resolved(self, key: EstimateKey) -> EstimateKey:
        return key._replace(epochs=self.selected.get(key)) if key.epochs is None else key


def _keys(frame: pd.DataFrame, target: str | None = None, suffix: str = "") -> list[EstimateKey]:
    """Return the estimate that each row of ``frame`` is about; its columns end in ``suffix``."""
    columns = [frame[name + suffix] for name in EstimateKey._fields[1:]]
    targets = frame["target"] if target is None else [target] * len(frame)
    return [EstimateKey(*names) for names in zip(targets, *columns, strict=True)]


def difference(
    target: str, mode: str, percent: str, better: str, worse: str, epochs: int | None = None
) -> dict[EstimateKey, float]:
    """Return the weights of source ``better`` minus source ``worse``."""
    return {
        EstimateKey(target, better, mode, percent, epochs): 1.0,
        EstimateKey(target, worse, mode, percent, epochs): -1.0,
    }


def read_run(
    estimates: Sequence[str | Path],
    covariances: Sequence[str | Path],
    subsets: Sequence[str | Path],
    extra: Sequence[str | Path],
    seen: Mapping[str, Collection[str]],
) -> tuple[pd.DataFrame, Evidence]:
    """Return a run's estimates and evidence from files of one target each, in the same order.

    The estimates are all; the evidence leaves out those of the sources in ``seen``, by target, whose encoders may have seen
    the test images.
    """
    every = read_all(estimates)
    by_target = dict(zip(every["target"].unique(), map(read_parquet, covariances), strict=True))
    more = read_all(extra) if extra else None
    return every, Evidence.from_run(every, by_target, read_all(subsets), more).without(seen)


def read_all(paths: Sequence[str | Path]) -> pd.DataFrame:
    """Return the concatenated rows of the Parquet files ``paths``."""
    return pd.concat([read_parquet(path) for path in paths], ignore_index=True)


def read_reference(*paths: str | Path) -> pd.DataFrame:
    """Return the concatenated rows of the paper's tables, from CSV, with percentages kept as strings."""
    names = dict.fromkeys(["target", "percent", "mode", "source"], str)
    return pd.concat([pd.read_csv(path, dtype=names) for path in paths], ignore_index=True)


def comparable(reference: pd.DataFrame, estimates: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the paper's ``reference`` whose percentage and number of labels are those of ``estimates``.

    A percentage alone says little: 10% of a part of a release is another number of labels. The column percent
    becomes that of ``estimates``, as it is spelled there.
    """
    ours = estimates[["target", "percent", "n_labeled"]].drop_duplicates()
    ours = ours.assign(share=ours["percent"].astype(float))
    published = reference.assign(share=reference["percent"].astype(float))
    pairs = published.merge(ours, on=["target", "share"], suffixes=("", "_ours"))
    pairs["percent"] = pairs["percent_ours"]
    agree = (pairs["n_labeled_ours"] / pairs["n_labeled"] - 1).abs() <= LABELS_TOLERANCE
    return pairs.loc[agree, reference.columns].reset_index(drop=True)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Return Holm's adjusted p-values of a family, in its order (Holm 1979). NaNs do not count as members."""
    p_values = np.asarray(p_values, dtype=float)
    adjusted = np.full(len(p_values), np.nan)
    order = np.argsort(p_values)[: np.count_nonzero(~np.isnan(p_values))]
    steps = p_values[order] * (len(order) - np.arange(len(order)))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def at_least(p_values: Sequence[float], u: int) -> float:
    """Return the p-value for "at least ``u`` of the family's hypotheses hold" (Benjamini and Heller 2008).

    NaNs, from comparisons that cannot be tested, count as the largest.
    """
    ordered = np.sort(np.asarray(p_values, dtype=float))
    return float(min((len(ordered) - u + 1) * ordered[u - 1], 1.0))


def required(quantifier: Quantifier, m: int) -> int:
    """Return how many of ``m`` comparisons must hold for all, most (more than half) or some to hold."""
    return {"all": m, "most": m // 2 + 1, "some": 1}[quantifier]


def verdict(p: float, p_against: float, level: float) -> Verdict:
    """Return what the two one-sided p-values say at ``level``; NaN means that no test was possible.

    ``p`` alone may be NaN: if one comparison of a claim cannot be tested, the others may still contradict the
    claim.
    """
    if p < level:
        return "supported"
    if p_against < level:
        return "not supported"
    return "cannot be tested" if np.isnan(p) else "undecided"


def count_verdicts(findings: Mapping[str, dict]) -> str:
    """Return how often ``findings`` have each verdict, in words."""
    counts = Counter(finding["verdict"] for finding in findings.values())
    return ", ".join(f"{count} {name}" for name, count in counts.items())
