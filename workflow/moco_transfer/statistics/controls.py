"""What the controls say: whether domain, size or compute makes the difference that the paper puts down to domain.

In the paper the in-domain set, the larger set and the longer pretraining are varied together. Each control takes some of
that apart, so that a difference of two sources answers one question, which says what differs; it is asked of every cell
and corrected by Holm within the question.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import chdtri

from moco_transfer.config.experiment import LIMITED, LIMITED_STEPS, NONE_LONGER, Controls
from moco_transfer.statistics.evidence import Cell, Evidence, holm, verdict

DOMAIN = "At equal size and steps, is the domain of {a} better than that of {b}?"
SIZE = "Do more images, and the steps they take, make {a} better than {b}?"
STEPS = "On just the labelled images, do more steps help?"
IMAGES = "At equal steps, do more images of the target's own domain help?"
OTHER = "Do more images of another domain beat the labelled images, given as many steps as in-domain MoCo?"
COMPUTE = "Without MoCo, does as much more supervised training, its length not chosen, beat the best of the budgets?"
PRETRAINING = "Does in-domain MoCo, at the best of the budgets, beat as much more supervised training, its length not chosen?"


@dataclass(frozen=True)
class Question:
    """A control's question of one cell: whether source ``a`` is above source ``b``."""

    control: str
    text: str
    target: str
    mode: str
    percent: str
    a: str
    b: str


def control_questions(
    controls: Controls, percents: Mapping[str, Sequence[str]], alone: Mapping[str, str]
) -> Iterator[Question]:
    """Yield every question that ``controls`` answer.

    ``percents`` are those of each target; ``alone`` names the source that sees just one dataset, by dataset.
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
    """Return the answers: control, question, target, mode, percent, a, b, effect, lower, upper, p, p_against, answer.

    The effect is the AUROC of ``a`` less that of ``b``, its interval covers 1 - 2 ``level``; the one-sided p-values are
    Holm's within the question. An answer is 'yes', 'no' (the opposite is shown), 'undecided' or 'cannot be tested'.
    A question whose cells are not known is left out.
    """
    rows = []
    for text in dict.fromkeys(question.text for question in questions):
        asked, contrasts = [], []
        for question in questions:
            cells = [
                Cell(question.target, s, question.mode, question.percent) for s in (question.a, question.b)
            ]
            if question.text == text and evidence.has(*cells):
                asked.append(question)
                contrasts.append(evidence.contrast(dict(zip(cells, (1.0, -1.0), strict=True))))
        above = holm([contrast.p_above(0.0) for contrast in contrasts])
        below = holm([contrast.p_below(0.0) for contrast in contrasts])
        for question, contrast, p, p_against in zip(asked, contrasts, above, below, strict=True):
            lower, upper = contrast.interval(level)
            names = {"control": question.control, "question": text, "target": question.target}
            names |= {"mode": question.mode, "percent": question.percent, "a": question.a, "b": question.b}
            numbers = {"effect": contrast.effect, "lower": lower, "upper": upper}
            said = ANSWERS[verdict(p, p_against, level)]
            rows.append(names | numbers | {"p": p, "p_against": p_against, "answer": said})
    return pd.DataFrame(rows)


ANSWERS = {
    "supported": "yes",
    "not supported": "no",
    "undecided": "undecided",
    "cannot be tested": "cannot be tested",
}


def subset_scatter(subsets: pd.DataFrame, extra: pd.DataFrame, level: float) -> pd.DataFrame:
    """Return the standard deviation between labelled subsets of each linear cell, with its interval.

    ``subsets`` (of the run) and ``extra`` (further subsets) are frames with target, source, mode, percent, subset and auroc.
    Returns target, percent, source, subsets, sd, lower, upper (1 - 2 ``level``, from the chi-squared distribution, as
    of normal AUROCs) and run_sd, what the run's own subsets alone would have said.
    """
    rows = []
    for cell, more in extra.groupby(["target", "percent", "source"], sort=False):
        own = subsets[
            (subsets["mode"] == "linear")
            & (subsets[["target", "percent", "source"]] == list(cell)).all(axis="columns")
        ]["auroc"]
        every = np.concatenate([own, more["auroc"]])
        df, sd = len(every) - 1, float(np.std(every, ddof=1))
        # chdtri inverts the upper tail.
        ends = [sd * np.sqrt(df / chdtri(df, tail)) for tail in (level, 1 - level)]
        target, percent, source = cell
        names = {"target": target, "percent": percent, "source": source, "subsets": len(every)}
        rows.append(names | {"sd": sd, "lower": ends[0], "upper": ends[1], "run_sd": float(own.std(ddof=1))})
    return pd.DataFrame(rows)
