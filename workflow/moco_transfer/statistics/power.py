"""What would decide a comparison: the power of its tests with other numbers of patients, subsets and encoders.

A contrast's variance falls with the numbers that it rests on: the patients' part with the test patients, the subsets'
part with the labelled subsets, the encoders' part with the encoders of each source. Its degrees of freedom rise with
them. Here the estimates of a run, or assumed ones, stand for the truth, and the power of the tests of ``contrast``
follows: the probability that they decide for the side of the statement on which the effect lies.

The tests use estimated variances, which differ from run to run. With two subsets they differ by a factor of a
hundred, so the power is averaged over their distribution (chi-squared), with Cochran's quantile for each: for one
estimated part alone this is the noncentral t distribution. docs/statistics.md compares the power predicted here with
that of simulated runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy.special import chdtri, ndtr, ndtri, stdtrit

from moco_transfer.statistics.contrast import Contrast

ENOUGH = 0.8
"""The power that is asked for (Cohen 1988)."""
MOST = 100
"""The largest number of subsets or encoders, and the largest multiple of the test patients, that are looked at."""
NODES = 32
"""The number of values that stand for an estimated variance. 64 change the power by less than 0.003."""


@dataclass(frozen=True)
class Statement:
    """What a test is to show: that the effect is above ``lower`` and below ``upper``.

    The opposite is that it is beyond one of them.
    """

    lower: float = -np.inf
    upper: float = np.inf

    def holds(self, effect: float) -> bool:
        return self.lower < effect < self.upper

    def effect_of_interest(self, effect: float, margin: float) -> float:
        """Return the effect, on the side of ``effect``, that is ``margin`` away from what the test must exclude.

        For "better than" it is the margin, or minus the margin. For "not inferior" and "equivalent" it is no
        difference, or twice the margin.
        """
        near_lower = abs(effect - self.lower) <= abs(effect - self.upper)
        bound = self.lower if near_lower else self.upper
        above = near_lower == self.holds(effect)
        return bound + margin if above else bound - margin


BETTER = Statement(lower=0.0)


class Numbers(NamedTuple):
    """What a comparison rests on: averaged subsets, encoders of each source, and test patients.

    ``patients`` is a multiple of those at hand.
    """

    patients: float
    subsets: int
    encoders: int


class Needed(NamedTuple):
    """The numbers that give ``ENOUGH`` power at ``effect``, each alone; None if no number up to ``MOST`` suffices.

    There are at most as many encoders as subsets, which meet them. ``together`` is the cheapest combination, if none
    alone suffices: of subsets and encoders, or of all three in proportion. ``power`` is that with the numbers at
    hand.
    """

    effect: float
    power: float
    patients: Numbers | None
    subsets: Numbers | None
    encoders: Numbers | None
    together: Numbers | None


def numbers_of(contrast: Contrast) -> Numbers:
    """Return the numbers that ``contrast`` rests on."""
    return Numbers(1.0, contrast.n_subsets, contrast.n_encoders)


def are_apart(contrast: Contrast) -> bool:
    """Return whether the parts of the subsets and the encoders are known apart.

    They are not if each subset meets encoders of its own, or if no encoder varies.
    """
    return bool(np.isfinite(contrast.encoder_df))


def resized(contrast: Contrast, numbers: Numbers) -> Contrast:
    """Return what ``contrast`` would be with other ``numbers``, if its estimated variances were the truth.

    There must be at least as many subsets as encoders. If each subset of ``contrast`` meets encoders of its own,
    their parts of the variance are not known apart, and the two numbers must be equal.
    """
    subsets, encoders = numbers.subsets, numbers.encoders
    separate = are_apart(contrast)
    scattered = contrast.subset_df + (contrast.n_encoders if separate else 1)
    scattered_then = max(scattered, subsets)
    within = contrast.subsets * contrast.n_subsets / subsets
    then = replace(
        contrast, patients=contrast.patients / numbers.patients, n_subsets=subsets, n_encoders=encoders
    )
    if not separate:
        return replace(then, subsets=within, subset_df=scattered_then - 1)
    shrinks = _share(subsets, encoders) / _share(contrast.n_subsets, contrast.n_encoders)
    between = contrast.encoders * shrinks
    if encoders == scattered_then:
        apart = {"encoders": 0.0, "encoder_df": np.inf, "encoder_share": 0.0, "encoder_noise": 0.0}
        return replace(then, subsets=within + between, subset_df=scattered_then - 1, **apart)
    noise = contrast.encoder_noise * scattered / scattered_then
    return replace(
        then,
        subsets=within,
        subset_df=scattered_then - encoders,
        encoders=between,
        encoder_df=contrast.encoder_df * (encoders - 1) / (contrast.n_encoders - 1),
        encoder_share=_quantile_share(between + noise, within + between),
        encoder_noise=noise,
    )


def power(contrast: Contrast, statement: Statement, effect: float, level: float) -> float:
    """Return the probability that one-sided tests at ``level`` decide for the side on which ``effect`` lies.

    ``effect`` and the variances of ``contrast`` are the truth; its own effect does not count.
    """
    # The subsets' part, and with it the noise in the contrast's own scatter between encoders, is estimated; so is that scatter.
    estimates = _estimates(contrast.subset_df)[:, None]
    within, scatter = contrast.subsets * estimates, contrast.encoders + contrast.encoder_noise
    pooled, own = (
        scatter * each for each in _encoder_estimates(contrast.encoder_df, contrast.n_encoders - 1)
    )
    # Pooled, the noise is known well. As in ``Evidence.contrast``, the larger variance counts.
    by_pool = np.maximum(pooled - contrast.encoder_noise, 0.0)
    by_own = own - contrast.encoder_noise * estimates
    few = within + np.maximum(by_pool, by_own)
    share = _quantile_share(np.where(by_own > by_pool, own, np.maximum(pooled, contrast.encoder_noise)), few)
    holds = statement.holds(effect)
    # Outside an interval there are two tests, each at half the level.
    p = level / (1 if holds else np.isfinite([statement.lower, statement.upper]).sum())
    student = (1 - share) * stdtrit(contrast.subset_df, p) + share * stdtrit(contrast.encoder_df, p)
    total = contrast.patients + few
    reach = -(contrast.patients * ndtri(p) + few * student) / np.sqrt(total)
    se, lower, upper = contrast.se, statement.lower, statement.upper
    if holds:
        decided = ndtr((effect - lower - reach) / se) - ndtr((effect - upper + reach) / se)
        return float(np.maximum(decided, 0.0).mean())
    return float((ndtr((lower - effect - reach) / se) + ndtr((effect - upper - reach) / se)).mean())


def smallest_decided(contrast: Contrast, level: float) -> float:
    """Return the smallest difference for which the test of "better than" at ``level`` has ``ENOUGH`` power."""
    low, high = 0.0, 1.0
    while high - low > 1e-5:
        middle = (low + high) / 2
        low, high = (low, middle) if power(contrast, BETTER, middle, level) >= ENOUGH else (middle, high)
    return high


def what_decides(
    contrast: Contrast,
    statement: Statement,
    level: float,
    margin: float,
    work: tuple[float, float] = (1.0, 1.0),
) -> list[Needed]:
    """Return what is needed at the effect seen, and at the smallest effect of interest on its side.

    ``work`` is what one more subset and one more encoder of each source cost, in any unit, to choose the cheapest
    combination.
    """
    effects = [contrast.effect, statement.effect_of_interest(contrast.effect, margin)]
    return [needed(contrast, statement, effect, level, work) for effect in effects]


def needed(
    contrast: Contrast,
    statement: Statement,
    effect: float,
    level: float,
    work: tuple[float, float] = (1.0, 1.0),
) -> Needed:
    """Return the numbers that give the tests of ``contrast`` ``ENOUGH`` power if the truth is ``effect``.

    ``work`` is that of ``what_decides``.
    """

    def decides(numbers: Numbers) -> bool:
        return power(resized(contrast, numbers), statement, effect, level) >= ENOUGH

    now = numbers_of(contrast)
    separate = are_apart(contrast)
    # Subsets that each meet encoders of their own take these along.
    along = contrast.n_encoders == contrast.n_subsets > 1 and not separate

    def with_subsets(subsets: int, encoders: int = now.encoders) -> Numbers:
        return Numbers(1.0, subsets, subsets if along else encoders)

    def in_proportion(factor: float) -> Numbers:
        subsets = min(round(np.ceil(now.subsets * factor)), MOST)
        encoders = min(round(np.ceil(now.encoders * factor)), subsets) if now.encoders > 1 else now.encoders
        return Numbers(factor, subsets, subsets if along else encoders)

    patients = _smallest_multiple(lambda factor: decides(now._replace(patients=factor)))
    subsets = _smallest(lambda subsets: decides(with_subsets(subsets)), now.subsets)
    # More encoders leave fewer degrees of freedom to the scatter within them, so more need not be better.
    tried = (now._replace(encoders=r) for r in range(now.encoders, now.subsets + 1) if separate)
    alone = [
        None if patients is None else now._replace(patients=patients),
        None if subsets is None else with_subsets(subsets),
        next(filter(decides, tried), None),
    ]
    together = None
    if not any(alone):
        together = _cheapest(decides, now, work) if separate else None
        if together is None and (factor := _smallest_multiple(lambda f: decides(in_proportion(f)))):
            together = in_proportion(factor)
    return Needed(effect, power(contrast, statement, effect, level), *alone, together)


def _cheapest(decides: Callable[[Numbers], bool], now: Numbers, work: tuple[float, float]) -> Numbers | None:
    """Return the subsets and encoders that decide for the least work, or None."""
    if not decides(Numbers(1.0, MOST, MOST)):
        return None
    best, least = Numbers(1.0, MOST, MOST), np.inf
    encoders = now.encoders
    while encoders <= MOST and work[1] * (encoders - now.encoders) < least:
        subsets = _smallest(
            lambda subsets, r=encoders: decides(Numbers(1.0, subsets, r)), max(now.subsets, encoders)
        )
        if subsets is not None:
            cost = work[0] * (subsets - now.subsets) + work[1] * (encoders - now.encoders)
            best, least = min(
                (best, least), (Numbers(1.0, subsets, encoders), cost), key=lambda each: each[1]
            )
        encoders = max(encoders + 1, encoders * 5 // 4)
    return best


def _smallest(suffices: Callable[[int], bool], least: int) -> int | None:
    """Return the smallest number from ``least`` to ``MOST`` that ``suffices``, as larger ones do, or None."""
    low, high = least - 1, MOST
    if least > MOST or not suffices(high):
        return None
    # Small numbers are the usual answer.
    step = least
    while step < high:
        if suffices(step):
            high = step
        else:
            low, step = step, 2 * step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high


def _smallest_multiple(suffices: Callable[[float], bool]) -> float | None:
    """Return the smallest multiple from 1 to ``MOST``, to within one percent, that ``suffices``, or None."""
    low, high = 1.0, float(MOST)
    if not suffices(high):
        return None
    while high / low > 1.01:
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high


def _share(subsets: int, encoders: int) -> float:
    """Return the sum of the squared shares of the encoders, if ``subsets`` meet them in turn.

    It is 1 / ``encoders`` if each meets equally many.
    """
    each, left = divmod(subsets, encoders)
    return (left * (each + 1) ** 2 + (encoders - left) * each**2) / subsets**2


def _quantile_share(at_most: np.ndarray | float, few: np.ndarray | float) -> np.ndarray | float:
    """Return the share of the quantile that has the encoders' degrees of freedom, as in ``Evidence.contrast``."""
    return np.minimum(np.divide(at_most, few, out=np.zeros_like(few), where=few > 0), 1.0)


@cache
def _estimates(df: float) -> np.ndarray:
    """Return ``NODES`` equally probable values of an estimated variance with ``df``, as multiples of the true one."""
    if np.isinf(df):
        return np.ones(1)
    return chdtri(df, 1 - (np.arange(NODES) + 0.5) / NODES) / df


@cache
def _encoder_estimates(df: float, own_df: int) -> tuple[np.ndarray, np.ndarray]:
    """Return equally probable pairs of estimates of a variance: pooled with ``df``, and the part of it with ``own_df``.

    They are multiples of the true one. If nothing is pooled, the first are zero.
    """
    if not 0 < own_df < df < np.inf:
        own = _estimates(df)
        return np.zeros_like(own), own
    own, others = (_estimates(each).reshape(-1, 2).mean(axis=1) for each in (own_df, df - own_df))
    pairs = np.broadcast_arrays((own_df * own[:, None] + (df - own_df) * others) / df, own[:, None])
    return pairs[0].ravel(), pairs[1].ravel()
