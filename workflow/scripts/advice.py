"""The advice table: for each target and number of labels, the best way to train, how sure that is, and why.

A way to train is a source of pretraining and a mode of finetuning.
"""

import json
from collections.abc import Mapping

import pandas as pd

from moco_transfer.config.experiment import LIMITED, LIMITED_STEPS, NONE_LONGER
from moco_transfer.errors import in_one_line
from moco_transfer.files import read_csv
from moco_transfer.report.names import TRAINED_LAYERS
from moco_transfer.report.tables import effect_text, write_table
from moco_transfer.statistics.advice import advice_table
from moco_transfer.statistics.evidence import read_run

STARTS = {
    "none": "no MoCo",
    NONE_LONGER: "no MoCo, but more epochs instead",
    LIMITED: "MoCo on only the labelled images",
    LIMITED_STEPS: "MoCo on only the labelled images, for as many steps as on all images",
}
NO_MOCO = ("none", NONE_LONGER)
# The AUROC between chance and perfection: a larger bound says nothing.
USELESS = 0.5


def main(inputs, outputs, params) -> None:
    estimates, evidence = read_run(inputs.estimates, inputs.covariance, inputs.subsets, inputs.extra)
    advice = advice_table(estimates[estimates["source"].isin(params.sources)], evidence, params.level)
    controls = read_csv(inputs.controls[0], ["target", "percent"], ["percent"]) if inputs.controls else None
    write_table(
        advice_summary(advice, controls, json.loads(params.titles)),
        outputs,
        "What to do with a given number of labels. The best way has the highest test AUROC, with end-to-end "
        "training at its selected budget; this AUROC is too high on average, because the luckiest way is "
        "chosen. Ways that may be the best are those not significantly worse than any other way "
        f"({100 * (1 - params.level):g}% confidence set of the best, Bonferroni-corrected within a row). "
        "Each source has one trained encoder and one choice of budget; others might rank differently.",
        params.note,
        advice,
    )


def advice_summary(
    advice: pd.DataFrame, controls: pd.DataFrame | None, titles: Mapping[str, str]
) -> pd.DataFrame:
    """Return one row of text per target and number of labels; without an AUROC, no best way is named.

    ``advice`` comes from ``advice_table``, ``controls`` is the CSV of the controls table or None, ``titles``
    maps dataset to title.
    """
    rows = []
    for (target, percent), ways in advice.groupby(["target", "percent"], sort=False):
        best = ways[ways["best"]].iloc[0]
        known = pd.notna(best["auroc"])
        row = {
            "I have": f"{best['n_labeled']:,} labelled images of {titles.get(target, target)} ({percent}%)",
            "Best in this run": _way_text(best) if known else "Unknown",
            "Its AUROC": f"{best['auroc']:.3f}" if known else "",
            "How sure": _certainty_text(ways, best),
        }
        if controls is not None:
            asked = controls[(controls["target"] == target) & (controls["percent"] == percent)]
            row["Why: what the controls say"] = _controls_text(asked)
        rows.append(row)
    return pd.DataFrame(rows)


def _start_text(source: str) -> str:
    """Return what finetuning starts from: 'no MoCo', 'MoCo on spine + chest'."""
    return STARTS.get(source, f"MoCo on {source.replace('+', ' + ')}")


def _way_text(way: pd.Series) -> str:
    """Return 'MoCo on spine + chest, then train all layers for 50 epochs'."""
    start = _start_text(way["source"])
    count = "1 epoch" if way["epochs"] == 1 else f"{way['epochs']} epochs"
    epochs = f" for {count}" if way["mode"] == "end_to_end" else ""
    return f"{start[0].upper()}{start[1:]}, then train {TRAINED_LAYERS[way['mode']]}{epochs}"


def _certainty_text(ways: pd.DataFrame, best: pd.Series) -> str:
    if len(ways) == 1:
        return "Only one way was tried."
    if pd.isna(best["p_best"]):
        reason = "one labelled subset" if best["n_subsets"] == 1 else "the test images"
        return f"Unknown: {reason} cannot tell {len(ways)} ways apart."
    rivals = ways[ways["may_be_best"] & ~ways["best"]]
    others = len(ways) - 1
    if rivals.empty:
        return f"Clearly the best of {len(ways)} ways, on {best['n_subsets']} labelled subsets."
    if len(rivals) == others:
        parts = [f"Not clear: none of the other {others} ways can be ruled out."]
    else:
        names = "; ".join(
            f"{_start_text(source)} ({', '.join(TRAINED_LAYERS[mode] for mode in own['mode'])})"
            for source, own in rivals.groupby("source", sort=False)
        )
        parts = [f"Not clear: {len(rivals)} of the other {others} ways may be the best instead: {names}."]
    if best["may_cost"] < USELESS:
        parts.append(f"If another way is better, this one costs at most {best['may_cost']:.3f} AUROC.")
    return " ".join([*parts, *_shared_text(ways)])


def _shared_text(ways: pd.DataFrame) -> list[str]:
    """Return a list with one sentence on what only the ways that may be the best have in common, or none."""
    may, shared = ways[ways["may_be_best"]], []
    if may["mode"].nunique() == 1 < ways["mode"].nunique():
        shared.append(f"trains {TRAINED_LAYERS[may['mode'].iloc[0]]}")
    if may["source"].nunique() == 1 < ways["source"].nunique():
        shared.append(f"starts from {_start_text(may['source'].iloc[0])}")
    elif ways["source"].isin(NO_MOCO).any() and not may["source"].isin(NO_MOCO).any():
        shared.append("starts from some kind of MoCo")
    return [f"This much is sure: the best way {' and '.join(shared)}."] if shared else []


def _controls_text(controls: pd.DataFrame) -> str:
    """Return the answers of the controls with their modes, and how many questions remain open."""
    if controls.empty:
        return "Not tested."
    answered = controls[controls["answer"].isin(["yes", "no"])]
    texts = [
        f"{row.question} {row.answer.capitalize()}, training {TRAINED_LAYERS[row.mode]}: "
        f"{effect_text(row.effect, row.lower, row.upper)}."
        for row in answered.itertuples()
    ]
    if left := len(controls) - len(answered):
        texts.append(f"{left} {'question remains' if left == 1 else 'questions remain'} open.")
    return " ".join(texts)


if "snakemake" in globals():
    with in_one_line():
        main(snakemake.input, snakemake.output, snakemake.params)
