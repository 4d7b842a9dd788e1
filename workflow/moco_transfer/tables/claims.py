"""The table of claims for people: one row a claim, with its verdict in this run and on the paper's own tables."""

from __future__ import annotations

import numpy as np
import pandas as pd


def claims_summary(claims: pd.DataFrame) -> pd.DataFrame:
    """Return one row a claim from the frame of ``claims_table.claims_table``, whose single comparisons the CSV keeps.

    Columns have two levels: this run, and where the frame has them, the paper's tables.
    """
    whole = claims[claims["cell"] == "all"]
    columns = {("", "Claim"): whole["claim"], ("", "Claim tested"): whole["text"]}
    for heading, prefix in [("This run", ""), ("The paper's tables", "paper_")]:
        if f"{prefix}verdict" not in claims:
            continue
        columns[heading, "Verdict"] = whole[f"{prefix}verdict"]
        columns[heading, "Effect"] = [
            effect_text(*values)
            for values in whole[[f"{prefix}effect", f"{prefix}lower", f"{prefix}upper"]].to_numpy(dtype=float)
        ]
        columns[heading, "p"] = whole[f"{prefix}p"].map(p_value_text)
        columns[heading, "p against"] = whole[f"{prefix}p_against"].map(p_value_text)
        columns[heading, "Comparisons"] = whole[f"{prefix}remark"]
    table = pd.DataFrame(columns).reset_index(drop=True)
    return table.set_axis(pd.MultiIndex.from_tuples(list(columns)), axis=1)


def effect_text(effect: float, lower: float, upper: float) -> str:
    """Return '+0.012 (-0.003 to +0.027)'; nothing where the effect is not known."""
    if np.isnan(effect):
        return ""
    return f"{effect:+.3f}" + ("" if np.isnan(lower) else f" ({lower:+.3f} to {upper:+.3f})")


def p_value_text(p: float) -> str:
    """Return a p-value with four digits, very small ones as a bound; nothing where it is not known."""
    if np.isnan(p):
        return ""
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}"
