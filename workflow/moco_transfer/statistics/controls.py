"""What the controls say: does domain, size or compute make the difference that the paper ascribes to domain?

The paper varies the domain, the size of the dataset and the length of pretraining together. Each control
separates some of them, and each question names everything in which its two sources differ. A question is asked
of every cell (target, mode, percentage), with Holm's correction within the question. The module also says how
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
from moco_transfer.config.training import Schedule
from moco_transfer.data.counts import subset_size
from moco_transfer.statistics.evidence import ANSWERS, Evidence, Weights, difference, holm, verdict
from moco_transfer.training.schedule import clamp, epochs_for_steps, full_steps

DOMAIN = "At equal size and schedule, is the domain of {a} better than that of {b}?"
DOMAIN_AND_SCHEDULE = (
    "At equal size, are the domain and the schedule of {a} together better than those of {b} ({differences})?"
)
SIZE = "At an equal schedule, do more images make {a} better than {b} ({differences})?"
SIZE_AND_SCHEDULE = "Do more images and another schedule together make {a} better than {b} ({differences})?"
STEPS = "On just the labelled images, do more steps help?"
IMAGES = "At equal steps, do more images of the target's own domain help{others}?"
OTHER = "Do more images of another domain beat the labelled images, given as many steps as in-domain MoCo{others}?"
COMPUTE = "Without MoCo, does supervised training that shows as many images as MoCo would ({length}) beat the best of the budgets?"
PRETRAINING = "Does in-domain MoCo, at the best of the budgets, beat supervised training that shows as many images ({length})?"
LENGTH = "its length is fixed, not selected"
OVERFITTING = f"{LENGTH}, and without augmentation it may overfit to the labelled images"

# What a schedule sets, and what then also depends on the number of images.
SCHEDULED = ("epochs", "batch", "learning rate", "bn_groups")
FOLLOWING = ("steps", "queue")

COLUMNS = [
    *("control", "question", "target", "mode", "percent", "a", "b"),
    *("effect", "lower", "upper", "p", "p_against", "answer", "one_encoder"),
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


@dataclass(frozen=True)
class Pretrainings:
    """What tells the MoCo trainings of a run apart.

    ``images`` counts the images of each dataset that MoCo sees. ``schedules`` holds the schedule of each source, size control
    and target; ``queue`` is the configured number of keys.
    """

    images: Mapping[str, int]
    schedules: Mapping[str, Schedule]
    queue: int

    def facts(self, name: str, images: int, as_many_steps_as: int | None = None) -> dict[str, float]:
        """Return images, epochs, batch, learning rate, bn_groups, steps and queue of a training, cut to its images (#9).

        ``name`` is the one of its schedule. With ``as_many_steps_as``, it takes as many steps as on that many images.
        """
        own = self.schedules[name]
        epochs = own.epochs
        if as_many_steps_as:
            epochs = epochs_for_steps(epochs, own.batch, as_many_steps_as, images)
        batch, queue = clamp(images, own.batch, self.queue)
        return {
            "images": images,
            "epochs": epochs,
            "batch": batch,
            "learning rate": own.lr,
            "bn_groups": min(own.bn_groups, batch // 2),
            "steps": epochs * full_steps(images, batch),
            "queue": queue,
        }


def control_questions(
    controls: Controls,
    percents: Mapping[str, Sequence[str]],
    alone: Mapping[str, str],
    pretrainings: Pretrainings,
    augmented: bool,
) -> list[Question]:
    """Return every question that ``controls`` answer.

    ``percents`` maps each target to its percentages; ``alone`` maps a dataset to the source that sees only
    this dataset. ``augmented`` says whether finetuning augments its images.
    """
    return [
        *_size_questions(controls, percents, alone, pretrainings),
        *_steps_questions(controls, alone, pretrainings),
        *_budget_questions(controls, alone, augmented),
    ]


def _size_questions(
    controls: Controls,
    percents: Mapping[str, Sequence[str]],
    alone: Mapping[str, str],
    pretrainings: Pretrainings,
) -> Iterator[Question]:
    for sample, control in controls.size.items():
        drawn = pretrainings.facts(sample, pretrainings.images[control.as_many_as])
        for same, another, dataset in (
            (DOMAIN, DOMAIN_AND_SCHEDULE, control.as_many_as),
            (SIZE, SIZE_AND_SCHEDULE, control.dataset),
        ):
            if (whole := alone.get(dataset)) is None:
                continue
            every = pretrainings.facts(whole, pretrainings.images[dataset])
            text = another if _differing(every, drawn, SCHEDULED) else same
            asked = text.format(a=whole, b=sample, differences=_differences_text(every, drawn))
            for target, each in percents.items():
                for percent in each:
                    yield Question("size", asked, target, "linear", percent, whole, sample)


def _steps_questions(
    controls: Controls, alone: Mapping[str, str], pretrainings: Pretrainings
) -> Iterator[Question]:
    asked: list[tuple[str, str, str, str, str]] = []
    found: dict[str, list[str]] = {}  # what differs in any of a question's cells, beside what it asks
    for target, each in controls.steps.items():
        pairs = [(STEPS, LIMITED_STEPS, LIMITED, target, ())]
        pairs += [(IMAGES, alone.get(target), LIMITED_STEPS, target, (*SCHEDULED[1:], "queue"))]
        pairs += [
            (OTHER, source, LIMITED_STEPS, dataset, (*SCHEDULED[1:], *FOLLOWING))
            for dataset, source in alone.items()
            if dataset != target
        ]
        images = pretrainings.images[target]
        for percent in each:
            few = pretrainings.facts(target, subset_size(percent, images), as_many_steps_as=images)
            for text, a, b, dataset, names in pairs:
                if a is None:
                    continue
                asked.append((text, target, percent, a, b))
                if names:
                    every = pretrainings.facts(a, pretrainings.images[dataset])
                    found.setdefault(text, []).extend(_differing(every, few, names))
    for text, target, percent, a, b in asked:
        names = [name for name in (*SCHEDULED, *FOLLOWING) if name in found.get(text, [])]
        also = f" (they differ in {_listed(names)} as well)" if names else ""
        yield Question("steps", text.format(others=also), target, "linear", percent, a, b)


def _budget_questions(controls: Controls, alone: Mapping[str, str], augmented: bool) -> Iterator[Question]:
    compute, pretraining = (
        text.format(length=LENGTH if augmented else OVERFITTING) for text in (COMPUTE, PRETRAINING)
    )
    for target, each in controls.budget.items():
        for percent in each:
            yield Question("budget", compute, target, "end_to_end", percent, NONE_LONGER, "none")
            if (whole := alone.get(target)) is not None:
                yield Question("budget", pretraining, target, "end_to_end", percent, whole, NONE_LONGER)


def _differing(a: Mapping[str, float], b: Mapping[str, float], names: Sequence[str]) -> list[str]:
    return [name for name in names if a[name] != b[name]]


def _differences_text(a: Mapping[str, float], b: Mapping[str, float]) -> str:
    """Return in what two trainings differ: what is set first, then what follows from it."""
    parts = [
        _listed([f"{name} {a[name]:,} instead of {b[name]:,}" for name in _differing(a, b, names)])
        for names in (("images", *SCHEDULED), FOLLOWING)
    ]
    return ", and so ".join(filter(None, parts))


def _listed(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def controls_table(questions: Sequence[Question], evidence: Evidence, level: float) -> pd.DataFrame:
    """Return the fields of each question with effect, lower, upper, p, p_against, answer and one_encoder.

    The effect is the AUROC of ``a`` minus that of ``b``; its interval covers 1 - 2 ``level``. The one-sided
    p-values have Holm's correction within the question. An answer is 'yes', 'no' (the opposite is shown),
    'undecided' or 'cannot be tested'. ``one_encoder`` names those of the two sources of which the run has trained a
    single encoder: the answer is about these encoders. Questions about estimates that are not known are left out.
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
            answer = {"answer": ANSWERS[verdict(p, p_against, level)]}
            rows.append(vars(question) | numbers | answer | {"one_encoder": " ".join(contrast.one_encoder)})
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
