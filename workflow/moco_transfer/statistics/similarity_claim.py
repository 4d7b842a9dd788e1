"""Claim 10: the similarity of spine and chest exceeds that of either with ImageNet, in every layer, measure by measure.

A measure can say so only where it leaves its null. One that stays inside is no evidence, whatever the order of its
values: then the claim cannot be tested by it, and that is the finding. The order of the others carries no p-value,
because the images were drawn once; the remark says so.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

SPINE, CHEST, NATURAL = "spine", "chest", "natural"
DISTANCES = ("frechet",)  # the smaller, the more alike
BY_ORDER = "by order alone: the images were drawn once"


def measure_verdict(similarity: pd.DataFrame, measure: str) -> tuple[float, str, str]:
    """Return the smallest lead of spine-chest over the layers, the verdict and a remark, for one ``measure``.

    ``similarity`` has measure, layer, dataset_a, dataset_b, value, null_lower and null_upper. The lead is the value of
    spine-chest less the larger of the other two pairs', with the sign turned for a distance; of a directed measure both
    orders count, and the claim must hold for the worst of them. The measure leaves its null at a layer where some pair
    is more alike than the null's interval allows.
    """
    rows = similarity[similarity["measure"] == measure]
    sign = -1.0 if measure in DISTANCES else 1.0
    pair = pd.Series(
        [frozenset(each) for each in zip(rows["dataset_a"], rows["dataset_b"], strict=True)], rows.index
    )
    null_end = rows["null_lower"] if measure in DISTANCES else rows["null_upper"]
    leaves_null = sign * (rows["value"] - null_end) > 0
    leads, inside = {}, []
    for layer, index in rows.groupby("layer", sort=False).groups.items():
        related = pair[index] == frozenset((SPINE, CHEST))
        rivals = pair[index].isin([frozenset((SPINE, NATURAL)), frozenset((CHEST, NATURAL))])
        if pair[index][related | rivals].nunique() < 3:
            return np.nan, "cannot be tested", "needs the datasets spine, chest and natural"
        alike = sign * rows["value"][index]
        leads[layer] = alike[related].min() - alike[rivals].max()
        if not leaves_null[index][related | rivals].any():
            inside.append(layer)
    lead = float(min(leads.values()))
    if inside:
        return lead, "cannot be tested", f"does not leave its null at {', '.join(inside)}"
    behind = [layer for layer, each in leads.items() if not each > 0]
    if behind:
        return lead, "not supported", f"not the most alike at {', '.join(behind)}; {BY_ORDER}"
    return lead, "supported", BY_ORDER
