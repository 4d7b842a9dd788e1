"""Which of the paper's values may stand beside ours."""

from __future__ import annotations

import pandas as pd

TOLERANCE = 0.02
"""The largest relative difference between two numbers of labels that agree.

A split by patient varies around the paper's numbers by less than one percent, and one label of 58 is more than that.
"""


def comparable(reference: pd.DataFrame, estimates: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the paper's ``reference`` whose percentage and number of labels are those of ``estimates``.

    A percentage alone says little: 10% of a part of a release is another number of labels. The column percent
    becomes that of ``estimates``, as it is spelled there.
    """
    ours = estimates[["target", "percent", "n_labeled"]].drop_duplicates()
    ours = ours.assign(share=ours["percent"].astype(float))
    published = reference.assign(share=reference["percent"].astype(float))
    pairs = published.merge(ours, on=["target", "share"], suffixes=("", "_ours"))
    pairs["percent"] = pairs["percent_ours"]
    agree = (pairs["n_labeled_ours"] / pairs["n_labeled"] - 1).abs() <= TOLERANCE
    return pairs.loc[agree, reference.columns].reset_index(drop=True)
