"""The paper's claims as comparisons of AUROCs, and the table of which claims hold.

A claim consists of comparisons, each a contrast with a direction, and a quantifier: the paper says that it
holds for all of them, for most ("often") or for some ("can", "depending on"). The same comparisons are made
on a run of ours and on the paper's own tables. A comparison is left out if an estimate is missing; a claim
without any comparison cannot be tested. The in-domain source of a target has the target's name; its related
source is the other X-ray target. Claim 10, about the similarity of datasets, is judged in
``similarity_ranks``.

The table has one row 'all' per claim with its verdict, and one row per comparison. The p-values of single
comparisons have Holm's correction within their claim. The row 'all' has the p-values of the whole claim, and
the effect and interval of the comparison that decides it: the weakest if the claim is about all, the
strongest if it is about some. Intervals are not adjusted. Verdicts on the paper's own tables stand beside
those on the run. The paper's tables lack the variance between labelled subsets. Without it verdicts come too
easily, so each verdict on these tables says how much scatter between subsets would undo it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
import pandas as pd

from moco_transfer.config.experiment import LIMITED
from moco_transfer.experiment import MODES
from moco_transfer.report.names import MODE_LABELS
from moco_transfer.statistics.contrast import Contrast
from moco_transfer.statistics.evidence import (
    EstimateKey,
    Evidence,
    Quantifier,
    Weights,
    at_least,
    count_verdicts,
    difference,
    holm,
    required,
    verdict,
)
from moco_transfer.statistics.power import Statement
from moco_transfer.statistics.similarity_ranks import CHEST, SPINE, judge_claim

IMAGENET, BOTH = "none", "spine+chest"
# "Settings with limited labeled data (e.g. VinDr-SpineXR with 1% and 10% labeled and MIMIC with 1% labeled)".
FEW_LABELS = {SPINE: ("1", "10"), CHEST: ("1",)}
PAPER_SUBSETS = 3
NO_NUMBERS = {"effect": np.nan, "lower": np.nan, "upper": np.nan, "p": np.nan, "p_against": np.nan}
NOT_RUN = NO_NUMBERS | {"verdict": "cannot be tested", "remark": "nothing to compare in this run"}
NOT_PUBLISHED = NO_NUMBERS | {"verdict": "cannot be tested from the tables", "remark": "not in the tables"}


@dataclass(frozen=True)
class Comparison:
    """One comparison: its effect with an interval, and the p-values for the claim and against it.

    ``holds`` says whether the estimate agrees with the claim, however uncertain it is. p-values are NaN if no
    test is possible; ``remark`` then says why. ``contrast`` and ``statement`` say what was tested on ``target``, if that is one contrast.
    """

    cell: str
    effect: float
    lower: float
    upper: float
    holds: bool
    p: float
    p_against: float
    remark: str
    target: str = ""
    contrast: Contrast | None = None
    statement: Statement | None = None


Contrasts = Iterator[tuple[str, Weights]]
Test = Callable[[Contrast, float], tuple[bool, float, float]]
"""Takes a contrast and the margin; returns whether the estimate agrees, and the p-values for and against."""
Comparisons = Callable[[Evidence, float, float], Iterable[Comparison]]
"""Takes the evidence, the margin and the level; returns comparisons."""


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


def _tested(contrasts: Callable[[Evidence], Contrasts], test: Test = _superior) -> Comparisons:
    """Return a function that makes ``test`` on each of the ``contrasts`` whose estimates are known."""

    def compare(evidence: Evidence, margin: float, level: float) -> Iterator[Comparison]:
        for cell, weights in contrasts(evidence):
            if evidence.has(*weights):
                contrast = evidence.contrast(weights)
                interval, tested = contrast.interval(level), test(contrast, margin)
                said = (_remark(contrast), next(iter(weights)).target, contrast, _statement(test, margin))
                yield Comparison(cell, contrast.effect, *interval, *tested, *said)

    return compare


def _remark(contrast: Contrast) -> str:
    if np.isnan(contrast.effect):
        return "an AUROC is not defined: no class has both values in the test images"
    if np.isnan(contrast.subsets):
        return "one labelled subset: the variance between subsets is unknown"
    if np.isnan(contrast.se):
        return "one patient: the variance between test sets is unknown"
    if contrast.se == 0:
        return "no variance in this sample"
    if contrast.subsets > 0:
        return f"{contrast.subset_df + 1} labelled subsets, {contrast.subsets / contrast.variance:.0%} of the variance theirs"
    return ""


def _related(evidence: Evidence, target: str) -> list[str]:
    """Return the related sources, which have the names of the other X-ray targets."""
    return [name for name in dict.fromkeys([SPINE, CHEST, *evidence.targets()]) if name != target]


def _linear(target: str, percent: str, better: str, worse: str) -> tuple[str, Weights]:
    """Return the cell and the weights of the linear comparison of two sources."""
    return f"{target} {percent}%: {better} - {worse}", difference(target, "linear", percent, better, worse)


def _by_mode(target: str, percent: str, mode: str, better: str, worse: str) -> tuple[str, Weights]:
    cell = f"{target} {percent}% {MODE_LABELS[mode]}: {better} - {worse}"
    return cell, difference(target, mode, percent, better, worse)


def _in_domain_is_best(evidence: Evidence) -> Contrasts:
    for target, percent in evidence.cells():
        for rival in [IMAGENET, *_related(evidence, target)]:
            yield _linear(target, percent, target, rival)


def _related_beats_imagenet(evidence: Evidence) -> Contrasts:
    for target, percent in evidence.cells():
        for source in _related(evidence, target):
            yield _linear(target, percent, source, IMAGENET)


def _larger_set_matches_limited(evidence: Evidence) -> Contrasts:
    for percent in evidence.percents(SPINE):
        yield _linear(SPINE, percent, CHEST, LIMITED)


def _both_equals_chest(evidence: Evidence) -> Contrasts:
    for target, percent in evidence.cells():
        yield _linear(target, percent, BOTH, CHEST)


def _gain_is_smaller_end_to_end(evidence: Evidence) -> Contrasts:
    for target, percent in evidence.cells():
        for source in [target, *_related(evidence, target)]:
            linear = difference(target, "linear", percent, source, IMAGENET)
            minus_end_to_end = difference(target, "end_to_end", percent, IMAGENET, source)
            yield f"{target} {percent}%: gain of {source}, linear - end to end", linear | minus_end_to_end


def _linear_beats_end_to_end(evidence: Evidence) -> Contrasts:
    for target in evidence.targets():
        percents = evidence.percents(target)
        # In a run without the paper's percentages, all but the largest count as few.
        few = [percent for percent in percents if percent in FEW_LABELS.get(target, ())] or percents[:-1]
        for percent, source in product(few, [IMAGENET, target, *_related(evidence, target)]):
            linear, end_to_end = (EstimateKey(target, source, mode, percent) for mode in MODES)
            yield f"{target} {percent}%, {source}: linear - end to end", {linear: 1.0, end_to_end: -1.0}


def _more_labels_help(evidence: Evidence) -> Contrasts:
    for target, mode in product(evidence.targets(), MODES):
        for source in [IMAGENET, target, *_related(evidence, target)]:
            for fewer, more in pairwise(evidence.percents(target)):
                at_fewer, at_more = (EstimateKey(target, source, mode, percent) for percent in (fewer, more))
                cell = f"{target} {MODE_LABELS[mode]}, {source}: {more}% - {fewer}%"
                yield cell, {at_more: 1.0, at_fewer: -1.0}


def _gain_shrinks(evidence: Evidence) -> Contrasts:
    for target, mode in product(evidence.targets(), MODES):
        percents = evidence.percents(target)
        fewest, most = percents[0], percents[-1]
        for source in [target, *_related(evidence, target)] if fewest != most else []:
            at_fewest = difference(target, mode, fewest, source, IMAGENET)
            minus_at_most = difference(target, mode, most, IMAGENET, source)
            cell = f"{target} {MODE_LABELS[mode]}: gain of {source}, {fewest}% - {most}%"
            yield cell, at_fewest | minus_at_most


def _out_of_domain_is_not_inferior(evidence: Evidence) -> Contrasts:
    for (target, percent), mode in product(evidence.cells(), MODES):
        for source in _related(evidence, target):
            yield _by_mode(target, percent, mode, source, target)


def _spine_order(evidence: Evidence) -> Contrasts:
    for percent, mode in product(evidence.percents(SPINE), MODES):
        for better, worse in [(CHEST, IMAGENET), (SPINE, CHEST)]:
            yield _by_mode(SPINE, percent, mode, better, worse)


def _budget_changes_the_winner(evidence: Evidence, margin: float, level: float) -> Iterator[Comparison]:
    """Yield, for each (target, percent), the test that at least two initialisations win at some budget.

    To win at a budget is to beat all rivals there (an intersection: the largest p-value); to win at some
    budget is a union over budgets. The effect is the second-best initialisation's largest lead over its best
    rival at any budget: if it is above zero, the winner changes in this sample. The opposite of the claim is
    that one initialisation wins everywhere.
    """
    for target, percent in evidence.cells():
        initialisations = [IMAGENET, target, *_related(evidence, target)]
        budgets = evidence.budgets(target, percent, initialisations)
        sources = [
            source
            for source in initialisations
            if evidence.has(*(EstimateKey(target, source, "end_to_end", percent, each) for each in budgets))
        ]
        if len(budgets) < 2 or len(sources) < 2:
            continue
        leads, p = np.empty((2, len(sources), len(budgets)))
        for (i, source), (j, epochs) in product(enumerate(sources), enumerate(budgets)):
            contrasts = [
                evidence.contrast(difference(target, "end_to_end", percent, source, rival, epochs))
                for rival in sources
                if rival != source
            ]
            leads[i, j] = min(contrast.effect for contrast in contrasts)
            p[i, j] = max(contrast.p_above(0.0) for contrast in contrasts)
        wins_somewhere = [at_least(by_budget, 1) for by_budget in p]
        wins_everywhere = [at_least(by_budget, len(budgets)) for by_budget in p]
        second_lead = float(np.sort(leads.max(axis=1))[-2])
        yield Comparison(
            cell=f"{target} {percent}%: lead of a second winner",
            effect=second_lead,
            lower=np.nan,
            upper=np.nan,
            holds=second_lead > 0,
            p=at_least(wins_somewhere, 2),
            p_against=at_least(wins_everywhere, 1),
            remark=f"{len(sources)} initialisations, {len(budgets)} budgets",
        )


@dataclass(frozen=True)
class Claim:
    """The comparisons of one claim, and for how many of them the paper says that it holds."""

    quantifier: Quantifier
    comparisons: Comparisons


CLAIMS = {
    "1": Claim("all", _tested(_in_domain_is_best)),
    "2": Claim("all", _tested(_related_beats_imagenet)),
    "3": Claim("all", _tested(_larger_set_matches_limited, _not_inferior)),
    "4": Claim("all", _tested(_both_equals_chest, _equivalent)),
    "5": Claim("all", _tested(_gain_is_smaller_end_to_end)),
    "6": Claim("most", _tested(_linear_beats_end_to_end)),
    "7a": Claim("all", _tested(_more_labels_help)),
    "7b": Claim("all", _tested(_gain_shrinks)),
    "8": Claim("some", _tested(_out_of_domain_is_not_inferior, _not_inferior)),
    "9": Claim("all", _tested(_spine_order)),
    "11": Claim("some", _budget_changes_the_winner),
}
TEXTS = {
    "1": "Linear: in-domain MoCo beats every out-of-domain source",
    "2": "Linear: related X-ray MoCo beats ImageNet alone",
    "3": "Linear, few labels, spine: MoCo on the larger chest set is at least as good as MoCo limited to the "
    "labelled images (non-inferiority at the margin)",
    "4": "Linear: MoCo on spine and chest is about as good as on chest alone (equivalence within the margin)",
    "5": "MoCo's gain over ImageNet alone is smaller end to end than linear",
    "6": "Few labels: linear often beats end to end",
    "7a": "More labels help",
    "7b": "MoCo's gain over ImageNet alone shrinks from the fewest labels to the most",
    "8": "Out-of-domain MoCo can be nearly as good as in-domain, or better (non-inferiority at the margin)",
    "9": "Spine: ImageNet alone is below chest MoCo, and chest MoCo below spine MoCo",
    "10": "The similarity of spine and chest exceeds that of either with ImageNet, in every layer",
    "11": "End to end: the number of epochs can change which initialisation wins",
}


def claims_table(
    run: Evidence, similarity: pd.DataFrame | None, reference: Evidence, margin: float, level: float
) -> pd.DataFrame:
    """Return all claims: claim, text, cell, effect, lower, upper, p, p_against, verdict, remark.

    ``similarity`` is the frame of the similarity stage; None if there are no two datasets to compare. ``reference`` holds the paper's tables; their
    findings are in additional columns ``paper_...``. ``margin`` (in AUROC) is the margin of the equivalence
    and non-inferiority tests. ``level`` is the level of every one-sided test; intervals cover 1 - 2
    ``level``. A verdict is 'supported' (by ``p``), 'not supported' (the opposite is shown, by ``p_against``),
    'undecided' or 'cannot be tested'.
    """
    rows = []
    for number, text in TEXTS.items():
        if number not in CLAIMS:  # claim 10, about similarity
            judged = {} if similarity is None else judge_claim(similarity)
            found = {cell: NO_NUMBERS | finding for cell, finding in judged.items()} or {"all": NOT_RUN}
            published = {"all": NOT_PUBLISHED}
        else:
            found = _findings(CLAIMS[number], run, margin, level) or {"all": NOT_RUN}
            published = _published_findings(CLAIMS[number], reference, margin, level)
        for cell in dict.fromkeys([*found, *published]):
            in_paper = published.get(cell, NOT_PUBLISHED).items()
            row = {"claim": number, "text": text, "cell": cell} | found.get(cell, NOT_RUN)
            rows.append(row | {f"paper_{name}": value for name, value in in_paper})
    return pd.DataFrame(rows)


def _published_findings(claim: Claim, reference: Evidence, margin: float, level: float) -> dict[str, dict]:
    """Return the findings of ``claim`` in the paper's tables, by cell."""
    cells = _findings(claim, reference, margin, level) or {"all": NOT_PUBLISHED}
    scatter = _undoing_scatter(claim, cells["all"]["verdict"], reference, margin, level)
    if scatter is not None:
        cells["all"]["remark"] += f"; undone if AUROCs scattered by {scatter:.3f} between labelled subsets"
    return cells


def _undoing_scatter(
    claim: Claim, found: str, reference: Evidence, margin: float, level: float
) -> float | None:
    """Return the smallest standard deviation between labelled subsets, up to 0.5, that undoes ``found``.

    Each AUROC counts as the mean of the paper's three subsets, which scatter independently. Returns None if
    the verdict is not a finding, or if no such scatter changes it.
    """
    if found not in ("supported", "not supported"):
        return None

    def stands(sd: float) -> bool:
        scattered = reference.scattered(sd, PAPER_SUBSETS)
        return _findings(claim, scattered, margin, level)["all"]["verdict"] == found

    low, high = 0.0, 0.5
    if stands(high):
        return None
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (middle, high) if stands(middle) else (low, middle)
    return high


def _findings(claim: Claim, evidence: Evidence, margin: float, level: float) -> dict[str, dict]:
    """Return the findings of ``claim`` by cell, that of the whole claim ('all') first; {} without any."""
    comparisons = list(claim.comparisons(evidence, margin, level))
    if not comparisons:
        return {}
    m = len(comparisons)
    u = required(claim.quantifier, m)
    p = [comparison.p for comparison in comparisons]
    p_against = [comparison.p_against for comparison in comparisons]
    cells = {
        comparison.cell: _finding(comparison, *adjusted, level, comparison.remark)
        for comparison, *adjusted in zip(comparisons, holm(p), holm(p_against), strict=True)
    }
    holding = sum(comparison.holds for comparison in comparisons)
    remark = f"said of {claim.quantifier}: {holding} of {m} point its way; {count_verdicts(cells)}"
    supporting = [cell for cell, finding in cells.items() if finding["verdict"] == "supported"]
    if claim.quantifier == "some" and supporting:
        remark += f" ({'; '.join(supporting)})"
    deciding = comparisons[int(np.argsort(p, kind="stable")[u - 1])]
    whole = _finding(deciding, at_least(p, u), at_least(p_against, m - u + 1), level, remark)
    if np.isnan(deciding.p):  # NaNs are sorted last, in no particular order, so none of them decides
        whole |= {"effect": np.nan, "lower": np.nan, "upper": np.nan}
    return {"all": whole} | cells


def _finding(comparison: Comparison, p: float, p_against: float, level: float, remark: str) -> dict:
    numbers = {name: getattr(comparison, name) for name in ("effect", "lower", "upper")}
    said = {"verdict": verdict(p, p_against, level), "remark": remark}
    return numbers | {"p": p, "p_against": p_against} | said
