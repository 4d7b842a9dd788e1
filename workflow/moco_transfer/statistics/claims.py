"""The paper's claims as comparisons of AUROCs, and the table that says which hold.

A claim is a list of comparisons, each a contrast with a direction, and a quantifier: whether the paper says it of all of
them, of most ("often") or of some ("can", "depending on"). The same list is drawn up for a run of ours and for the
paper's own tables; a comparison whose cells are not there is left out, and a claim without any cannot be tested. The
in-domain source of a target carries the target's name; its related source is the other X-ray target.


Claim 10: the similarity of spine and chest exceeds that of either with ImageNet, in every layer, measure by measure.

A measure can say so only where it leaves its null. One that stays inside is no evidence, whatever the order of its
values: then the claim cannot be tested by it, and that is the finding. The others are judged by their intervals over
random halves of the images, 5 to 95%. A half scatters about its whole as the whole does about fresh draws of it (the
delete-half jackknife, Shao and Wu, 1989), though the halves overlap. Intervals that lie apart are further apart than an
interval of the difference asks for, whatever the dependence between two pairs, which share a dataset. Simulated without
any difference (200 to 256 normal or heavy-tailed images, 32 to 128 channels, also two dependent images a patient), they lie
apart in one given direction in at most 4%. So there is no p-value. A claim about all layers needs no correction. To
contradict it one comparison of any layer is enough, so that intervals are stretched for that as Bonferroni's correction
stretches normal ones. Values are compared as they are: that few images lower the similarity of one pair more than
another's (see ``normalised``) is not in their intervals.

Leaving the null is a low bar. The network itself gives its channels a shape, so that any two sets of images, noise
included, are more alike than channels turned at random: only the order of pairs says something about the datasets.


The table of the paper's claims: for each one row 'all' with its verdict, and one for each comparison it rests on.

Single comparisons carry Holm's adjusted p-values within their claim, the row 'all' those of the whole claim; its effect and
interval are those of the comparison that decides: the weakest of a claim said of all, the strongest of one said of some.
Intervals are not adjusted. Beside the verdict in this run stands the verdict on the paper's own tables, by the same
functions. Those tables hold no variance between labelled subsets, and without it verdicts come too easily: each says how
much scatter would undo it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise, product
from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import ndtri

from moco_transfer.statistics.evidence import (
    Cell,
    Comparison,
    Contrast,
    Evidence,
    Quantifier,
    at_least,
    holm,
    required,
    verdict,
)

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


SPINE, CHEST, NATURAL = "spine", "chest", "natural"
RELATED = frozenset((SPINE, CHEST))
RIVALS = [frozenset((SPINE, NATURAL)), frozenset((CHEST, NATURAL))]
DISTANCES = ("frechet",)  # the smaller, the more alike
LEVEL = 0.05  # of either end of value_lower to value_upper
BY_HALVES = "by intervals over halves of the images, layer by layer"

Standing = Literal["inside its null", "unknown", "behind", "level", "ahead"]


def measure_verdict(similarity: pd.DataFrame, measure: str, measures: int = 1) -> tuple[float, str, str]:
    """Return the smallest lead of spine-chest over the layers, the verdict and a remark, for one ``measure``.

    ``similarity`` has measure, layer, dataset_a, dataset_b, value, value_lower, value_upper, null_lower and null_upper.
    The lead is the value of spine-chest less the larger of the other two pairs', with the sign turned for a distance; of
    a directed measure both orders count, and the claim must hold for the worst of them. The measure leaves its null at a
    layer where some pair is more alike than the null's interval allows. Then the claim is supported where the interval of
    spine-chest is above the other pairs' at every layer, not supported where it is below one of them at any (intervals
    stretched for so many comparisons, in each of ``measures`` that are asked as one), else undecided. Without value or interval (dead channels, the literal SVCCA) it cannot be tested.
    """
    rows = similarity[similarity["measure"] == measure]
    pair = [frozenset(each) for each in zip(rows["dataset_a"], rows["dataset_b"], strict=True)]
    rows = rows.assign(pair=pair)[pd.Series(pair, rows.index).isin([RELATED, *RIVALS])]
    layers = dict(list(rows.groupby("layer", sort=False)))
    if not layers or any(of["pair"].nunique() < 3 for of in layers.values()):
        return np.nan, "cannot be tested", "needs the datasets spine, chest and natural"
    comparisons = sum((of["pair"] == RELATED).sum() * (of["pair"] != RELATED).sum() for of in layers.values())
    stretch = ndtri(LEVEL / (comparisons * measures)) / ndtri(LEVEL)
    judged = {layer: _standing(of, measure in DISTANCES, stretch) for layer, of in layers.items()}
    lead = float(np.min([lead for lead, _ in judged.values()]))
    for standing, outcome, remark in (
        ("inside its null", "cannot be tested", "does not leave its null at {}"),
        ("unknown", "cannot be tested", "has no value or no interval over halves at {}"),
        ("behind", "not supported", f"less alike than another pair at {{}}; {BY_HALVES}"),
        ("level", "undecided", f"not apart from another pair at {{}}; {BY_HALVES}"),
    ):
        if found := [layer for layer, (_, each) in judged.items() if each == standing]:
            return lead, outcome, remark.format(", ".join(found))
    return lead, "supported", BY_HALVES


def _standing(rows: pd.DataFrame, distance: bool, stretch: float) -> tuple[float, Standing]:
    """Return the lead of spine-chest at one layer, NaN where a value is, and where its interval stands.

    'behind' is said of intervals ``stretch`` times as long.
    """
    sign, ends = (-1.0, ["upper", "lower"]) if distance else (1.0, ["lower", "upper"])
    value = sign * rows["value"]
    low, high = (sign * rows[f"value_{end}"] for end in ends)
    related = rows["pair"] == RELATED
    lead = value[related].min(skipna=False) - value[~related].max(skipna=False)
    if not (value > sign * rows[f"null_{ends[1]}"]).any():
        return lead, "inside its null"
    if np.isnan([value, low, high]).any():
        return lead, "unknown"
    stretched_high, stretched_low = value + stretch * (high - value), value - stretch * (value - low)
    if stretched_high[related].min() < stretched_low[~related].max():
        return lead, "behind"
    return lead, "ahead" if low[related].min() > high[~related].max() else "level"


SIMILARITY_CLAIM = "10"
SIMILARITY_TEXT = "The similarity of spine and chest exceeds that of either with ImageNet, in every layer"
PAPER_SUBSETS = 3
NO_NUMBERS = {"effect": np.nan, "lower": np.nan, "upper": np.nan, "p": np.nan, "p_against": np.nan}
NOT_RUN = NO_NUMBERS | {"verdict": "cannot be tested", "remark": "not in this run"}
NOT_PUBLISHED = NO_NUMBERS | {"verdict": "cannot be tested from the tables", "remark": "not in the tables"}


def claims_table(
    run: Evidence,
    similarity: pd.DataFrame | None,
    reference: Evidence | None,
    margin: float,
    level: float,
) -> pd.DataFrame:
    """Return the claims with their verdicts: claim, text, cell, effect, lower, upper, p, p_against, verdict, remark.

    ``similarity`` is the frame of the similarity stage; ``reference`` the paper's tables, whose findings come as further
    columns ``paper_...``. ``margin`` (in AUROC) is that of equivalence and non-inferiority, ``level`` that of every
    one-sided test; intervals cover 1 - 2 ``level``. A verdict is 'supported' (by ``p``), 'not supported' (the opposite is
    shown, by ``p_against``), 'undecided' or 'cannot be tested'.
    """
    sides = [("", _findings(Judge(run, margin, level), similarity, NOT_RUN), NOT_RUN)]
    if reference is not None:
        published = _findings(Judge(reference, margin, level), None, NOT_PUBLISHED)
        for claim in CLAIMS:
            whole = published[claim.number]["all"]
            scatter = undoing_scatter(claim, whole["verdict"], Judge(reference, margin, level))
            if scatter is not None:
                note = f"undone if AUROCs scattered by {scatter:.3f} between labelled subsets"
                whole |= {"remark": f"{whole['remark']}; {note}"}
        sides.append(("paper_", published, NOT_PUBLISHED))
    rows = []
    for number, text in _numbered():
        for cell in dict.fromkeys(cell for _, found, _ in sides for cell in found[number]):
            row = {"claim": number, "text": text, "cell": cell}
            for prefix, found, missing in sides:
                finding = found[number].get(cell, missing)
                row |= {prefix + name: value for name, value in finding.items()}
            rows.append(row)
    return pd.DataFrame(rows)


def undoing_scatter(claim: Claim, found: str, judge: Judge) -> float | None:
    """Return the standard deviation between labelled subsets, up to 0.5, from which on ``claim`` is no longer ``found``.

    Each cell of the judge's evidence is taken as the mean of the paper's three subsets, which scatter on their own. None
    where the verdict is no finding, or stands whatever the scatter.
    """
    if found not in ("supported", "not supported"):
        return None

    def stands(sd: float) -> bool:
        scattered = replace(judge, evidence=judge.evidence.scattered(sd, PAPER_SUBSETS))
        return _claim_findings(claim, scattered)["all"]["verdict"] == found

    low, high = 0.0, 0.5
    if stands(high):
        return None
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (middle, high) if stands(middle) else (low, middle)
    return high


def _numbered() -> list[tuple[str, str]]:
    claims = [(claim.number, claim.text) for claim in CLAIMS] + [(SIMILARITY_CLAIM, SIMILARITY_TEXT)]
    return sorted(claims, key=lambda claim: (int(claim[0].rstrip("ab")), claim[0]))


def _findings(judge: Judge, similarity: pd.DataFrame | None, missing: dict) -> dict[str, dict[str, dict]]:
    """Return the findings by claim and cell; each claim has at least the cell 'all'."""
    found = {claim.number: _claim_findings(claim, judge) or {"all": missing} for claim in CLAIMS}
    found[SIMILARITY_CLAIM] = {"all": missing} if similarity is None else _similarity_findings(similarity)
    return found


def _claim_findings(claim: Claim, judge: Judge) -> dict[str, dict]:
    comparisons = list(claim.comparisons(judge))
    if not comparisons:
        return {}
    m = len(comparisons)
    u = required(claim.quantifier, m)
    p = [comparison.p for comparison in comparisons]
    p_against = [comparison.p_against for comparison in comparisons]
    cells = {
        comparison.cell: _finding(comparison, *adjusted, judge.level, comparison.remark)
        for comparison, *adjusted in zip(comparisons, holm(p), holm(p_against), strict=True)
    }
    counts = Counter(cell["verdict"] for cell in cells.values())
    holding = sum(comparison.holds for comparison in comparisons)
    remark = f"said of {claim.quantifier}: {holding} of {m} point its way; {_listed(counts)}"
    supporting = [cell for cell, finding in cells.items() if finding["verdict"] == "supported"]
    if claim.quantifier == "some" and supporting:
        remark += f" ({'; '.join(supporting)})"
    deciding = comparisons[int(np.argsort(p, kind="stable")[u - 1])]
    whole = _finding(deciding, at_least(p, u), at_least(p_against, m - u + 1), judge.level, remark)
    if np.isnan(deciding.p):  # sorted last, in no order: none of them decides
        whole |= {"effect": np.nan, "lower": np.nan, "upper": np.nan}
    return {"all": whole} | cells


def _finding(comparison: Comparison, p: float, p_against: float, level: float, remark: str) -> dict:
    return {
        "effect": comparison.effect,
        "lower": comparison.lower,
        "upper": comparison.upper,
        "p": p,
        "p_against": p_against,
        "verdict": verdict(p, p_against, level),
        "remark": remark,
    }


def _similarity_findings(similarity: pd.DataFrame) -> dict[str, dict]:
    """Return claim 10 by measure; it holds as a whole where every measure that can say so says so."""
    cells = {}
    for measure in similarity["measure"].unique():
        lead, says, remark = measure_verdict(similarity, measure)
        cells[measure] = NO_NUMBERS | {"effect": lead, "verdict": says, "remark": remark}
    verdicts = [cell["verdict"] for cell in cells.values()]
    asked = [measure for measure, cell in cells.items() if cell["verdict"] != "cannot be tested"]
    # Any of them may contradict the whole: asked as one family, with a stricter standard for that.
    as_one = [measure_verdict(similarity, measure, len(asked))[1] for measure in asked]
    # The first of these that any measure says.
    ranked = ["not supported", "undecided", "supported"]
    whole = min(as_one, key=ranked.index, default="cannot be tested")
    remark = f"said of all: {_listed(Counter(verdicts))}"
    return {"all": NO_NUMBERS | {"verdict": whole, "remark": remark}} | cells


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())
