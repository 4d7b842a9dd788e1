"""The comparisons that a run leaves undecided: those of claims, of controls, and of the advice's choice.

Each has the contrast, the statement that its test is to show, and the level at which it is tested. In a family of m
comparisons, Holm's correction tests the first at the level divided by m, so that is the level here: the power is no
lower than predicted, whichever others are decided. A claim about at least u of m comparisons as a whole is decided by
one of them at a level of its own (``evidence.at_least``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from moco_transfer.report.names import MODE_LABELS
from moco_transfer.statistics.claims import claim_text
from moco_transfer.statistics.comparisons import CLAIMS, Claim, Comparison
from moco_transfer.statistics.contrast import Contrast
from moco_transfer.statistics.controls import Question
from moco_transfer.statistics.design import Design
from moco_transfer.statistics.evidence import (
    EstimateKey,
    Evidence,
    at_least,
    holm,
    required,
    verdict,
)
from moco_transfer.statistics.power import BETTER, Statement


class Undecided(NamedTuple):
    """One undecided comparison, tested one-sided at ``level``; ``kind`` is 'claim', 'control' or 'advice'.

    ``whole`` says whether it decides the question: a claim as a whole, a control in this cell, the advice.
    """

    kind: str
    question: str
    cell: str
    whole: bool
    target: str
    contrast: Contrast
    statement: Statement
    level: float


def undecided_claims(evidence: Evidence, design: Design, margin: float, level: float) -> Iterator[Undecided]:
    """Yield, for each claim that is undecided as a whole, what decides it, then each undecided comparison."""
    design = design.seen_in(evidence)
    for number, claim in CLAIMS.items():
        comparisons = list(claim.comparisons(evidence, design, margin, level))
        # Who wins at which budget (claim 11) is no contrast.
        if any(each.contrast is None for each in comparisons):
            continue
        question = f"{number}: {claim_text(claim, design)}"
        if comparisons and (deciding := _deciding(claim, comparisons, level)) is not None:
            yield _from_comparison(question, True, *deciding)
            for each, decided in zip(comparisons, _verdicts(comparisons, level), strict=True):
                if decided == "undecided":
                    yield _from_comparison(question, False, each, level / _tested(comparisons))


def undecided_controls(
    questions: Sequence[Question], evidence: Evidence, level: float
) -> Iterator[Undecided]:
    """Yield the undecided answers to ``questions``, with Holm's correction as in ``controls_table``."""
    for text in dict.fromkeys(question.question for question in questions):
        asked = [each for each in questions if each.question == text and evidence.has(*each.weights)]
        contrasts = [evidence.contrast(question.weights) for question in asked]
        above = holm([contrast.p_above(0.0) for contrast in contrasts])
        below = holm([contrast.p_below(0.0) for contrast in contrasts])
        family = np.count_nonzero(~np.isnan(above))
        for question, contrast, p, p_against in zip(asked, contrasts, above, below, strict=True):
            if verdict(p, p_against, level) == "undecided":
                mode = MODE_LABELS[question.mode]
                cell = f"{question.target} {question.percent}% {mode}: {question.a} - {question.b}"
                found = (cell, True, question.target, contrast, BETTER, level / family)
                yield Undecided("control", text, *found)


def undecided_advice(advice: pd.DataFrame, evidence: Evidence, level: float) -> Iterator[Undecided]:
    """Yield the comparison of the chosen way of each target and percentage with the best rival that may be better.

    ``advice`` comes from ``advice_table`` at ``level``; a way leaves the set of the best at the level divided by the
    number of others. If the test images contradict the choice, there is nothing to decide about it.
    """
    ways = advice[advice["may_have_seen"].isna() & advice["p_best"].notna()]
    for (target, percent), cell in ways.groupby(["target", "percent"], sort=False):
        rivals = cell.iloc[1:][cell["may_be_best"].iloc[1:]]
        if rivals.empty or not cell["may_be_best"].iloc[0]:
            continue
        first, second = (
            EstimateKey(target, way["source"], way["mode"], percent)
            for way in (cell.iloc[0], rivals.loc[rivals["auroc"].idxmax()])
        )
        names = [f"{key.source} {MODE_LABELS[key.mode]}" for key in (first, second)]
        contrast = evidence.contrast({first: 1.0, second: -1.0})
        question = "Is the way that the validation images choose better than the best rival?"
        found = (f"{target} {percent}%: {names[0]} - {names[1]}", True, target, contrast, BETTER)
        yield Undecided("advice", question, *found, level / (len(cell) - 1))


def _deciding(
    claim: Claim, comparisons: Sequence[Comparison], level: float
) -> tuple[Comparison, float] | None:
    """Return the comparison that decides a claim for the side to which its estimates point, and the level.

    It is None if the claim is decided.
    """
    m = len(comparisons)
    u = required(claim.quantifier, m)
    p, p_against = ([getattr(each, name) for each in comparisons] for name in ("p", "p_against"))
    if verdict(at_least(p, u), at_least(p_against, m - u + 1), level) != "undecided":
        return None
    if sum(each.holds for each in comparisons) >= u:
        return comparisons[int(np.argsort(p, kind="stable")[u - 1])], level / (m - u + 1)
    return comparisons[int(np.argsort(p_against, kind="stable")[m - u])], level / u


def _verdicts(comparisons: Sequence[Comparison], level: float) -> list[str]:
    above, below = (holm([getattr(each, name) for each in comparisons]) for name in ("p", "p_against"))
    return [verdict(*each, level) for each in zip(above, below, strict=True)]


def _tested(comparisons: Sequence[Comparison]) -> int:
    return sum(not np.isnan(each.p) for each in comparisons)


def _from_comparison(question: str, whole: bool, comparison: Comparison, level: float) -> Undecided:
    target = next(target for target, _ in comparison.cells)
    tested = (target, comparison.contrast, comparison.statement)
    return Undecided("claim", question, comparison.name, whole, *tested, level)
