"""What the similarity of datasets says: does claim 10 hold, and does similarity predict the best source?

Claim 10 says that the similarity of two datasets, in the paper spine and chest, exceeds that of either with natural images, in every layer.
Each pair of datasets and each measure is judged separately. A measure that stays inside its null at some layer cannot test the claim,
whatever the order of its values, and that is the finding. Leaving the null is a low bar: the network shapes
its channels, so any two sets of images, even noise, are more alike than randomly rotated channels.

The other measures are judged by their 5 to 95% intervals over random halves of the images. The values of
halves scatter about the value of all images as the latter scatters between samples (the delete-half
jackknife, Shao and Wu 1989). Requiring that two intervals lie apart is stricter than requiring that the
interval of their difference excludes zero: in simulations without any difference (200 to 256 normal or
heavy-tailed images, 32 to 128 channels, also with two dependent images per patient), they lie apart in a
given direction in at most 4% of cases. So there is no p-value. A claim about all layers needs no correction,
but one comparison in any layer contradicts it, so for that the intervals are stretched, as Bonferroni's
correction stretches normal ones.

The second question ranks, for each target, its out-of-domain sources by similarity and by AUROC. A source of
one dataset is as similar to a target as that dataset is; ``none`` stands for the dataset of the initial
weights. Sources of several datasets have no single similarity and are left out, as are those that contain the
target's own images. With the two or three sources that remain, a measure that knows nothing is often right by
chance, so there is no correlation coefficient here, only which source each measure names and whether it has
the best AUROC. The literal SVCCA names none: it leaves its null only by chance (decision 18).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations, product
from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import ndtri

from moco_transfer.statistics.contrast import Contrast
from moco_transfer.statistics.evidence import ANSWERS, Evidence, count_verdicts, difference, verdict

DISTANCES = ("frechet",)  # smaller values mean more alike
LEVEL = 0.05  # of each end of value_lower to value_upper
BY_HALVES = "by intervals over halves of the images, layer by layer"

GAIN_COLUMNS = [
    *("target", "percent", "n_labeled", "measure", "layer", "source", "dataset"),
    *("similarity", "outside_null", "gain", "lower", "upper"),
]
RANK_COLUMNS = [
    *("target", "percent", "n_labeled", "measure", "layer", "sources", "most_similar", "outside_null"),
    *("best", "effect", "lower", "upper", "p", "p_against", "first", "one_encoder"),
]

Standing = Literal["inside its null", "unknown", "behind", "level", "ahead"]


def measure_verdict(
    similarity: pd.DataFrame, measure: str, related: Sequence[str], natural: Collection[str], judged: int = 1
) -> tuple[float, str, str]:
    """Return the smallest lead of the ``related`` pair over the layers, the verdict of ``measure`` and a remark.

    ``similarity`` has the columns measure, layer, dataset_a, dataset_b, value, value_lower, value_upper,
    null_lower and null_upper. The rivals are the pairs of a related dataset and one of ``natural`` images. The lead is the value of the
    related pair minus the largest value of a rival, with the sign reversed for a distance. A directed measure has both orders of each
    pair, and the claim must hold for the worst of them. The measure leaves its null at a layer if some pair is more alike
    than the null's interval allows.

    The claim is supported if the interval of the related pair lies above those of its rivals at every layer.
    It is not supported if the interval lies below one of them at any layer, with intervals stretched for the
    number of comparisons in all the ``judged`` verdicts of a family. Otherwise it is undecided. It cannot
    be tested without a value or an interval (dead channels, the literal SVCCA).
    """
    asked = frozenset(related)
    rivals = [frozenset(each) for each in product(related, natural)]
    rows = similarity[similarity["measure"] == measure]
    pair = [frozenset(each) for each in zip(rows["dataset_a"], rows["dataset_b"], strict=True)]
    rows = rows.assign(pair=pair)[pd.Series(pair, rows.index).isin([asked, *rivals])]
    layers = dict(list(rows.groupby("layer", sort=False)))
    if not layers or any(of["pair"].nunique() < 1 + len(rivals) for of in layers.values()):
        return np.nan, "cannot be tested", f"needs the similarities of {', '.join([*related, *natural])}"
    comparisons = sum((of["pair"] == asked).sum() * (of["pair"] != asked).sum() for of in layers.values())
    stretch = ndtri(LEVEL / (comparisons * judged)) / ndtri(LEVEL)
    found = {
        layer: _standing(of, of["pair"] == asked, measure in DISTANCES, stretch)
        for layer, of in layers.items()
    }
    lead = float(np.min([lead for lead, _ in found.values()]))
    for standing, outcome, remark in (
        ("inside its null", "cannot be tested", "does not leave its null at {}"),
        ("unknown", "cannot be tested", "has no value or no interval over halves at {}"),
        ("behind", "not supported", f"less alike than another pair at {{}}; {BY_HALVES}"),
        ("level", "undecided", f"not apart from another pair at {{}}; {BY_HALVES}"),
    ):
        if there := [layer for layer, (_, each) in found.items() if each == standing]:
            return lead, outcome, remark.format(", ".join(there))
    return lead, "supported", BY_HALVES


def judge_claim(similarity: pd.DataFrame, natural: Collection[str]) -> dict[str, dict]:
    """Return effect (the smallest lead), verdict and remark of claim 10, as a whole ('all') and by pair of datasets and measure.

    ``natural`` are the datasets of natural images; the claim is about each pair of the others. It holds if every measure that can test
    it supports it. Returns {} if there are no two others or no natural images.
    """
    datasets = pd.unique(similarity[["dataset_a", "dataset_b"]].to_numpy().ravel())
    pairs = list(combinations([name for name in datasets if name not in natural], 2))
    natural = [name for name in datasets if name in natural]
    if not pairs or not natural:
        return {}
    asked = {
        f"{' and '.join(pair)}: {measure}": (measure, pair)
        for pair, measure in product(pairs, similarity["measure"].unique())
    }
    cells = {}
    for cell, each in asked.items():
        lead, says, remark = measure_verdict(similarity, *each, natural)
        cells[cell] = {"effect": lead, "verdict": says, "remark": remark}
    testing = [asked[cell] for cell, finding in cells.items() if finding["verdict"] != "cannot be tested"]
    # Any one of them may contradict the whole claim, so contradiction is judged for all of them as one
    # family.
    as_one = [measure_verdict(similarity, *each, natural, len(testing))[1] for each in testing]
    # The whole claim gets the first of these verdicts that any measure has.
    ranked = ["not supported", "undecided", "supported"]
    whole = min(as_one, key=ranked.index, default="cannot be tested")
    remark = f"must hold for all; tests: {count_verdicts(cells)}"
    return {"all": {"effect": np.nan, "verdict": whole, "remark": remark}} | cells


def _standing(
    rows: pd.DataFrame, related: pd.Series, distance: bool, stretch: float
) -> tuple[float, Standing]:
    """Return the lead of the ``related`` rows at one layer (NaN if a value is NaN) and where their interval stands.

    Intervals are ``stretch`` times as long when 'behind' is decided.
    """
    sign, ends = (-1.0, ["upper", "lower"]) if distance else (1.0, ["lower", "upper"])
    value = sign * rows["value"]
    low, high = (sign * rows[f"value_{end}"] for end in ends)
    lead = value[related].min(skipna=False) - value[~related].max(skipna=False)
    if not (value > sign * rows[f"null_{ends[1]}"]).any():
        return lead, "inside its null"
    if np.isnan([value, low, high]).any():
        return lead, "unknown"
    stretched_high, stretched_low = value + stretch * (high - value), value - stretch * (value - low)
    if stretched_high[related].min() < stretched_low[~related].max():
        return lead, "behind"
    return lead, "ahead" if low[related].min() > high[~related].max() else "level"


def source_gains(
    similarity: pd.DataFrame,
    estimates: pd.DataFrame,
    evidence: Evidence,
    datasets: Mapping[str, str],
    level: float,
) -> pd.DataFrame:
    """Return each out-of-domain source of each target with its similarity and its gain over no MoCo.

    ``similarity`` is the frame of the similarity stage, ``estimates`` that of ``evaluation.evaluate_target``
    (for the numbers of labels); ``datasets`` maps each source to its one dataset. Returns target, percent,
    n_labeled, measure, layer, source, dataset, similarity (of a directed measure: from the source's dataset
    to the target), outside_null (more alike than 95% of the null; never for the literal SVCCA), gain (linear
    test AUROC minus that of ``none``), and lower and upper, its 1 - 2 ``level`` interval. Targets with fewer
    than two such sources are left out, as are similarities without a value (dead channels).
    """
    labels = estimates.drop_duplicates(["target", "percent"]).set_index(["target", "percent"])["n_labeled"]
    parts = []
    for target, percent in evidence.cells():
        known = {
            source: rows
            for source, dataset in datasets.items()
            if dataset != target
            and evidence.has(*difference(target, "linear", percent, source, "none"))
            and not (rows := _to_target(similarity, dataset, target)).empty
        }
        if len(known) < 2:
            continue
        for source, rows in known.items():
            # 'none' minus itself is exactly zero.
            contrast = Contrast(0.0, 0.0)
            if source != "none":
                contrast = evidence.contrast(difference(target, "linear", percent, source, "none"))
            lower, upper = contrast.interval(level)
            names = {"target": target, "percent": percent, "n_labeled": labels[target, percent]}
            names |= {"source": source, "dataset": datasets[source]}
            parts.append(rows.assign(**names, gain=contrast.effect, lower=lower, upper=upper))
    return pd.concat(parts, ignore_index=True)[GAIN_COLUMNS] if parts else pd.DataFrame(columns=GAIN_COLUMNS)


def source_ranks(gains: pd.DataFrame, evidence: Evidence, level: float) -> pd.DataFrame:
    """Return whether the most similar source is the best, one row per target, percentage, measure and layer.

    ``gains`` is the frame of ``source_gains``. Returns target, percent, n_labeled, measure, layer, sources
    (how many), most_similar, outside_null (whether any source leaves the null; otherwise the measure says
    nothing), best (by AUROC), effect (AUROC of the most similar source minus that of its best rival), lower,
    upper, p (the largest against any rival), p_against (the smallest in favour of a rival, with Bonferroni's
    correction over them) and first: 'yes', 'no' (another source is shown to be better), 'undecided' or
    'cannot be tested' (also if the measure stays inside its null). ``one_encoder`` names the sources with one trained
    encoder: the answer is about these encoders. Intervals cover 1 - 2 ``level``; nothing is adjusted for the number of rows.
    """
    rows = []
    cell = ["target", "percent", "n_labeled", "measure", "layer"]
    for names, sources in gains.groupby(cell, sort=False):
        if len(sources) < 2:
            continue
        target, percent, _, measure, _ = names
        alike = sources.set_index("source")["similarity"] * (-1.0 if measure in DISTANCES else 1.0)
        gain = sources.set_index("source")["gain"]
        most = alike.idxmax()
        rivals = gain.drop(most).sort_values(ascending=False).index
        contrasts = [
            evidence.contrast(difference(target, "linear", percent, most, rival)) for rival in rivals
        ]
        p = np.max([contrast.p_above(0.0) for contrast in contrasts])
        p_against = np.minimum(np.min([contrast.p_below(0.0) for contrast in contrasts]) * len(rivals), 1.0)
        outside_null = bool(sources["outside_null"].any())
        first = ANSWERS[verdict(p, p_against, level) if outside_null else "cannot be tested"]
        numbers = (contrasts[0].effect, *contrasts[0].interval(level), p, p_against)
        one = " ".join(dict.fromkeys(source for contrast in contrasts for source in contrast.one_encoder))
        rows.append((*names, len(sources), most, outside_null, gain.idxmax(), *numbers, first, one))
    return pd.DataFrame(rows, columns=RANK_COLUMNS)


def _to_target(similarity: pd.DataFrame, dataset: str, target: str) -> pd.DataFrame:
    """Return measure, layer, similarity and outside_null, in the direction from ``dataset`` to ``target``."""
    there = similarity[(similarity["dataset_a"] == dataset) & (similarity["dataset_b"] == target)]
    back = similarity[(similarity["dataset_a"] == target) & (similarity["dataset_b"] == dataset)]
    rows = (
        pd.concat([there, back]).drop_duplicates(["measure", "layer"]).sort_index().dropna(subset=["value"])
    )
    distance = rows["measure"].isin(DISTANCES)
    beyond_upper, below_lower = rows["value"] > rows["null_upper"], rows["value"] < rows["null_lower"]
    outside = beyond_upper.where(~distance, below_lower) & (rows["measure"] != "svcca")
    return rows[["measure", "layer"]].assign(similarity=rows["value"], outside_null=outside)
