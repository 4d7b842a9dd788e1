"""The paper's claims as comparisons of AUROCs, and the table that says which hold.

A claim is a list of comparisons, each a contrast with a direction, and a quantifier: whether the paper says it of all of
them, of most ("often") or of some ("can", "depending on"). The same list is drawn up for a run of ours and for the
paper's own tables; a comparison whose cells are not there is left out, and a claim without any cannot be tested. The
in-domain source of a target carries the target's name; its related source is the other X-ray target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np

from moco_transfer.statistics.evidence import Cell, Contrast, Evidence
from moco_transfer.statistics.verdicts import Comparison, Quantifier, at_least

IMAGENET, LIMITED, SPINE, CHEST, BOTH = "none", "limited", "spine", "chest", "spine+chest"
MODES = {"linear": "linear", "end_to_end": "end to end"}
# "Settings with limited labeled data (e.g. VinDr-SpineXR with 1% and 10% labeled and MIMIC with 1% labeled)".
FEW_LABELS = {SPINE: ("1", "10"), CHEST: ("1",)}


@dataclass(frozen=True)
class Judge:
    """The evidence and what the tests are set to: ``margin`` in AUROC, one-sided ``level``."""

    evidence: Evidence
    margin: float
    level: float

    def above(self, cell: str, weights: dict[Cell, float], threshold: float = 0.0) -> Iterator[Comparison]:
        """Yield the test of "the contrast is above ``threshold``"; nothing where its cells are not known."""
        if self.evidence.has(*weights):
            contrast = self.evidence.contrast(weights)
            p, p_against = contrast.p_above(threshold), contrast.p_below(threshold)
            yield self._comparison(cell, contrast, contrast.effect > threshold, p, p_against)

    def equivalent(self, cell: str, weights: dict[Cell, float]) -> Iterator[Comparison]:
        """Yield the two one-sided tests of "the contrast is within the margin" (TOST, Schuirmann 1987).

        Against it stands that the contrast is outside, on either side: twice the smaller p-value.
        """
        if self.evidence.has(*weights):
            contrast = self.evidence.contrast(weights)
            within = max(contrast.p_above(-self.margin), contrast.p_below(self.margin))
            outside = min(2 * min(contrast.p_above(self.margin), contrast.p_below(-self.margin)), 1.0)
            yield self._comparison(cell, contrast, abs(contrast.effect) < self.margin, within, outside)

    def cells(self) -> list[tuple[str, str]]:
        """Return the (target, percent) pairs."""
        targets = self.evidence.targets()
        return [(target, percent) for target in targets for percent in self.evidence.percents(target)]

    def related(self, target: str) -> list[str]:
        """Return the other X-ray targets, whose names are those of the related sources."""
        return [name for name in dict.fromkeys([SPINE, CHEST, *self.evidence.targets()]) if name != target]

    def _comparison(
        self, cell: str, contrast: Contrast, holds: bool, p: float, p_against: float
    ) -> Comparison:
        remark = ""
        if np.isnan(contrast.effect):
            remark = "an AUROC is not defined: no class has both values in the test images"
        elif np.isnan(contrast.se) and np.isinf(contrast.df):
            remark = "one labelled subset: the variance between subsets is unknown"
        elif np.isnan(contrast.se):
            remark = "one patient: the variance between test sets is unknown"
        elif contrast.se == 0:
            remark = "no variance in this sample"
        elif contrast.subset_share > 0:
            remark = f"{contrast.df + 1} labelled subsets, {contrast.subset_share:.0%} of the variance theirs"
        return Comparison(cell, contrast.effect, *contrast.interval(self.level), holds, p, p_against, remark)


def _difference(
    target: str, mode: str, percent: str, better: str, worse: str, epochs: int | None = None
) -> dict[Cell, float]:
    """Return the weights of source ``better`` less source ``worse``."""
    return {
        Cell(target, better, mode, percent, epochs): 1.0,
        Cell(target, worse, mode, percent, epochs): -1.0,
    }


def _in_domain_is_best(judge: Judge) -> Iterator[Comparison]:
    for target, percent in judge.cells():
        for rival in [IMAGENET, *judge.related(target)]:
            weights = _difference(target, "linear", percent, target, rival)
            yield from judge.above(f"{target} {percent}%: {target} - {rival}", weights)


def _related_beats_imagenet(judge: Judge) -> Iterator[Comparison]:
    for target, percent in judge.cells():
        for source in judge.related(target):
            weights = _difference(target, "linear", percent, source, IMAGENET)
            yield from judge.above(f"{target} {percent}%: {source} - {IMAGENET}", weights)


def _larger_set_matches_limited(judge: Judge) -> Iterator[Comparison]:
    for percent in judge.evidence.percents(SPINE):
        weights = _difference(SPINE, "linear", percent, CHEST, LIMITED)
        yield from judge.above(f"{SPINE} {percent}%: {CHEST} - {LIMITED}", weights, -judge.margin)


def _both_equals_chest(judge: Judge) -> Iterator[Comparison]:
    for target, percent in judge.cells():
        weights = _difference(target, "linear", percent, BOTH, CHEST)
        yield from judge.equivalent(f"{target} {percent}%: {BOTH} - {CHEST}", weights)


def _gain_is_smaller_end_to_end(judge: Judge) -> Iterator[Comparison]:
    for target, percent in judge.cells():
        for source in [target, *judge.related(target)]:
            linear = _difference(target, "linear", percent, source, IMAGENET)
            less_end_to_end = _difference(target, "end_to_end", percent, IMAGENET, source)
            cell = f"{target} {percent}%: gain of {source}, linear - end to end"
            yield from judge.above(cell, linear | less_end_to_end)


def _linear_beats_end_to_end(judge: Judge) -> Iterator[Comparison]:
    for target in judge.evidence.targets():
        percents = judge.evidence.percents(target)
        # A run without the paper's percentages counts all but its largest as few.
        few = [percent for percent in percents if percent in FEW_LABELS.get(target, ())] or percents[:-1]
        for percent, source in product(few, [IMAGENET, target, *judge.related(target)]):
            weights = {
                Cell(target, source, "linear", percent): 1.0,
                Cell(target, source, "end_to_end", percent): -1.0,
            }
            yield from judge.above(f"{target} {percent}%, {source}: linear - end to end", weights)


def _more_labels_help(judge: Judge) -> Iterator[Comparison]:
    for target, mode in product(judge.evidence.targets(), MODES):
        for source in [IMAGENET, target, *judge.related(target)]:
            for fewer, more in pairwise(judge.evidence.percents(target)):
                weights = {Cell(target, source, mode, more): 1.0, Cell(target, source, mode, fewer): -1.0}
                yield from judge.above(f"{target} {MODES[mode]}, {source}: {more}% - {fewer}%", weights)


def _gain_shrinks(judge: Judge) -> Iterator[Comparison]:
    for target, mode in product(judge.evidence.targets(), MODES):
        percents = judge.evidence.percents(target)
        if len(percents) < 2:
            continue
        fewest, most = percents[0], percents[-1]
        for source in [target, *judge.related(target)]:
            at_fewest = _difference(target, mode, fewest, source, IMAGENET)
            less_at_most = _difference(target, mode, most, IMAGENET, source)
            cell = f"{target} {MODES[mode]}: gain of {source}, {fewest}% - {most}%"
            yield from judge.above(cell, at_fewest | less_at_most)


def _out_of_domain_is_not_inferior(judge: Judge) -> Iterator[Comparison]:
    for (target, percent), mode in product(judge.cells(), MODES):
        for source in judge.related(target):
            weights = _difference(target, mode, percent, source, target)
            cell = f"{target} {percent}% {MODES[mode]}: {source} - {target}"
            yield from judge.above(cell, weights, -judge.margin)


def _spine_order(judge: Judge) -> Iterator[Comparison]:
    for percent, mode in product(judge.evidence.percents(SPINE), MODES):
        for better, worse in [(CHEST, IMAGENET), (SPINE, CHEST)]:
            weights = _difference(SPINE, mode, percent, better, worse)
            yield from judge.above(f"{SPINE} {percent}% {MODES[mode]}: {better} - {worse}", weights)


def _budget_changes_the_winner(judge: Judge) -> Iterator[Comparison]:
    """Yield, for each (target, percent), the test that at least two initialisations win at some budget.

    That one beats all others at a budget is an intersection (largest p-value); that it does so at some budget, a union
    over budgets. The effect is the second-best initialisation's largest lead over the best of its rivals at any budget:
    above zero, the winner changes in this sample. Against the claim stands that one wins at every budget.
    """
    for target, percent in judge.cells():
        initialisations = [IMAGENET, target, *judge.related(target)]
        budgets = judge.evidence.budgets(target, percent, initialisations)
        sources = [
            source
            for source in initialisations
            if judge.evidence.has(
                *(Cell(target, source, "end_to_end", percent, epochs) for epochs in budgets)
            )
        ]
        if len(budgets) < 2 or len(sources) < 2:
            continue
        leads, p = np.empty((2, len(sources), len(budgets)))
        for (i, source), (j, epochs) in product(enumerate(sources), enumerate(budgets)):
            contrasts = [
                judge.evidence.contrast(_difference(target, "end_to_end", percent, source, rival, epochs))
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
    """One claim of the paper: of which comparisons it is said, and of how many of them."""

    number: str
    text: str
    quantifier: Quantifier
    comparisons: Callable[[Judge], Iterator[Comparison]]


CLAIMS = [
    Claim("1", "Linear: in-domain MoCo beats every out-of-domain source", "all", _in_domain_is_best),
    Claim("2", "Linear: related X-ray MoCo beats ImageNet alone", "all", _related_beats_imagenet),
    Claim(
        "3",
        "Linear, few labels, spine: MoCo on the larger chest set is at least as good as MoCo limited to the labelled "
        "images (non-inferiority at the margin)",
        "all",
        _larger_set_matches_limited,
    ),
    Claim(
        "4",
        "Linear: MoCo on spine and chest is about as good as on chest alone (equivalence within the margin)",
        "all",
        _both_equals_chest,
    ),
    Claim(
        "5",
        "MoCo's gain over ImageNet alone is smaller end to end than linear",
        "all",
        _gain_is_smaller_end_to_end,
    ),
    Claim("6", "Few labels: linear often beats end to end", "most", _linear_beats_end_to_end),
    Claim("7a", "More labels help", "all", _more_labels_help),
    Claim(
        "7b",
        "MoCo's gain over ImageNet alone shrinks from the fewest labels to the most",
        "all",
        _gain_shrinks,
    ),
    Claim(
        "8",
        "Out-of-domain MoCo can be nearly as good as in-domain, or better (non-inferiority at the margin)",
        "some",
        _out_of_domain_is_not_inferior,
    ),
    Claim(
        "9", "Spine: ImageNet alone is below chest MoCo, and chest MoCo below spine MoCo", "all", _spine_order
    ),
    Claim(
        "11",
        "End to end: the number of epochs can change which initialisation wins",
        "some",
        _budget_changes_the_winner,
    ),
]
