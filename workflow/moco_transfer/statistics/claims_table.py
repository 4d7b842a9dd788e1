"""The table of the paper's claims: for each one row 'all' with its verdict, and one for each comparison it rests on.

Single comparisons carry Holm's adjusted p-values within their claim, the row 'all' those of the whole claim; its effect and
interval are those of the comparison that decides: the weakest of a claim said of all, the strongest of one said of some.
Intervals are not adjusted. Beside the verdict in this run stands the verdict on the paper's own tables, by the same
functions. Those tables hold no variance between labelled subsets, and without it verdicts come too easily: each says how
much scatter would undo it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd

from moco_transfer.statistics.claims import CLAIMS, Claim, Judge
from moco_transfer.statistics.evidence import Evidence
from moco_transfer.statistics.similarity_claim import measure_verdict
from moco_transfer.statistics.verdicts import Comparison, at_least, holm, required, verdict

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
