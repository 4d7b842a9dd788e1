"""What the uncertainty of each AUROC consists of: test patients, labelled subsets and encoders.

The parts are those of ``evidence.Evidence.contrast``. They are given for every AUROC and for its difference from the initial weights
alone, which most statements are about.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from moco_transfer.statistics.components import FAIR
from moco_transfer.statistics.evidence import EstimateKey, Evidence, Weights, difference

PARTS = ("patients", "subsets", "encoders")
COLUMNS = [
    *("target", "mode", "percent", "n_labeled", "source", "less", "se"),
    *(f"se_{part}" for part in PARTS),
    *(f"share_{part}" for part in PARTS),
    *("subsets", "encoders", "status", "pooled", "fair"),
]

Status = Literal["estimated", "with subsets", "unknown", "given"]
"""How far the encoders' part is known. With subsets: each subset meets an encoder of its own. Unknown: there is one encoder."""


def parts_table(estimates: pd.DataFrame, evidence: Evidence) -> pd.DataFrame:
    """Return the parts of the variance of each AUROC and of its difference from the initial weights, one row each.

    ``estimates`` is the frame of ``evaluation.evaluate_target``; of several budgets, the selected one counts, and what
    ``evidence`` lacks is left out. Returns target, mode, percent, n_labeled, source, less ('none' for the difference from the
    initial weights, or ''), effect, se (the standard error), se_patients, se_subsets and se_encoders (its parts, which
    add in squares), share_patients, share_subsets and share_encoders (of the variance), subsets (how many are
    averaged), encoders (how many the source has), status (of the encoders' part, which is NaN unless it is 'estimated' or
    'given'), pooled (over how many sources; 0 if the contrast's own encoders count) and fair (the p-value of ``components.fairness``).
    """
    rows = []
    cells = estimates[estimates["selected"]]
    for row in cells.itertuples():
        names = (row.target, row.mode, row.percent)
        own = EstimateKey(row.target, row.source, row.mode, row.percent)
        if not evidence.has(own):
            continue
        asked = {"": {own: 1.0}}
        if row.source != "none":
            asked["none"] = difference(*names, row.source, "none")
        met = evidence.encoders.get(row.source, {})
        of_cell = evidence.by_subset[own._replace(epochs=row.epochs)]
        counts = {"subsets": row.n_subsets, "encoders": len({met.get(subset, 1) for subset in of_cell})}
        for less, weights in asked.items():
            if evidence.has(*weights):
                cell = dict(zip(("target", "mode", "percent"), names, strict=True))
                cell |= {"n_labeled": row.n_labeled, "source": row.source, "less": less}
                rows.append(cell | counts | _parts(weights, evidence))
    return pd.DataFrame(rows, columns=COLUMNS)


def _parts(weights: Weights, evidence: Evidence) -> dict:
    """Return the standard error, its parts and what is known about the encoders."""
    contrast = evidence.contrast(weights)
    status: Status = "given"
    if contrast.one_encoder:
        status = "unknown"
    elif any(key.source in evidence.encoders for key in weights):
        # Only an encoders' part of its own has degrees of freedom.
        status = "estimated" if np.isfinite(contrast.encoder_df) else "with subsets"
    variances = np.array([contrast.patients, contrast.subsets, contrast.encoders])
    if status in ("unknown", "with subsets"):
        variances[2] = np.nan
    found = {"se": contrast.se, "status": status, "pooled": 0, "fair": np.nan}
    found |= dict(zip([f"se_{part}" for part in PARTS], np.sqrt(variances), strict=True))
    # Without any variance there are no shares.
    shares = variances / (contrast.variance or np.nan)
    found |= dict(zip([f"share_{part}" for part in PARTS], shares, strict=True))
    if np.isfinite(contrast.encoder_df):
        key = next(iter(weights))._replace(source="")
        pool = evidence.pooled(frozenset({(key, 1.0)}), True, [each.source for each in weights])
        if pool is not None:
            found |= {"pooled": 0 if pool.fair < FAIR else pool.sources, "fair": pool.fair}
    return found
