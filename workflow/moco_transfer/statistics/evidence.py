"""Estimated AUROCs as evidence: contrasts between them, standard errors, p-values and verdicts.

A contrast is a weighted sum of AUROCs, such as "MoCo minus ImageNet alone". Its variance has three parts: the
test patients', from the paired covariance of the AUROCs; the labelled subsets', from the scatter of the
contrast over the subsets (all sources share each subset); and the encoders', from the scatter between encoders
of one source (``components``). Each subset has its own training seed, so its part includes that of finetuning.
If every subset meets encoders of its own, the scatter over the subsets includes the encoders'. With one encoder
per source, the encoders' part is unknown, and a contrast is about these encoders.

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
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import ndtri

from moco_transfer.config.experiment import LIMITED, LIMITED_STEPS, NONE_LONGER
from moco_transfer.files import read_parquet
from moco_transfer.statistics.components import FAIR, EncoderVariance, encoder_variance, scatter_within
from moco_transfer.statistics.contrast import Contrast

Quantifier = Literal["all", "most", "some"]
Verdict = Literal["supported", "not supported", "undecided", "cannot be tested"]
# A verdict on a question instead of a claim.
ANSWERS: dict[Verdict, str] = {
    "supported": "yes",
    "not supported": "no",
    "undecided": "undecided",
    "cannot be tested": "cannot be tested",
}
OF_INITIAL_WEIGHTS = ("none", NONE_LONGER)
"""The sources whose encoder is the initial weights."""
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
Profile = frozenset[tuple[EstimateKey, float]]
"""The weights of one source's AUROCs in a contrast; in place of the source, the keys have ''."""


@dataclass(frozen=True)
class Evidence:
    """AUROCs with their covariance over test sets and, for a run of ours, their values per labelled subset.

    If ``by_subset`` is None, the scatter between subsets is unknown and contrasts leave it out. It may hold
    more subsets than an AUROC averages; ``n_averaged`` says how many are averaged. Pairs that ``covariance``
    lacks have a covariance of zero. ``selected`` gives the budget that a key without epochs means. ``encoders``
    gives, for each source whose encoder is trained in the run, the number of the encoder that each subset meets;
    those of other sources are given and do not vary. ``shared_start`` says whether encoders of one number may share more
    than chance, because they start from one of several initial weights that are trained in the run, too.
    """

    values: Mapping[EstimateKey, float]
    covariance: Mapping[tuple[EstimateKey, EstimateKey], float]
    by_subset: Mapping[EstimateKey, Mapping[int, float]] | None
    n_averaged: Mapping[EstimateKey, int] = field(default_factory=dict)
    selected: Mapping[EstimateKey, int] = field(default_factory=dict)
    encoders: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    shared_start: bool = True

    @classmethod
    def from_run(
        cls,
        estimates: pd.DataFrame,
        covariances: Mapping[str, pd.DataFrame],
        subsets: pd.DataFrame,
        extra: pd.DataFrame | None = None,
        trained: Collection[str] = (),
    ) -> Evidence:
        """Return the evidence of a run, from the frames of ``evaluation.evaluate_target``.

        ``estimates`` and ``subsets`` hold all targets, ``covariances`` one frame per target. ``extra`` holds
        AUROCs on further labelled subsets, in the columns of ``subsets``, which count only for the variance
        between subsets and encoders. ``trained`` are the sources whose encoders are trained in the run.
        """
        keys = _keys(estimates)
        by_subset: dict[EstimateKey, dict[int, float]] = {}
        encoders: dict[str, dict[int, int]] = {}
        for frame in [subsets] if extra is None else [subsets, extra]:
            columns = (frame[name] for name in ("subset", "replicate", "auroc"))
            for key, subset, replicate, auroc in zip(_keys(frame), *columns, strict=True):
                by_subset.setdefault(key, {})[subset] = auroc
                if key.source in trained:
                    encoders.setdefault(key.source, {})[subset] = replicate
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
            encoders=encoders,
            shared_start="none" in trained,
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

    def with_encoder_scatter(self, sd: float) -> Evidence:
        """Return this evidence as if AUROCs scattered by ``sd`` between encoders of each source that has one trained encoder.

        A contrast of two such sources has 2 ``sd``^2 more variance, one of such a source and given weights ``sd``^2. The AUROCs of
        one source count as independent, although they share its encoder. Other sources stay as they are.
        """
        one = {source for source, met in self.encoders.items() if len(set(met.values())) == 1}
        variances = {
            (key, key): self.covariance.get((key, key), 0.0) + sd**2
            for key in self.values
            if key.source in one
        }
        return replace(self, covariance={**self.covariance, **variances})

    def targets(self) -> list[str]:
        """Return the targets in their order of appearance."""
        return list(dict.fromkeys(key.target for key in self.values))

    def percents(self, target: str, mode: str | None = None) -> list[str]:
        """Return the percentages of ``target``, ascending; with ``mode``, those at which networks are finetuned in this mode."""
        found = {key.percent for key in self.values if key.target == target and mode in (None, key.mode)}
        return sorted(found, key=float)

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
        """Return the sum of ``weights`` times their AUROCs, with the parts of its variance.

        The patients' part is w'Cw. The subsets' part is the contrast's variance between the S subsets that all its
        estimates share, among those that meet the same encoders, divided by the number of subsets that the AUROCs
        average. With one subset it is unknown: NaN. The encoders' part is the sum over the sources that have several
        encoders, each for several subsets: pooled over all sources, or, if that is more, what the contrast's own encoders
        show. The scatter between subsets includes some of the chance variation of the test set, so the sum errs, if at all,
        on the side of caution.
        """
        profiles = _by_source(weights)
        weights = {self._resolved(key): weight for key, weight in weights.items()}
        effect = sum(weight * self.values[key] for key, weight in weights.items())
        pairs = ((a, b) for a in weights for b in weights)
        patients = max(sum(weights[a] * weights[b] * self.covariance.get((a, b), 0.0) for a, b in pairs), 0.0)
        if self.by_subset is None:
            return Contrast(effect, patients)
        subsets = self._shared_subsets(weights)
        if len(subsets) < 2:
            return Contrast(effect, patients, float("nan"))
        own = np.array(
            [
                sum(weight * self.by_subset[key][subset] for key, weight in weights.items())
                for subset in subsets
            ]
        )
        n_averaged = min(self.n_averaged.get(key, len(subsets)) for key in weights)
        met = {source: self._met(source, subsets) for source in profiles}
        one = tuple(source for source, of in met.items() if len(set(of)) == 1)
        varied = [source for source, of in met.items() if 1 < len(set(of)) < len(subsets)]
        # MoCo on just the labelled images has an encoder for each subset, however many encoders other sources have.
        replicated = [len(set(of)) for source, of in met.items() if source not in (LIMITED, LIMITED_STEPS)]
        numbers = {"one_encoder": one, "n_subsets": n_averaged, "n_encoders": max([1, *replicated])}
        if not varied:
            scatter, df = scatter_within(own, np.zeros(len(own)))
            return Contrast(effect, patients, scatter / n_averaged, df, **numbers)
        encoders = met[varied[0]]
        scatter, df = scatter_within(own, encoders)
        # What an encoder adds counts by the share of the averaged subsets that meet it.
        share = float(np.sum((np.unique(encoders[:n_averaged], return_counts=True)[1] / n_averaged) ** 2))
        own_encoders = encoder_variance(own[None], encoders, True)
        found = self._encoder_variances(profiles, varied) or [own_encoders]
        variance, noise = sum(each.variance for each in found), sum(each.noise for each in found)
        # Encoders of these sources may differ more than those of the others, and pooling would then promise too much.
        if own_encoders.variance > variance:
            variance, noise = own_encoders.variance, own_encoders.noise
        between = share * variance
        # The scatter between encoders, from which their part is what remains without the subsets' noise.
        at_most = share * (variance + noise)
        within = scatter / n_averaged
        return Contrast(
            effect,
            patients,
            subsets=within,
            subset_df=df,
            encoders=between,
            encoder_df=min(each.df for each in found),
            encoder_share=min(at_most / (within + between), 1.0) if at_most > 0 else 0.0,
            encoder_noise=at_most - between,
            **numbers,
        )

    def pooled(
        self, profile: Profile, differences: bool, asked: Collection[str] = ()
    ) -> EncoderVariance | None:
        """Return the variance between encoders of a weighted sum of one source's AUROCs, pooled over the sources that have it.

        ``profile`` holds the weights, with '' as the source. ``differences``: see ``encoder_variance``. Sources whose encoder is the
        initial weights are pooled only if they are among ``asked``: MoCo adds chance of its own to that of its initial weights, so they
        scatter less than others. Returns None if fewer than two sources have several encoders, each for several subsets.
        """
        if self.by_subset is None:
            return None
        of_source = {
            source: {self._resolved(key._replace(source=source)): weight for key, weight in profile}
            for source in self.encoders
            if source in asked or source not in OF_INITIAL_WEIGHTS
        }
        known = {s: keys for s, keys in of_source.items() if all(key in self.by_subset for key in keys)}
        subsets = {source: self._shared_subsets(keys) for source, keys in known.items()}
        varied = [s for s, of in subsets.items() if 1 < len(set(self._met(s, of))) < len(of)]
        if len(varied) < 2:
            return None
        shared = sorted(set.intersection(*(set(subsets[source]) for source in varied)))
        values = [
            [
                sum(weight * self.by_subset[key][subset] for key, weight in known[source].items())
                for subset in shared
            ]
            for source in varied
        ]
        return encoder_variance(np.array(values), self._met(varied[0], shared), differences)

    def _encoder_variances(
        self, profiles: Mapping[str, Profile], varied: Sequence[str]
    ) -> list[EncoderVariance] | None:
        """Return the pooled variance of each of the ``varied`` sources, or None if pooling is impossible or unfair."""
        total: Counter[EstimateKey] = Counter()
        for source in varied:
            total.update(dict(profiles[source]))
        # What trained initial weights give to all sources drops out of their differences only.
        differences = not self.shared_start or all(abs(weight) < 1e-12 for weight in total.values())
        found = [self.pooled(profiles[source], differences, varied) for source in varied]
        if any(each is None or each.fair < FAIR for each in found):
            return None
        return found

    def _shared_subsets(self, keys: Iterable[EstimateKey]) -> list[int]:
        return sorted(set.intersection(*(set(self.by_subset[key]) for key in keys)))

    def _met(self, source: str, subsets: Sequence[int]) -> np.ndarray:
        """Return the encoder of ``source`` that each subset meets; [] if its encoder does not vary."""
        met = self.encoders.get(source)
        return np.array([met[subset] for subset in subsets] if met else [], dtype=int)

    def _resolved(self, key: EstimateKey) -> EstimateKey:
        return key._replace(epochs=self.selected.get(key)) if key.epochs is None else key


def _keys(frame: pd.DataFrame, target: str | None = None, suffix: str = "") -> list[EstimateKey]:
    """Return the estimate that each row of ``frame`` is about; its columns end in ``suffix``."""
    columns = [frame[name + suffix] for name in EstimateKey._fields[1:]]
    targets = frame["target"] if target is None else [target] * len(frame)
    return [EstimateKey(*names) for names in zip(targets, *columns, strict=True)]


def _by_source(weights: Weights) -> dict[str, Profile]:
    """Return the profile of each source in ``weights``."""
    profiles: dict[str, set[tuple[EstimateKey, float]]] = {}
    for key, weight in weights.items():
        profiles.setdefault(key.source, set()).add((key._replace(source=""), weight))
    return {source: frozenset(profile) for source, profile in profiles.items()}


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
    trained: Collection[str],
) -> tuple[pd.DataFrame, Evidence]:
    """Return a run's estimates and evidence from files of one target each, in the same order.

    The estimates are all; the evidence leaves out those of the sources in ``seen``, by target, whose encoders may have seen
    the test images. ``trained`` are the sources whose encoders are trained in the run.
    """
    every = read_all(estimates)
    by_target = dict(zip(every["target"].unique(), map(read_parquet, covariances), strict=True))
    more = read_extra(extra) if extra else None
    return every, Evidence.from_run(every, by_target, read_all(subsets), more, trained).without(seen)


def read_all(paths: Sequence[str | Path]) -> pd.DataFrame:
    """Return the concatenated rows of the Parquet files ``paths``."""
    return pd.concat([read_parquet(path) for path in paths], ignore_index=True)


def read_extra(paths: Sequence[str | Path]) -> pd.DataFrame:
    """Return the AUROCs on further labelled subsets in ``paths``, one file per fold: the mean over the folds of each subset."""
    names = [*EstimateKey._fields, "subset", "replicate"]
    return read_all(paths).groupby(names, sort=False, as_index=False)["auroc"].mean()


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
