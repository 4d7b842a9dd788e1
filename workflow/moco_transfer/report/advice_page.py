"""The page of the advice in words: a short row for each target and number of labels, then notes and a ranking for each.

``statistics.advice`` finds what is said here. The notes are what a reader must know before acting: how sure the choice is,
warnings, what would settle an open question, and what the controls say. The ranking has all ways to train with their cost. A
way to train is a source of pretraining and a mode of finetuning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from moco_transfer.config.experiment import LIMITED
from moco_transfer.experiment import Kind
from moco_transfer.report.names import MARK, TRAINED_LAYERS
from moco_transfer.report.tables import auroc_text, effect_text

KINDS = {
    "initial": "the initial weights, without MoCo",
    "moco": "some kind of MoCo",
    "encoder": "an encoder that MoCo has not trained here",
}
CHEAPEST = "cheapest that is not ruled out"
USELESS = 0.1
"""A larger bound on the AUROC that one may lose says nothing."""
FEW_PATIENTS = 20
FEW_SUBSETS = 3
SHOWN = 3
"""Of the classes with few patients, only the rarest are named."""


@dataclass(frozen=True)
class Advice:
    """What the page is made from.

    Attributes
    ----------
    ways : the frame of ``statistics.advice.advice_table``
    sources : source to kind
    titles : dataset to title
    interval : the name of the intervals: '90% interval'
    rarer : for each target, the number of test patients with the rarer label of each class
    longest : by target and percentage, the budget of ``statistics.advice.longest_budgets``
    controls : the CSV of the controls table, if there is one
    settle : by target and percentage, a sentence on what would settle which way is the best
    speed : images that one device trains per second, if it is known
    device : 'cuda' or 'cpu'
    """

    ways: pd.DataFrame
    sources: Mapping[str, Kind]
    titles: Mapping[str, str]
    interval: str
    rarer: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    longest: Mapping[tuple[str, str], int] = field(default_factory=dict)
    controls: pd.DataFrame | None = None
    settle: Mapping[tuple[str, str], str] = field(default_factory=dict)
    speed: float | None = None
    device: str = "cpu"

    def cells(self) -> dict[tuple[str, str], pd.DataFrame]:
        """Return the ways of each target and percentage."""
        return dict(iter(self.ways.groupby(["target", "percent"], sort=False)))


def summary(advice: Advice) -> pd.DataFrame:
    """Return one row of text per target and number of labels."""
    rows = []
    for every in advice.cells().values():
        ways = compared(every)
        chosen, cheapest = ways[ways["chosen"]], ways[ways["cheapest"]]
        rows.append(
            {
                "I have": labels_text(every, advice),
                "Best on validation images": way_text(chosen.iloc[0], advice) if len(chosen) else "Unknown",
                f"Its test AUROC ({advice.interval})": _auroc_text(chosen.iloc[0]) if len(chosen) else "",
                "How sure": " ".join([*near_chance(ways), verdict(ways)]),
                CHEAPEST[0].upper() + CHEAPEST[1:]: cheapest_text(chosen, cheapest, advice),
            }
        )
    return pd.DataFrame(rows)


def details(advice: Advice) -> list[tuple[pd.DataFrame, str]]:
    """Return for each target and number of labels the notes and the ranking of all ways, as text, each with its caption."""
    tables = []
    for cell, every in advice.cells().items():
        title = labels_text(every, advice)
        tables.append((notes(cell, every, advice), f"{title}: what to know."))
        tables.append(
            (_ranking(every, advice), f"{title}: all ways to train, best on validation images first.")
        )
    return tables


def _ranking(every: pd.DataFrame, advice: Advice) -> pd.DataFrame:
    names = {"chosen": "best on validation images", "cheapest": CHEAPEST}
    table = pd.DataFrame(
        {
            "Way to train": [way_text(way, advice) for _, way in every.iterrows()],
            "Validation AUROC": every["validation_auroc"].map(auroc_text),
            f"Test AUROC ({advice.interval})": [_auroc_text(way) for _, way in every.iterrows()],
            "May be the best": [may_be_best(way) for _, way in every.iterrows()],
            "Images trained": every["images_trained"].map("{:,}".format),
        }
    )
    if advice.speed:
        unit, seconds = ("GPU-hours", 3600) if advice.device == "cuda" else ("Minutes", 60)
        table[unit] = [two_digits(count / advice.speed / seconds) for count in every["images_trained"]]
    table["Advice"] = [
        "; ".join(text for name, text in names.items() if way[name]) for _, way in every.iterrows()
    ]
    return table


def notes(cell: tuple[str, str], every: pd.DataFrame, advice: Advice) -> pd.DataFrame:
    """Return what to know about the ways of one ``cell``: how sure, warnings, what would settle it, controls, who is left out."""
    ways, left_out = compared(every), every[every["may_have_seen"].notna()]
    sure = " ".join([verdict(ways), *_cost_bounds(ways), *shared_text(ways, advice)])
    rows = [("How sure", sure), *(("Warning", warning) for warning in _warnings(cell, ways, advice))]
    if cell in advice.settle:
        rows.append(("What would settle it", advice.settle[cell]))
    if len(left_out):
        rows.append((f"Left out {MARK}", _left_out_text(left_out, advice)))
    if advice.controls is not None:
        of_cell = (advice.controls["target"] == cell[0]) & (advice.controls["percent"] == cell[1])
        rows.append(("What the controls say", _controls_text(advice.controls[of_cell])))
    return pd.DataFrame(rows, columns=["What", "In this run"])


def compared(every: pd.DataFrame) -> pd.DataFrame:
    return every[every["may_have_seen"].isna()]


def labels_text(every: pd.DataFrame, advice: Advice) -> str:
    """Return '58 labelled images of VinDr-SpineXR (1%)'."""
    first = every.iloc[0]
    return f"{first['n_labeled']:,} labelled images of {advice.titles.get(first['target'], first['target'])} ({first['percent']}%)"


def _start_text(source: str, advice: Advice) -> str:
    """Return what finetuning starts from: 'no MoCo', 'MoCo on spine + chest', 'the encoder lite0'."""
    if advice.sources[source] == "encoder":
        return f"the encoder {source}"
    named = {"none": "no MoCo", LIMITED: "MoCo on only the labelled images"}
    return named.get(source, f"MoCo on {source.replace('+', ' + ')}")


def way_text(way: pd.Series, advice: Advice) -> str:
    """Return 'MoCo on spine + chest, then train all layers for 50 epochs'."""
    return ", then train ".join(way_parts(way, advice))


def way_parts(way: pd.Series, advice: Advice) -> tuple[str, str]:
    """Return 'MoCo on spine + chest' and 'all layers for 50 epochs'."""
    start = _start_text(way["source"], advice)
    count = "1 epoch" if way["epochs"] == 1 else f"{way['epochs']} epochs"
    epochs = f" for {count}" if way["mode"] == "end_to_end" else ""
    return start[0].upper() + start[1:], TRAINED_LAYERS[way["mode"]] + epochs


def _auroc_text(way: pd.Series) -> str:
    return auroc_text(*way[["auroc", "lower", "upper"]])


def may_be_best(way: pd.Series) -> str:
    if pd.notna(way["may_have_seen"]):
        return f"left out {MARK}"
    if np.isnan(way["p_best"]):
        return "unknown"
    return "yes" if way["may_be_best"] else "no"


def cheapest_text(chosen: pd.DataFrame, cheapest: pd.DataFrame, advice: Advice) -> str:
    """Return the cheapest way that may be the best, with its test AUROC and its cost in that of the chosen way."""
    if cheapest.empty:
        return "Unknown"
    if list(cheapest.index) == list(chosen.index):
        return "The same"
    facts = [f"test AUROC {auroc_text(cheapest['auroc'].iloc[0])}"]
    if len(chosen):
        share = cheapest["images_trained"].iloc[0] / chosen["images_trained"].iloc[0]
        facts.append(f"{share:.0%} of the cost")
    return f"{way_text(cheapest.iloc[0], advice)} ({', '.join(facts)})"


def verdict(ways: pd.DataFrame) -> str:
    """Return in one sentence how sure it is that the chosen one of ``ways``, their first, is the best."""
    if ways.empty:
        return "Every way is left out: its encoder may have seen the test images."
    first = ways.iloc[0]
    if not first["chosen"]:
        return "No way can be chosen: no class has both values among the validation images."
    if len(ways) == 1:
        return "Only one way to choose from."
    if np.isnan(first["p_best"]):
        reason = "one labelled subset" if first["n_subsets"] == 1 else "the test images"
        return f"Unknown: {reason} cannot tell {len(ways)} ways apart."
    others, rivals = len(ways) - 1, int(ways["may_be_best"].iloc[1:].sum())
    if not first["may_be_best"]:
        return f"The test images contradict this choice: {rivals} of the other {others} ways may be the best instead."
    if rivals == 0:
        return f"Clearly the best of {len(ways)} ways."
    if rivals < others:
        return f"Not clear: {rivals} of the other {others} ways may be the best instead."
    which = f"none of the other {others} ways can" if others > 1 else "the other way cannot"
    return f"Not clear: {which} be ruled out."


def _cost_bounds(ways: pd.DataFrame) -> list[str]:
    """Return how much AUROC the chosen and the cheapest way may cost, where that says something."""
    named = {
        "the best on validation images": ways["chosen"] & ways["may_be_best"],
        f"the {CHEAPEST}": ways["cheapest"] & ~ways["chosen"],
    }
    return [
        f"If another way is better, {name} costs at most {bound:.3f} AUROC."
        for name, which in named.items()
        for bound in ways.loc[which, "may_cost"]
        if 0 < bound <= USELESS
    ]


def shared_text(ways: pd.DataFrame, advice: Advice) -> list[str]:
    """Return a list with one sentence on what only the ways that may be the best have in common, or none."""
    may, shared = ways[ways["may_be_best"]], []
    if len(may) < 2 or len(may) == len(ways):
        return []
    kinds, all_kinds = ({advice.sources[source] for source in each["source"]} for each in (may, ways))
    if may["mode"].nunique() == 1 < ways["mode"].nunique():
        shared.append(f"trains {TRAINED_LAYERS[may['mode'].iloc[0]]}")
    if may["source"].nunique() == 1 < ways["source"].nunique():
        source = may["source"].iloc[0]
        start = KINDS["initial"] if source == "none" else _start_text(source, advice)
        shared.append(f"starts from {start}")
    elif len(kinds) == 1 < len(all_kinds):
        shared.append(f"starts from {KINDS[kinds.pop()]}")
    elif "initial" in all_kinds - kinds:
        shared.append("does not start from the initial weights as they are")
    return [f"This much is sure: the best way {' and '.join(shared)}."] if shared else []


def near_chance(ways: pd.DataFrame) -> list[str]:
    """Return whether the chosen one of ``ways`` may be no better than guessing, in a few words."""
    reaches = ways["lower"].fillna(ways["auroc"]) <= 0.5
    return ["Not shown to beat chance."] if (ways["chosen"] & reaches).any() else []


def _warnings(cell: tuple[str, str], ways: pd.DataFrame, advice: Advice) -> list[str]:
    """Return a sentence for each property of the run that makes the advice on a target and percentage weaker."""
    if ways.empty:
        return []
    warnings = [
        f"{words} The test AUROC of the best on validation images is not clearly above 0.5: it may only guess."
        for words in near_chance(ways)
    ]
    if cell in advice.longest:
        warnings.append(
            f"On the validation images, every source did best with the most epochs that were tried, {advice.longest[cell]:,}: try more "
            "(finetune.end_to_end.budgets)."
        )
    few = sorted(
        (count, name) for name, count in advice.rarer.get(cell[0], {}).items() if count < FEW_PATIENTS
    )
    if few:
        named = ", ".join(f"{name} ({count})" for count, name in few[:SHOWN])
        left = len(few) - SHOWN
        more = f", and {left} more class{'es' if left > 1 else ''}" if left > 0 else ""
        warnings.append(
            f"Fewer than {FEW_PATIENTS} test patients have the rarer label of {named}{more}: too few to rely on their intervals."
        )
    subsets = ways["n_subsets"].iloc[0]
    if subsets < FEW_SUBSETS:
        only = "One labelled subset was" if subsets == 1 else f"Only {subsets} labelled subsets were"
        warnings.append(
            f"{only} drawn: how much others would differ is {'unknown' if subsets == 1 else 'hardly known'} (n_subsets)."
        )
    one = ways.loc[ways["one_encoder"], "source"].unique()
    if len(one):
        names = ", ".join(_start_text(source, advice) for source in one)
        which = names if len(one) < ways["source"].nunique() else "each source"
        warnings.append(
            f"Only one encoder was trained for {which}: the advice is about these encoders, and others may rank differently "
            "(pretraining.replicates)."
        )
    return warnings


def _left_out_text(ways: pd.DataFrame, advice: Advice) -> str:
    """Return 'MoCo on spine, no MoCo: the initial weights were trained on spine.', a sentence for each reason."""
    texts = [
        f"{', '.join(_start_text(source, advice) for source in dict.fromkeys(own['source']))}: {reason}."
        for reason, own in ways.groupby("may_have_seen", sort=False)
    ]
    return " ".join(f"{text[0].upper()}{text[1:]}" for text in texts)


def _controls_text(controls: pd.DataFrame) -> str:
    """Return the answers of the controls with their modes, and how many questions remain open."""
    if controls.empty:
        return "Not tested."
    answered = controls[controls["answer"].isin(["yes", "no"])]
    texts = [
        f"{row.question} {row.answer.capitalize()}{'' if pd.isna(row.one_encoder) else ', about these encoders'}, "
        f"training {TRAINED_LAYERS[row.mode]}: {effect_text(row.effect, row.lower, row.upper)}."
        for row in answered.itertuples()
    ]
    if left := len(controls) - len(answered):
        texts.append(f"{left} {'question remains' if left == 1 else 'questions remain'} open.")
    return " ".join(texts)


def two_digits(number: float) -> str:
    """Return a number with two digits that count: '0.030', '3.4', '340', '34,000'."""
    rounded = float(f"{number:.1e}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:#.2g}"
