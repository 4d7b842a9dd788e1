"""Does similarity predict the best source? For each target, its out-of-domain sources by similarity and by AUROC.

A source of one dataset is as similar to a target as that dataset is; ``none`` stands for the dataset of the initial
weights. A source of several datasets has no single similarity and is left out, as are those that hold the target's own
images. What remains is two or three sources a target, of which a measure that knows nothing names the best one in two
or three times: no number of layers, percentages or measures makes more pairs of datasets of it. So there is no
correlation coefficient here, only which source each measure names, and whether that one is the best in AUROC. The literal
SVCCA names none: it cannot leave its null but by chance (decision 18), so that leaving it means nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from moco_transfer.statistics.claims import DISTANCES
from moco_transfer.statistics.controls import ANSWERS
from moco_transfer.statistics.evidence import Cell, Contrast, Evidence, verdict

GAIN_COLUMNS = [
    *("target", "percent", "n_labeled", "measure", "layer", "source", "dataset"),
    *("similarity", "outside_null", "gain", "lower", "upper"),
]
RANK_COLUMNS = [
    *("target", "percent", "n_labeled", "measure", "layer", "sources", "most_similar", "outside_null"),
    *("best", "effect", "lower", "upper", "p", "p_against", "first"),
]


def source_gains(
    similarity: pd.DataFrame,
    estimates: pd.DataFrame,
    evidence: Evidence,
    datasets: Mapping[str, str],
    level: float,
) -> pd.DataFrame:
    """Return each out-of-domain source of each target with its similarity and what it gains over no MoCo.

    ``similarity`` is the frame of the similarity stage, ``estimates`` that of ``evaluation.evaluate_target`` (for the
    numbers of labels), ``datasets`` maps source to its one dataset. Returns target, percent, n_labeled, measure, layer,
    source, dataset, similarity (of a directed measure, from the source's dataset to the target), outside_null (more alike
    than 95% of the null; never of the literal SVCCA), gain (linear test AUROC less that of ``none``), lower and upper (its 1 - 2 ``level`` interval).
    A target with fewer than two such sources is left out, and a similarity that has no value (dead channels).
    """
    labels = estimates.drop_duplicates(["target", "percent"]).set_index(["target", "percent"])["n_labeled"]
    parts = []
    for target in evidence.targets():
        for percent in evidence.percents(target):
            known = {
                source: rows
                for source, dataset in datasets.items()
                if dataset != target
                and evidence.has(*(Cell(target, each, "linear", percent) for each in (source, "none")))
                and not (rows := _to_target(similarity, dataset, target)).empty
            }
            if len(known) < 2:
                continue
            for source, rows in known.items():
                # Of 'none' less itself nothing is left, and nothing is uncertain.
                contrast = Contrast(0.0, 0.0)
                if source != "none":
                    contrast = evidence.contrast(_difference(target, percent, source, "none"))
                lower, upper = contrast.interval(level)
                names = {"target": target, "percent": percent, "n_labeled": labels[target, percent]}
                names |= {"source": source, "dataset": datasets[source]}
                parts.append(rows.assign(**names, gain=contrast.effect, lower=lower, upper=upper))
    return pd.concat(parts, ignore_index=True)[GAIN_COLUMNS] if parts else pd.DataFrame(columns=GAIN_COLUMNS)


def source_ranks(gains: pd.DataFrame, evidence: Evidence, level: float) -> pd.DataFrame:
    """Return whether the most similar out-of-domain source is the best: one row a target, percentage, measure and layer.

    ``gains`` is the frame of ``source_gains``. Returns target, percent, n_labeled, measure, layer, sources (how many),
    most_similar, outside_null (whether any of them leaves its null: else the measure says nothing), best (by AUROC),
    effect (AUROC of the most similar less that of its best rival), lower, upper, p (the largest against any rival), p_against
    (the smallest for a rival, Bonferroni's over them) and first: 'yes', 'no' (another is shown to be better), 'undecided'
    or 'cannot be tested', as by a measure inside its null. Intervals cover 1 - 2 ``level``; nothing is adjusted for the
    number of rows.
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
        contrasts = [evidence.contrast(_difference(target, percent, most, rival)) for rival in rivals]
        p = np.max([contrast.p_above(0.0) for contrast in contrasts])
        p_against = np.minimum(np.min([contrast.p_below(0.0) for contrast in contrasts]) * len(rivals), 1.0)
        named = bool(sources["outside_null"].any())
        first = ANSWERS[verdict(p, p_against, level) if named else "cannot be tested"]
        lower, upper = contrasts[0].interval(level)
        row = dict(zip(cell, names, strict=True))
        row |= {"sources": len(sources), "most_similar": most, "outside_null": named}
        row |= {"best": gain.idxmax(), "effect": contrasts[0].effect, "lower": lower, "upper": upper}
        row |= {"p": p, "p_against": p_against, "first": first}
        rows.append(row)
    return pd.DataFrame(rows, columns=RANK_COLUMNS)


def _difference(target: str, percent: str, source: str, other: str) -> dict[Cell, float]:
    return {Cell(target, source, "linear", percent): 1.0, Cell(target, other, "linear", percent): -1.0}


def _to_target(similarity: pd.DataFrame, dataset: str, target: str) -> pd.DataFrame:
    """Return measure, layer, similarity and outside_null of one dataset to ``target``; directed measures that way."""
    there = similarity[(similarity["dataset_a"] == dataset) & (similarity["dataset_b"] == target)]
    back = similarity[(similarity["dataset_a"] == target) & (similarity["dataset_b"] == dataset)]
    rows = (
        pd.concat([there, back]).drop_duplicates(["measure", "layer"]).sort_index().dropna(subset=["value"])
    )
    distance = rows["measure"].isin(DISTANCES)
    beyond_upper, below_lower = rows["value"] > rows["null_upper"], rows["value"] < rows["null_lower"]
    outside = beyond_upper.where(~distance, below_lower) & (rows["measure"] != "svcca")
    return rows[["measure", "layer"]].assign(similarity=rows["value"], outside_null=outside)
