"""An estimated effect, the parts of its variance, and its tests and intervals.

The variance has three parts. That of the test patients comes from hundreds of images and counts as known. Those of the labelled
subsets (each with its own training seed) and of the encoders are estimated from few values, which matters most in the far tails
that Holm's correction uses. Cochran's (1964) quantiles account for it: means of normal and Student's quantiles, weighted by the
parts of the variance. Satterthwaite's degrees of freedom would reject up to four times too often there. docs/statistics.md
gives the error rates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit


@dataclass(frozen=True)
class Contrast:
    """An estimated effect with the variances due to test patients, labelled subsets and encoders.

    A part that is unknown is NaN. The degrees of freedom belong to the two parts that are estimated. ``encoder_share`` is the
    share of their quantile that has those of the encoders: the scatter between encoders by the estimated variance. It is larger than
    the encoders' share of the variance, because their part is what remains of that scatter after the subsets' part is taken away. ``one_encoder`` names the sources of which
    there is one encoder only; how much another one would differ is unknown, so a statement is about these encoders.
    ``n_subsets`` are averaged, and ``n_encoders`` is how many of each source they meet in turn; ``encoder_noise`` is what the subsets add
    to the scatter between encoders (``power``).
    """

    effect: float
    patients: float
    subsets: float = 0.0
    subset_df: float = np.inf
    encoders: float = 0.0
    encoder_df: float = np.inf
    encoder_share: float = 0.0
    one_encoder: tuple[str, ...] = ()
    n_subsets: int = 0
    n_encoders: int = 1
    encoder_noise: float = 0.0

    @property
    def variance(self) -> float:
        return self.patients + self.subsets + self.encoders

    @property
    def se(self) -> float:
        return float(np.sqrt(self.variance))

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
        reach = self.upper_quantile(level) * self.se
        return self.effect - reach, self.effect + reach

    def upper_quantile(self, p: float) -> float:
        """Return the number of standard errors that chance exceeds with probability ``p``."""
        few = self.subsets + self.encoders
        if not few > 0:
            return -float(ndtri(p))
        student = 0.0
        for share, df in ((1 - self.encoder_share, self.subset_df), (self.encoder_share, self.encoder_df)):
            if share > 0:
                student += share * stdtrit(df, p)
        return -float((self.patients * ndtri(p) + few * student) / self.variance)

    def _upper_tail(self, t: float) -> float:
        """Return the probability whose upper quantile is ``t``, by bisection, because there is no formula."""
        if t < 0:
            return 1 - self._upper_tail(-t)
        if not self.subsets + self.encoders > 0:
            return float(ndtr(-t))
        # Bisect normal quantiles, which never exceed Cochran's. Beyond 20, p-values are below 1e-88.
        low, high = 0.0, min(t, 20.0)
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if self.upper_quantile(float(ndtr(-middle))) < t else (low, middle)
        return float(ndtr(-high))
