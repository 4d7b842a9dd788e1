"""The practical question in words: with so many labelled images, what should I do, how sure is that, and why?"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from moco_transfer.config.experiment import LIMITED, LIMITED_STEPS, NONE_LONGER
from moco_transfer.tables.claims import effect_text

STARTS = {
    "none": "no MoCo",
    NONE_LONGER: "no MoCo but as many more epochs",
    LIMITED: "MoCo on just the labelled images",
    LIMITED_STEPS: "MoCo on just the labelled images in as many steps as on all",
}
NO_MOCO = ("none", NONE_LONGER)
MODES = {"linear": "the last layer alone", "end_to_end": "all layers"}
# In AUROC, what lies between perfect and chance: a larger bound says nothing.
USELESS = 0.5


def advice_summary(
    advice: pd.DataFrame, controls: pd.DataFrame | None, titles: Mapping[str, str]
) -> pd.DataFrame:
    """Return one row for each target and number of labels, as text; the best is named where AUROCs are defined.

    ``advice`` is the frame of ``statistics.advice.advice_table``, ``controls`` that of ``controls.controls_table`` or
    None; ``titles`` maps dataset to title.
    """
    rows = []
    for (target, percent), ways in advice.groupby(["target", "percent"], sort=False):
        best = ways[ways["best"]].iloc[0]
        row = {
            "I have": f"{best['n_labeled']:,} labelled images of {titles.get(target, target)} ({percent}%)",
            "Best in this run": "Not known" if pd.isna(best["auroc"]) else _way(best),
            "Its AUROC": "" if pd.isna(best["auroc"]) else f"{best['auroc']:.3f}",
            "How sure": _how_sure(ways, best),
        }
        if controls is not None:
            asked = (controls["target"] == target) & (controls["percent"] == percent)
            row["Why: what the controls say"] = _why(controls[asked])
        rows.append(row)
    return pd.DataFrame(rows)


def _start(source: str) -> str:
    """Return what finetuning starts from: 'no MoCo', 'MoCo on spine + chest'."""
    return STARTS.get(source, f"MoCo on {source.replace('+', ' + ')}")


def _way(best: pd.Series) -> str:
    """Return 'MoCo on spine + chest, then train all layers for 50 epochs'."""
    start = _start(best["source"])
    length = f" for {best['epochs']} epochs" if best["mode"] == "end_to_end" else ""
    return f"{start[0].upper()}{start[1:]}, then train {MODES[best['mode']]}{length}"


def _how_sure(ways: pd.DataFrame, best: pd.Series) -> str:
    rivals = ways[ways["may_be_best"] & ~ways["best"]]
    if len(ways) == 1:
        return "The only way tried."
    if pd.isna(best["p_best"]):
        reason = "one labelled subset" if best["n_subsets"] == 1 else "the test images"
        return f"Not known: {reason} cannot tell {len(ways)} ways apart."
    if rivals.empty:
        return f"Clearly the best of the {len(ways)} ways tried, on {best['n_subsets']} labelled subsets."
    listed = "none is ruled out" if len(rivals) == len(ways) - 1 else "; ".join(_listed(rivals))
    told = [f"Not clear. Of {len(ways)} ways tried, {len(rivals)} cannot be told from it: {listed}."]
    if best["may_cost"] < USELESS:
        told.append(f"Taking it costs at most {best['may_cost']:.3f} AUROC against the best.")
    return " ".join([*told, *_shared(ways)])


def _listed(rivals: pd.DataFrame) -> list[str]:
    """Return each source with its modes: 'no MoCo (the last layer alone, all layers)'."""
    return [
        f"{_start(source)} ({', '.join(MODES[mode] for mode in own['mode'])})"
        for source, own in rivals.groupby("source", sort=False)
    ]


def _shared(ways: pd.DataFrame) -> list[str]:
    """Return what all ways that may be the best have in common, and some others not: that much is sure."""
    may, said = ways[ways["may_be_best"]], []
    if may["mode"].nunique() == 1 < ways["mode"].nunique():
        said.append(f"the best trains {MODES[may['mode'].iloc[0]]}")
    if may["source"].nunique() == 1 < ways["source"].nunique():
        said.append(f"the best starts from {_start(may['source'].iloc[0])}")
    elif ways["source"].isin(NO_MOCO).any() and not may["source"].isin(NO_MOCO).any():
        said.append("the best starts from MoCo of some kind")
    return [f"What is sure: {', and '.join(said)}."] if said else []


def _why(controls: pd.DataFrame) -> str:
    """Return the controls' answers of one target and percentage, whichever mode is the best, with the mode they are about.

    Of the open questions just their number.
    """
    if controls.empty:
        return "Not asked."
    answered = controls[controls["answer"].isin(["yes", "no"])]
    told = [
        f"{row.question} {row.answer.capitalize()}, training {MODES[row.mode]}: "
        f"{effect_text(row.effect, row.lower, row.upper)}."
        for row in answered.itertuples()
    ]
    left = len(controls) - len(answered)
    if left:
        told.append(f"{left} {'question' if left == 1 else 'questions'} open.")
    return " ".join(told)
