"""What the controls say: does domain, size or compute make the difference that the paper ascribes to domain?

The paper varies the domain, the size of the dataset and the length of pretraining together. Each control
separates some of them, so that the difference of two sources answers one question. A question is asked of
every cell (target, mode, percentage), with Holm's correction within the question. The module also says how
much labelled subsets of one size scatter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import chdtri

from moco_transfer.config.analysis import Controls
from moco_transfer.config.experiment import LIMITED, LIMITED_STEPS, NONE_LONGER
from moco_transfer.statistics.evidence import ANSWERS, Evidence, Weights, difference, holm, verdict

DOMAIN = "At equal size and steps, is the domain of {a} better than that of {b}?"
SIZE = "Do more images, and the steps they take, make {a} better than {b}?"
STEPS = "On just the labelled images, do more steps help?"
IMAGES = "At equal steps, do more images of the target's own domain help?"
OTHER = "Do more images of another domain beat the labelled images, given as many steps as in-domain MoCo?"
COMPUTE = (
    "Without MoCo, does as much more supervised training, its length not chosen, beat the best of the "
    "budgets?"
)
PRETRAINING = (
    "Does in-domain MoCo, at the best of the budgets, beat as much more supervised training, its length not "
    "chosen?"
)


COLUMNS = [
    *("control", "question", "target", "mode", "percent", "a", "b"),
    *("effect", "lower", "upper", "p", "p_against", "answer"),
]


@dataclass(frozen=True)
class Question:
    """One question about one cell: is source ``a`` better than source ``b``?"""

    control: str
    question: str
    target: str
    mode: str
    percent: str
    a: str
    b: str

    @property
    def weights(self) -> Weights:
        return difference(self.target, self.mode, self.percent, self.a, self.b)


def control_questions(
    controls: Controls, percents: Mapping[str, Sequence[str]], alone: Mapping[str, str]
) -> Iterator[Question]:
    """Yield every question that ``controls`` answer.

    ``percents`` maps each target to its percentages; ``alone`` maps a dataset to the source that sees only
    this dataset.
    """
    for sample, control in controls.size.items():
        for text, dataset in ((DOMAIN, control.as_many_as), (SIZE, control.dataset)):
            if (whole := alone.get(dataset)) is not None:
                asked = text.format(a=whole, b=sample)
                for target, each in percents.items():
                    for percent in each:
                        yield Question("size", asked, target, "linear", percent, whole, sample)
    for target, each in controls.steps.items():
        others = [source for dataset, source in alone.items() if dataset != target]
        pairs = [(STEPS, LIMITED_STEPS, LIMITED), (IMAGES, alone.get(target), LIMITED_STEPS)]
        pairs += [(OTHER, other, LIMITED_STEPS) for other in others]
        for percent in each:
            for text, a, b in pairs:
                if a is not None:
                    yield Question("steps", text, target, "linear", percent, a, b)
    for target, each in controls.budget.items():
        for percent in each:
            yield Question("budget", COMPUTE, target, "end_to_end", percent, NONE_LONGER, "none")
            if (whole := alone.get(target)) is not None:
                yield Question("budget", PRETRAINING, target, "end_to_end", percent, whole, NONE_LONGER)


def controls_table(questions: Sequence[Question], evidence: Evidence, level: float) -> pd.DataFrame:
    """Return the fields of each question with effect, lower, upper, p, p_against and answer.

    The effect is the AUROC of ``a`` minus that of ``b``; its interval covers 1 - 2 ``level``. The one-sided
    p-values have Holm's correction within the question. An answer is 'yes', 'no' (the opposite is shown),
    'undecided' or 'cannot be tested'. Questions about estimates that are not known are left out.
    """
    rows = []
    for text in dict.fromkeys(question.question for question in questions):
        asked = [each for each in questions if each.question == text and evidence.has(*each.weights)]
        contrasts = [evidence.contrast(question.weights) for question in asked]
        above = holm([contrast.p_above(0.0) for contrast in contrasts])
        below = holm([contrast.p_below(0.0) for contrast in contrasts])
        for question, contrast, p, p_against in zip(asked, contrasts, above, below, strict=True):
            numbers = (contrast.effect, *contrast.interval(level), p, p_against)
            numbers = dict(zip(("effect", "lower", "upper", "p", "p_against"), numbers, strict=True))
            rows.append(vars(question) | numbers | {"answer": ANSWERS[verdict(p, p_against, level)]})
    return pd.DataFrame(rows, columns=COLUMNS)


def subset_scatter(subsets: pd.DataFrame, extra: pd.DataFrame, level: float) -> pd.DataFrame:
    """Return the standard deviation between labelled subsets for each linear cell, with its interval.

    ``subsets`` (the run's own) and ``extra`` (further subsets) are frames with target, source, mode, percent,
    subset and auroc. Returns target, percent, source, subsets (how many), sd, lower and upper (1 - 2
    ``level``, from the chi-squared distribution, which assumes normal AUROCs) and run_sd, the standard
    deviation of the run's own subsets alone.
    """
    linear = subsets[subsets["mode"] == "linear"]
    rows = []
    for (target, percent, source), more in extra.groupby(["target", "percent", "source"], sort=False):
        same_cell = (linear[["target", "percent", "source"]] == [target, percent, source]).all(axis="columns")
        own = linear.loc[same_cell, "auroc"]
        every = np.concatenate([own, more["auroc"]])
        df, sd = len(every) - 1, float(np.std(every, ddof=1))
        # chdtri inverts the upper tail.
        lower, upper = (sd * np.sqrt(df / chdtri(df, tail)) for tail in (level, 1 - level))
        names = {"target": target, "percent": percent, "source": source, "subsets": len(every)}
        rows.append(names | {"sd": sd, "lower": lower, "upper": upper, "run_sd": float(own.std(ddof=1))})
    return pd.DataFrame(rows)
