"""Claim 10: the similarity of spine and chest exceeds that of either with ImageNet, in every layer, measure by measure.

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
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import ndtri

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
    for standing, verdict, remark in (
        ("inside its null", "cannot be tested", "does not leave its null at {}"),
        ("unknown", "cannot be tested", "has no value or no interval over halves at {}"),
        ("behind", "not supported", f"less alike than another pair at {{}}; {BY_HALVES}"),
        ("level", "undecided", f"not apart from another pair at {{}}; {BY_HALVES}"),
    ):
        if found := [layer for layer, (_, each) in judged.items() if each == standing]:
            return lead, verdict, remark.format(", ".join(found))
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
