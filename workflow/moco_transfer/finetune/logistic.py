"""Linear heads that do not depend on the scale of the features: standardised features, and logistic regression on them.

A hundred epochs of stochastic gradient descent are enough for features of one scale and far too few for those of another, so
between encoders from different places such heads compare scales as much as features. A penalised logistic regression has one
optimum, which is found whatever the scale, and how strong the penalty is, the labelled images say themselves.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from moco_transfer.config import Task
from moco_transfer.seeds import stream

VARIANCES = (1.0, 3.0, 10.0, 30.0, 100.0)
"""The strengths of the penalty among which cross-validation chooses, as prior variances of a logit.

scikit-learn minimises half the squared length of the weights plus C times the sum of the images' losses: C is the variance of a
normal prior of each weight. Standardised features have the variance 1, so a logit has the prior variance C times the number of
features, and the same values suit narrow and wide features.
"""
DEFAULT = 10.0
"""The variance if fewer than two classes have two patients, so that nothing can be left out."""
FOLDS = 5
CONSTANT = 1e-6
"""A feature whose standard deviation is a smaller share of its largest value is constant, up to the rounding of float32."""


@dataclass(frozen=True)
class Scale:
    """The mean and the standard deviation of each feature, float64 [width]; a constant feature has a standard deviation of 1."""

    mean: np.ndarray
    sd: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> Scale:
        """Return the scale of ``features`` [n, width]."""
        values = features.astype(np.float64)
        sd = values.std(axis=0)
        return cls(values.mean(axis=0), np.where(sd <= CONSTANT * np.abs(values).max(axis=0), 1, sd))

    def standardised(self, features: np.ndarray) -> np.ndarray:
        """Return ``features`` [..., width] with a mean of 0 and a standard deviation of 1, float64."""
        return (features - self.mean) / self.sd

    def folded(self, weights: np.ndarray) -> np.ndarray:
        """Return the head that gives for raw features what ``weights`` [1 + width, classes] give for standardised ones, float32."""
        raw = weights[1:] / self.sd[:, None]
        return np.concatenate([weights[:1] - self.mean @ raw, raw]).astype(np.float32)


def logistic_head(
    features: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray,
    task: Task,
    names: Sequence[int | str],
) -> tuple[np.ndarray, list[float | None]]:
    """Return the weights of a head, float64 [1 + width, classes] with the bias in row 0, and the prior variance of each regression in it.

    A multilabel head is one regression per class, each with its own penalty, on the images whose label is known. If all of them have
    one value, or there are none, the class gets a constant logit: that of its share of positives by Laplace's rule, (positives +
    1) / (images + 2), and it has no variance (None). A multiclass head is one multinomial regression on the classes that occur; another class
    gets a constant output, with which its probability is at most 1 / (images + 2), again as by Laplace's rule.

    Parameters
    ----------
    features : standardised, float64 [n, width]
    labels : float32 [n, classes]; 0, 1 or NaN (unknown); of a multiclass target exactly one 1 per image
    patients : whose image it is, int [n]; all images of a patient are on one side of a cross-validation
    names : the seed and the name of the random stream that deals the patients into folds
    """
    n, width = features.shape
    weights = np.zeros((1 + width, labels.shape[1]))
    if task == "multiclass":
        answers = labels.argmax(axis=1)
        found = np.unique(answers)
        weights[0] = np.log(len(found) / (n + 1))
        weights[:, found], variance = _regression(features, answers, patients, names)
        return weights, [variance]
    chosen = []
    for number, column in enumerate(labels.T):
        known = ~np.isnan(column)
        answers = column[known].astype(int)
        if len(np.unique(answers)) < 2:
            weights[0, number] = np.log((answers.sum() + 1) / (len(answers) - answers.sum() + 1))
            chosen.append(None)
            continue
        both, variance = _regression(features[known], answers, patients[known], [*names, number])
        weights[:, number] = both[:, 1] - both[:, 0]
        chosen.append(variance)
    return weights, chosen


def _regression(
    features: np.ndarray, answers: np.ndarray, patients: np.ndarray, names: Sequence[int | str]
) -> tuple[np.ndarray, float | None]:
    """Return the weights [1 + width, classes in ``answers``] of a regression, and the prior variance that cross-validation chooses."""
    if len(np.unique(answers)) == 1:
        return np.zeros((1 + features.shape[1], 1)), None
    variance = chosen_variance(features, answers, patients, names)
    return next(_path(features, answers, [variance])), variance


def chosen_variance(
    features: np.ndarray, answers: np.ndarray, patients: np.ndarray, names: Sequence[int | str]
) -> float:
    """Return the prior variance with the smallest log-loss on patients that were left out, summed over the folds.

    The log-loss is what the regression minimises. It is defined if a fold has a single class, which is usual with few labels and
    leaves no AUROC, and it uses every image, so that it varies less. Classes are spread evenly over the folds as far as whole
    patients allow. There are as many folds as the rarest class has patients, up to ``FOLDS``; classes that only one patient has
    are left out of the choice.
    """
    from scipy.special import log_softmax
    from sklearn.model_selection import StratifiedGroupKFold

    having = {each: len(np.unique(patients[answers == each])) for each in np.unique(answers)}
    shared = [each for each, count in having.items() if count > 1]
    if len(shared) < 2:
        return DEFAULT
    kept = np.isin(answers, shared)
    features, answers, patients = features[kept], answers[kept], patients[kept]
    folds = StratifiedGroupKFold(
        min(FOLDS, *(having[each] for each in shared)),
        shuffle=True,
        random_state=int(stream(*names, "folds").integers(2**32)),
    )
    losses = np.zeros(len(VARIANCES))
    for train, left_out in folds.split(features, answers, patients):
        # All patients of a class may be in one fold, because each has images of several classes.
        if len(np.unique(answers[train])) < len(shared):
            continue
        position = np.searchsorted(shared, answers[left_out])
        for number, weights in enumerate(_path(features[train], answers[train], VARIANCES)):
            outputs = features[left_out] @ weights[1:] + weights[0]
            losses[number] -= np.take_along_axis(
                log_softmax(outputs, axis=1), position[:, None], axis=1
            ).sum()
    return VARIANCES[int(losses.argmin())] if losses.any() else DEFAULT


def _path(features: np.ndarray, answers: np.ndarray, variances: Sequence[float]) -> Iterator[np.ndarray]:
    """Yield the weights [1 + width, classes in ``answers``] for each of the prior ``variances``; each fit starts from the one before."""
    # Imported here, because it takes seconds, and the heads of the paper's recipe do without.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(solver="lbfgs", tol=1e-6, max_iter=2000, warm_start=True)
    for variance in variances:
        with warnings.catch_warnings():
            # So near the optimum, rounding may end the last line search; the head is as good.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.set_params(C=variance / features.shape[1]).fit(features, answers)
        weights = np.concatenate([model.intercept_[:, None], model.coef_], axis=1).T
        # Of two classes, scikit-learn gives the difference.
        yield np.concatenate([-weights / 2, weights / 2], axis=1) if weights.shape[1] == 1 else weights.copy()
