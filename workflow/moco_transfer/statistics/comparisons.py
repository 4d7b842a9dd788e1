"""The paper's claims as comparisons of AUROCs between roles of sources.

A claim consists of comparisons, each a contrast with a direction, and a quantifier: the paper says that it holds for all of them, for
most ("often") or for some ("can", "depending on"). A comparison is left out if an estimate is missing. The same comparisons are made on a
run of ours and on the paper's own tables. Claim 10, about the similarity of datasets, is judged in ``similarity_ranks``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np

from moco_transfer.experiment import MODES
from moco_transfer.report.names import MODE_LABELS
from moco_transfer.roles import Role
from moco_transfer.statistics.contrast import Contrast
from moco_transfer.statistics.design import Design
from moco_transfer.statistics.evidence import (
    EstimateKey,
    Evidence,
    Quantifier,
    Weights,
    at_least,
    difference,
)
from moco_transfer.statistics.power import Statement

# Mixtures and MoCo on just the labelled images take part only in the claims that name them.
MOCO: Sequence[Role] = ("own", "other", "natural")
COMPETING: Sequence[Role] = ("initial", *MOCO)


@dataclass(frozen=True)
class Comparison:
    """One comparison: its effect with an interval, and the p-values for the claim and against it.

    ``cells`` are the pairs of target and percentage that it is about. ``holds`` says whether the estimate agrees with the claim,
    however uncertain it is. p-values are NaN if no test is possible; ``remark`` then says why, and else of what the variance consists.
    ``one_encoder`` names the sources of which there is only one trained encoder. ``contrast`` and ``statement`` say what was tested, if it
    is one contrast.
    """

    name: str
    cells: frozenset[tuple[str, str]]
    effect: float
    lower: float
    upper: float
    holds: bool
    p: float
    p_against: float
    remark: str
    one_encoder: tuple[str, ...] = ()
    contrast: Contrast | None = None
    statement: Statement | None = None


Contrasts = Iterator[tuple[str, Weights]]
Test = Callable[[Contrast, float], tuple[bool, float, float]]
"""Takes a contrast and the margin; returns whether the estimate agrees, and the p-values for and against."""
Comparisons = Callable[[Evidence, Design, float, float], Iterable[Comparison]]
"""Takes the evidence, the roles of its sources, the margin and the level; returns comparisons."""


@dataclass(frozen=True)
class Claim:
    """A claim in general words and in the paper's, its comparisons, and for how many of them the paper says that it holds.

    ``{}`` in ``text`` stands for those of the ``named`` roles that a run has. A run without some of the roles ``needs`` cannot ask;
    if it has all of them, it lacks ``also``.
    """

    text: str
    in_the_paper: str
    quantifier: Quantifier
    comparisons: Comparisons
    needs: Sequence[Role]
    also: str = "estimates of them"
    named: Sequence[Role] = ()


def _superior(contrast: Contrast, margin: float) -> tuple[bool, float, float]:
    return contrast.effect > 0.0, contrast.p_above(0.0), contrast.p_below(0.0)


def _not_inferior(contrast: Contrast, margin: float) -> tuple[bool, float, float]:
    return contrast.effect > -margin, contrast.p_above(-margin), contrast.p_below(-margin)


def _equivalent(contrast: Contrast, margin: float) -> tuple[bool, float, float]:
    """Make two one-sided tests (TOST, Schuirmann 1987); ``p_against`` is twice the smaller one outside."""
    within = max(contrast.p_above(-margin), contrast.p_below(margin))
    outside = min(2 * min(contrast.p_above(margin), contrast.p_below(-margin)), 1.0)
    return abs(contrast.effect) < margin, within, outside


def _statement(test: Test, margin: float) -> Statement:
    """Return what ``test`` is to show."""
    bounds = {_superior: (0.0, np.inf), _not_inferior: (-margin, np.inf), _equivalent: (-margin, margin)}
    return Statement(*bounds[test])


def _tested(contrasts: Callable[[Evidence, Design], Contrasts], test: Test = _superior) -> Comparisons:
    """Return a function that makes ``test`` on each of the ``contrasts`` whose estimates are known."""

    def compare(evidence: Evidence, design: Design, margin: float, level: float) -> Iterator[Comparison]:
        for name, weights in contrasts(evidence, design):
            if evidence.has(*weights):
                contrast = evidence.contrast(weights)
                yield Comparison(
                    name,
                    frozenset((key.target, key.percent) for key in weights),
                    contrast.effect,
                    *contrast.interval(level),
                    *test(contrast, margin),
                    _remark(contrast, any(key.source in evidence.encoders for key in weights)),
                    contrast.one_encoder,
                    contrast,
                    _statement(test, margin),
                )

    return compare


def _remark(contrast: Contrast, trained: bool) -> str:
    """Return why a contrast cannot be tested, or the shares of its variance; ``trained``: some of its encoders are trained in the run."""
    if np.isnan(contrast.effect):
        return "an AUROC is not defined: no class has both values in the test images"
    if np.isnan(contrast.subsets):
        return "one labelled subset: the variance between subsets is unknown"
    if np.isnan(contrast.se):
        return "one patient: the variance between test sets is unknown"
    if contrast.se == 0:
        return "no variance in this sample"
    parts = {"patients": contrast.patients, "subsets": contrast.subsets}
    if np.isfinite(contrast.encoder_df):
        parts["encoders"] = contrast.encoders
    elif trained and not contrast.one_encoder:  # each subset has met encoders of its own
        parts = {"patients": contrast.patients, "subsets with their encoders": contrast.subsets}
    elif contrast.subsets == 0:
        return ""
    return "variance: " + ", ".join(f"{each / contrast.variance:.0%} {name}" for name, each in parts.items())


def _linear(target: str, percent: str, better: str, worse: str) -> tuple[str, Weights]:
    """Return the name and the weights of the linear comparison of two sources."""
    return f"{target} {percent}%: {better} - {worse}", difference(target, "linear", percent, better, worse)


def _by_mode(target: str, percent: str, mode: str, better: str, worse: str) -> tuple[str, Weights]:
    name = f"{target} {percent}% {MODE_LABELS[mode]}: {better} - {worse}"
    return name, difference(target, mode, percent, better, worse)


def _own_is_best(evidence: Evidence, design: Design) -> Contrasts:
    for target, percent in evidence.cells():
        rivals = design.of(target, "initial", "other", "natural")
        for own, rival in product(design.of(target, "own"), rivals):
            yield _linear(target, percent, own, rival)


def _other_beats_natural(evidence: Evidence, design: Design) -> Contrasts:
    for target, percent in evidence.cells():
        for other, rival in product(design.of(target, "other"), design.of(target, "initial", "natural")):
            yield _linear(target, percent, other, rival)


def _larger_matches_limited(evidence: Evidence, design: Design) -> Contrasts:
    for target, percent in evidence.cells():
        for larger, limited in product(design.larger(target), design.of(target, "limited")):
            yield _linear(target, percent, larger, limited)


def _mixture_equals_its_largest(evidence: Evidence, design: Design) -> Contrasts:
    for target, percent in evidence.cells():
        for mixture in design.of(target, "mixture"):
            for alone in design.largest_alone(mixture):
                yield _linear(target, percent, mixture, alone)


def _gain_is_smaller_end_to_end(evidence: Evidence, design: Design) -> Contrasts:
    for target, percent in evidence.cells():
        for source, initial in product(design.of(target, *MOCO), design.of(target, "initial")):
            linear = difference(target, "linear", percent, source, initial)
            minus_end_to_end = difference(target, "end_to_end", percent, initial, source)
            yield f"{target} {percent}%: gain of {source}, linear - end to end", linear | minus_end_to_end


def _linear_beats_end_to_end(evidence: Evidence, design: Design) -> Contrasts:
    for target in evidence.targets():
        few = design.few_labels(target, evidence.percents(target))
        for percent, source in product(few, design.of(target, *COMPETING)):
            linear, end_to_end = (EstimateKey(target, source, mode, percent) for mode in MODES)
            yield f"{target} {percent}%, {source}: linear - end to end", {linear: 1.0, end_to_end: -1.0}


def _more_labels_help(evidence: Evidence, design: Design) -> Contrasts:
    for target, mode in product(evidence.targets(), MODES):
        for source in design.of(target, *COMPETING):
            for fewer, more in pairwise(evidence.percents(target, mode)):
                at_fewer, at_more = (EstimateKey(target, source, mode, percent) for percent in (fewer, more))
                name = f"{target} {MODE_LABELS[mode]}, {source}: {more}% - {fewer}%"
                yield name, {at_more: 1.0, at_fewer: -1.0}


def _gain_shrinks(evidence: Evidence, design: Design) -> Contrasts:
    for target, mode in product(evidence.targets(), MODES):
        percents = evidence.percents(target, mode)
        pairs = product(design.of(target, *MOCO), design.of(target, "initial"))
        for source, initial in pairs if len(percents) > 1 else []:
            fewest, most = percents[0], percents[-1]
            at_fewest = difference(target, mode, fewest, source, initial)
            minus_at_most = difference(target, mode, most, initial, source)
            name = f"{target} {MODE_LABELS[mode]}: gain of {source}, {fewest}% - {most}%"
            yield name, at_fewest | minus_at_most


def _other_is_not_inferior(evidence: Evidence, design: Design) -> Contrasts:
    for (target, percent), mode in product(evidence.cells(), MODES):
        for other, own in product(design.of(target, "other"), design.of(target, "own")):
            yield _by_mode(target, percent, mode, other, own)


def _order(evidence: Evidence, design: Design) -> Contrasts:
    for (target, percent), mode in product(evidence.cells(), MODES):
        owns, others, initials = (design.of(target, role) for role in ("own", "other", "initial"))
        if owns and initials:
            for better, worse in (*product(others, initials), *product(owns, others)):
                yield _by_mode(target, percent, mode, better, worse)


def _budget_changes_the_winner(
    evidence: Evidence, design: Design, margin: float, level: float
) -> Iterator[Comparison]:
    """Yield, for each (target, percent), the test that at least two sources win at some budget.

    To win at a budget is to beat all rivals there (an intersection: the largest p-value); to win at some
    budget is a union over budgets. The effect is the second-best source's largest lead over its best
    rival at any budget: if it is above zero, the winner changes in this sample. The opposite of the claim is
    that one source wins everywhere.
    """
    for target, percent in evidence.cells():
        competing = design.of(target, *COMPETING)
        budgets = evidence.budgets(target, percent, competing)
        sources = [
            source
            for source in competing
            if evidence.has(*(EstimateKey(target, source, "end_to_end", percent, each) for each in budgets))
        ]
        if len(budgets) < 2 or len(sources) < 2:
            continue
        leads, p = np.empty((2, len(sources), len(budgets)))
        one_encoder: set[str] = set()
        for (i, source), (j, epochs) in product(enumerate(sources), enumerate(budgets)):
            contrasts = [
                evidence.contrast(difference(target, "end_to_end", percent, source, rival, epochs))
                for rival in sources
                if rival != source
            ]
            leads[i, j] = min(contrast.effect for contrast in contrasts)
            p[i, j] = max(contrast.p_above(0.0) for contrast in contrasts)
            one_encoder.update(*(contrast.one_encoder for contrast in contrasts))
        wins_somewhere = [at_least(by_budget, 1) for by_budget in p]
        wins_everywhere = [at_least(by_budget, len(budgets)) for by_budget in p]
        second_lead = float(np.sort(leads.max(axis=1))[-2])
        yield Comparison(
            name=f"{target} {percent}%: lead of a second winner",
            cells=frozenset([(target, percent)]),
            effect=second_lead,
            lower=np.nan,
            upper=np.nan,
            holds=second_lead > 0,
            p=at_least(wins_somewhere, 2),
            p_against=at_least(wins_everywhere, 1),
            remark=f"{len(sources)} sources, {len(budgets)} budgets",
            one_encoder=tuple(source for source in sources if source in one_encoder),
        )


SEVERAL_NUMBERS = "two or more numbers of labels"
CLAIMS = {
    "1": Claim(
        "Linear: MoCo on the target's own dataset beats {}",
        "Linear: in-domain MoCo beats every out-of-domain source",
        "all",
        _tested(_own_is_best),
        needs=["own"],
        also="another source to compare it with",
        named=["initial", "other", "natural"],
    ),
    "2": Claim(
        "Linear: MoCo on another dataset beats {}",
        "Linear: related X-ray MoCo beats ImageNet alone",
        "all",
        _tested(_other_beats_natural),
        needs=["other", "initial"],
        named=["initial", "natural"],
    ),
    "3": Claim(
        "Linear, few labels: MoCo on another, larger dataset is at least as good as MoCo on just the labelled images "
        "(non-inferiority at the margin)",
        "Linear, few labels, spine: MoCo on the larger chest set is at least as good as MoCo limited to the labelled images",
        "all",
        _tested(_larger_matches_limited, _not_inferior),
        needs=["limited", "other"],
        also="MoCo on another dataset that is larger than the target's",
    ),
    "4": Claim(
        "Linear: MoCo on a mixture with the target's own dataset is about as good as on the largest dataset in it alone "
        "(equivalence within the margin)",
        "Linear: MoCo on spine and chest is about as good as on chest alone",
        "all",
        _tested(_mixture_equals_its_largest, _equivalent),
        needs=["mixture"],
        also="MoCo on only the largest dataset of a mixture",
    ),
    "5": Claim(
        "MoCo's gain over no MoCo is smaller end to end than linear (for {})",
        "MoCo's gain over ImageNet alone is smaller end to end than linear",
        "all",
        _tested(_gain_is_smaller_end_to_end),
        needs=["initial"],
        also="MoCo on a dataset",
        named=MOCO,
    ),
    "6": Claim(
        "Few labels: linear often beats end to end",
        "Few labels: linear often beats end to end",
        "most",
        _tested(_linear_beats_end_to_end),
        needs=[],
        also=SEVERAL_NUMBERS,
    ),
    "7a": Claim(
        "More labels help",
        "More labels help",
        "all",
        _tested(_more_labels_help),
        needs=[],
        also=SEVERAL_NUMBERS,
    ),
    "7b": Claim(
        "MoCo's gain over no MoCo shrinks from the fewest labels to the most (for {})",
        "MoCo's gain over ImageNet alone shrinks as labels grow",
        "all",
        _tested(_gain_shrinks),
        needs=["initial"],
        also=f"MoCo on a dataset and {SEVERAL_NUMBERS}",
        named=MOCO,
    ),
    "8": Claim(
        "MoCo on another dataset can be nearly as good as on the target's own, or better (non-inferiority at the margin)",
        "Out-of-domain MoCo can be nearly as good as in-domain, or better",
        "some",
        _tested(_other_is_not_inferior, _not_inferior),
        needs=["other", "own"],
    ),
    "9": Claim(
        "Linear and end to end: MoCo on the target's own dataset beats MoCo on another, and that beats no MoCo",
        "Spine: ImageNet alone is below chest MoCo, and chest MoCo below spine MoCo",
        "all",
        _tested(_order),
        needs=["other", "own", "initial"],
    ),
    "11": Claim(
        "End to end: the number of epochs can change which source wins",
        "End to end: the number of epochs can change which initialisation wins",
        "some",
        _budget_changes_the_winner,
        needs=[],
        also="two or more sources and end-to-end budgets",
    ),
}
