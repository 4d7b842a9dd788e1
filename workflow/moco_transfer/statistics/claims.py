"""The table of which of the paper's claims hold, on a run and on the paper's own tables.

The claims are about roles of sources (``design``), so they apply to any run; those that a run cannot ask are left out, and ``not_asked``
says what they would need. ``comparisons`` has the comparisons of each claim.

The table has one row 'all' per claim with its verdict, and one row per comparison. The p-values of single
comparisons have Holm's correction within their claim. The row 'all' has the p-values of the whole claim, and
the effect and interval of the comparison that decides it: the weakest if the claim is about all, the
strongest if it is about some. Intervals are not adjusted.

A verdict is about the procedure only as far as all that varies counts. If a source has one trained encoder, the variance between
pretrainings is unknown: the verdict is about these encoders, and the table says how much scatter between pretrainings would undo it.
The paper has one encoder per source, too, and its tables also lack the variance between labelled subsets, so each verdict on them says
how much scatter of either kind would undo it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

import numpy as np
import pandas as pd

from moco_transfer.statistics.comparisons import CLAIMS, Claim, Comparison
from moco_transfer.statistics.design import PAPER, ROLE_NAMES, Design
from moco_transfer.statistics.evidence import (
    Evidence,
    at_least,
    count_verdicts,
    holm,
    required,
    verdict,
)
from moco_transfer.statistics.similarity_ranks import judge_claim

SIMILARITY = "10"
SIMILARITY_TEXTS = (
    "The similarity of two datasets exceeds that of either with natural images, in every layer",
    "The similarity of spine and chest exceeds that of either with ImageNet, in every layer",
)
SIMILARITY_NEEDS = "the similarity of two datasets and of natural images"
NUMBERS = [*(number for number in CLAIMS if number != "11"), SIMILARITY, "11"]
# The paper says it of this target only.
PAPER_TARGETS = {"9": "spine"}
PAPER_SUBSETS = 3
MOST_SCATTER = 0.1
"""In AUROC. Larger scatters between encoders or subsets are not worth naming."""
NO_NUMBERS = {"effect": np.nan, "lower": np.nan, "upper": np.nan, "p": np.nan, "p_against": np.nan}
NOT_RUN = NO_NUMBERS | {
    "verdict": "cannot be tested",
    "remark": "nothing to compare in this run",
    "one_encoder": "",
}
NOT_PUBLISHED = NO_NUMBERS | {"verdict": "cannot be tested from the tables", "remark": "not in the tables"}
BLANK = NO_NUMBERS | {"verdict": "", "remark": ""}


def claims_table(
    run: Evidence,
    design: Design,
    similarity: pd.DataFrame | None,
    reference: Evidence,
    margin: float,
    level: float,
    same: Collection[tuple[str, str]] = (),
) -> pd.DataFrame:
    """Return the claims that a run can ask: claim, text, cell, effect, lower, upper, p, p_against, verdict, remark, one_encoder.

    ``design`` holds the roles of the sources of ``run``. ``similarity`` is the frame of the similarity stage; None if there are no
    two datasets to compare. ``margin`` (in AUROC) is the margin of the equivalence
    and non-inferiority tests. ``level`` is the level of every one-sided test; intervals cover 1 - 2
    ``level``. A verdict is 'supported' (by ``p``), 'not supported' (the opposite is shown, by ``p_against``),
    'undecided' or 'cannot be tested'. ``one_encoder`` names the sources with one trained encoder: the verdict is about these encoders.

    ``reference`` holds the paper's tables. The additional columns ``paper_...`` hold the paper's own words and the findings in its
    tables: for whole claims, and for those comparisons whose pairs of target and percentage are the ``same`` in paper and run.
    """
    design = design.seen_in(run)
    rows = []
    for number in NUMBERS:
        if number == SIMILARITY:
            text, said = SIMILARITY_TEXTS
            found, published = _similarity_findings(similarity, design), {}
        else:
            claim = CLAIMS[number]
            text, said = claim_text(claim, design), claim.in_the_paper
            found = run_findings(claim, run, design, margin, level)
            published = _published_findings(number, reference, margin, level, same) if found else {}
        if not found:
            continue
        published = {"all": NOT_PUBLISHED} | published
        for cell in dict.fromkeys([*found, *published]):
            row = {"claim": number, "text": text, "cell": cell} | found.get(cell, NOT_RUN)
            row |= {"paper_text": said if cell == "all" else ""}
            rows.append(row | {f"paper_{name}": value for name, value in published.get(cell, BLANK).items()})
    columns = ["claim", "text", "cell", *NOT_RUN, "paper_text", *(f"paper_{name}" for name in BLANK)]
    return pd.DataFrame(rows, columns=columns)


def claim_text(claim: Claim, design: Design) -> str:
    """Return a claim in general words, about the roles that a run has; ``design`` holds those of which it has AUROCs."""
    return claim.text.format(_listed([ROLE_NAMES[role] for role in claim.named if role in design.present()]))


def not_asked(claims: pd.DataFrame, run: Evidence, design: Design) -> str:
    """Return what the claims that are missing in the table ``claims`` would need, in one sentence after a blank, or nothing."""
    design = design.seen_in(run)
    by_need: dict[str, list[str]] = {}
    for number in NUMBERS:
        if number not in set(claims["claim"]):
            by_need.setdefault(_need(number, design), []).append(number)
    parts = [
        f"claim{'s' * (len(numbers) > 1)} {_listed(numbers)} ({need})" for need, numbers in by_need.items()
    ]
    return (
        f" This run cannot test claims that need another source or cell: {'; '.join(parts)}." if parts else ""
    )


def run_findings(claim: Claim, run: Evidence, design: Design, margin: float, level: float) -> dict[str, dict]:
    """Return the findings of ``claim`` in a run, by the name of the comparison, that of the whole claim ('all') first; {} without any."""
    cells = _findings(claim, run, design, margin, level)
    if cells and cells["all"]["one_encoder"]:
        cells["all"]["remark"] += _undone(
            cells["all"]["verdict"],
            "pretrainings",
            lambda sd: _findings(claim, run.with_encoder_scatter(sd), design, margin, level),
        )
    return cells


def _published_findings(
    number: str, reference: Evidence, margin: float, level: float, same: Collection[tuple[str, str]]
) -> dict[str, dict]:
    """Return the findings in the paper's tables: of the whole claim, and of the comparisons of the ``same`` cells."""
    claim = CLAIMS[number]
    others = {target for target in PAPER.roles if target != PAPER_TARGETS.get(number, target)}
    reference = reference.without({target: PAPER.roles[target] for target in others})
    cells = _findings(claim, reference, PAPER, margin, level)
    if not cells:
        return {}
    pretrained_once = replace(
        reference, encoders={source: {1: 1} for source, seen in PAPER.datasets.items() if seen}
    )
    for between, scattered in (
        ("labelled subsets", lambda sd: reference.scattered(sd, PAPER_SUBSETS)),
        ("pretrainings", pretrained_once.with_encoder_scatter),
    ):
        cells["all"]["remark"] += _undone(
            cells["all"]["verdict"],
            between,
            lambda sd, scattered=scattered: _findings(claim, scattered(sd), PAPER, margin, level),
        )
    shown = {
        each.name for each in claim.comparisons(reference, PAPER, margin, level) if each.cells <= set(same)
    }
    return {
        cell: {name: finding[name] for name in BLANK}
        for cell, finding in cells.items()
        if cell == "all" or cell in shown
    }


def _similarity_findings(similarity: pd.DataFrame | None, design: Design) -> dict[str, dict]:
    judged = {} if similarity is None else judge_claim(similarity, design.natural)
    return {cell: NO_NUMBERS | finding | {"one_encoder": design.network} for cell, finding in judged.items()}


def _undone(found: str, between: str, findings: Callable[[float], dict[str, dict]]) -> str:
    """Return which scatter of AUROCs ``between`` encoders or subsets undoes the verdict ``found``; nothing if it is no finding.

    ``findings`` returns those under a standard deviation of AUROCs, which are independent.
    """
    if found not in ("supported", "not supported"):
        return ""

    def stands(sd: float) -> bool:
        return findings(sd)["all"]["verdict"] == found

    low, high = 0.0, MOST_SCATTER
    if stands(high):
        return f"; stands even if AUROCs scattered by {MOST_SCATTER:g} between {between}"
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (middle, high) if stands(middle) else (low, middle)
    return f"; undone if AUROCs scattered by {high:.3f} between {between}"


def _findings(
    claim: Claim, evidence: Evidence, design: Design, margin: float, level: float
) -> dict[str, dict]:
    comparisons = list(claim.comparisons(evidence, design, margin, level))
    if not comparisons:
        return {}
    m = len(comparisons)
    u = required(claim.quantifier, m)
    p = [comparison.p for comparison in comparisons]
    p_against = [comparison.p_against for comparison in comparisons]
    cells = {
        comparison.name: _finding(comparison, *adjusted, level, comparison.remark, comparison.one_encoder)
        for comparison, *adjusted in zip(comparisons, holm(p), holm(p_against), strict=True)
    }
    holding = sum(comparison.holds for comparison in comparisons)
    remark = (
        f"must hold for {claim.quantifier}; {holding} of {m} estimates agree; tests: {count_verdicts(cells)}"
    )
    supporting = [name for name, finding in cells.items() if finding["verdict"] == "supported"]
    if claim.quantifier == "some" and supporting:
        remark += f" ({'; '.join(supporting)})"
    deciding = comparisons[int(np.argsort(p, kind="stable")[u - 1])]
    tested = not np.isnan(deciding.p)  # NaNs are sorted last, in no particular order, so none of them decides
    if tested:
        remark += f"; effect of {deciding.name}" + (f" ({deciding.remark})" if deciding.remark else "")
    one = tuple(dict.fromkeys(source for comparison in comparisons for source in comparison.one_encoder))
    whole = _finding(deciding, at_least(p, u), at_least(p_against, m - u + 1), level, remark, one)
    return {"all": whole | ({} if tested else {"effect": np.nan, "lower": np.nan, "upper": np.nan})} | cells


def _finding(
    comparison: Comparison, p: float, p_against: float, level: float, remark: str, one: tuple[str, ...]
) -> dict:
    numbers = {name: getattr(comparison, name) for name in ("effect", "lower", "upper")}
    said = {"verdict": verdict(p, p_against, level), "remark": remark, "one_encoder": ", ".join(one)}
    return numbers | {"p": p, "p_against": p_against} | said


def _need(number: str, design: Design) -> str:
    if number == SIMILARITY:
        return SIMILARITY_NEEDS
    names = ROLE_NAMES | {"initial": "a source without MoCo"}
    missing = [names[role] for role in design.missing(CLAIMS[number].needs)]
    return _listed(missing) or CLAIMS[number].also


def _listed(names: list[str]) -> str:
    """Return 'a, b and c'."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
