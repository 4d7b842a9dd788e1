"""The advice table: for each target and number of labels, the best way to train, how sure that is, and why.

A way to train is a source of pretraining and a mode of finetuning.
"""

import json
from collections.abc import Mapping

import pandas as pd

from moco_transfer.config.experiment import LIMITED, LIMITED_STEPS, NONE_LONGER
from moco_transfer.errors import in_one_line
from moco_transfer.experiment import Kind
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
KINDS = {
    "initial": "the initial weights, without MoCo",
    "moco": "some kind of MoCo",
    "encoder": "an encoder that MoCo has not trained here",
}
# The AUROC between chance and perfection: a larger bound says nothing.
USELESS = 0.5


def main(inputs, outputs, params) -> None:
    estimates, evidence = read_run(
        inputs.estimates, inputs.covariance, inputs.subsets, inputs.extra, params.seen, params.trained
    )
    choices = estimates[estimates["source"].isin(list(params.sources))]
    advice = advice_table(choices, evidence, params.level, params.seen)
    controls = read_csv(inputs.controls[0], ["target", "percent"], ["percent"]) if inputs.controls else None
    write_table(
        advice_summary(advice, controls, json.loads(params.titles), params.sources),
        outputs,
        "What to do with a given number of labels. The best way has the highest test AUROC, with end-to-end "
        "training at its selected budget; this AUROC is too high on average, because the luckiest way is "
        "chosen. Ways that may be the best are those not significantly worse than any other way "
        f"({100 * (1 - params.level):g}% confidence set of the best, Bonferroni-corrected within a row). "
        "Each source has one trained encoder and one choice of budget; others might rank differently."
        + _left_out_caption(advice),
        params.note,
        advice,
    )


def _left_out_caption(advice: pd.DataFrame) -> str:
    if advice["may_have_seen"].isna().all():
        return ""
    return (
        " Ways are left out if their encoder may have seen the test images (trained_on): they are neither "
        "ranked nor compared."
    )


def advice_summary(
    advice: pd.DataFrame,
    controls: pd.DataFrame | None,
    titles: Mapping[str, str],
    sources: Mapping[str, Kind],
) -> pd.DataFrame:
    """Return one row of text per target and number of labels; without an AUROC, no best way is named.

    ``advice`` comes from ``advice_table``, ``controls`` is the CSV of the controls table or None, ``titles``
    maps dataset to title, ``sources`` maps source to kind.
    """
    rows, any_left_out = [], advice["may_have_seen"].notna().any()
    for (target, percent), every in advice.groupby(["target", "percent"], sort=False):
        ways, left_out = every[every["may_have_seen"].isna()], every[every["may_have_seen"].notna()]
        best, labelled = ways[ways["best"]], every["n_labeled"].iloc[0]
        row = {
            "I have": f"{labelled:,} labelled images of {titles.get(target, target)} ({percent}%)",
            "Best in this run": _way_text(best.iloc[0], sources) if len(best) else "Unknown",
            "Its AUROC": f"{best['auroc'].iloc[0]:.3f}" if len(best) else "",
            "How sure": _certainty_text(ways, sources),
        }
        if any_left_out:
            row["Left out"] = _left_out_text(left_out, sources)
        if controls is not None:
            asked = controls[(controls["target"] == target) & (controls["percent"] == percent)]
            row["Why: what the controls say"] = _controls_text(asked)
        rows.append(row)
    return pd.DataFrame(rows)


def _left_out_text(ways: pd.DataFrame, sources: Mapping[str, Kind]) -> str:
    """Return 'MoCo on spine, no MoCo: the initial weights were trained on spine.', a sentence for each reason."""
    texts = [
        f"{', '.join(_start_text(source, sources) for source in dict.fromkeys(own['source']))}: {reason}."
        for reason, own in ways.groupby("may_have_seen", sort=False)
    ]
    return " ".join(f"{text[0].upper()}{text[1:]}" for text in texts)


def _start_text(source: str, sources: Mapping[str, Kind]) -> str:
    """Return what finetuning starts from: 'no MoCo', 'MoCo on spine + chest', 'the encoder lite0'."""
    if sources[source] == "encoder":
        return f"the encoder {source}"
    return STARTS.get(source, f"MoCo on {source.replace('+', ' + ')}")


def _way_text(way: pd.Series, sources: Mapping[str, Kind]) -> str:
    """Return 'MoCo on spine + chest, then train all layers for 50 epochs'."""
    start = _start_text(way["source"], sources)
    count = "1 epoch" if way["epochs"] == 1 else f"{way['epochs']} epochs"
    epochs = f" for {count}" if way["mode"] == "end_to_end" else ""
    return f"{start[0].upper()}{start[1:]}, then train {TRAINED_LAYERS[way['mode']]}{epochs}"


def _certainty_text(ways: pd.DataFrame, sources: Mapping[str, Kind]) -> str:
    """Return how sure it is that the first of ``ways``, which none of the others beats, is the best."""
    if ways.empty:
        return "Every way is left out: its encoder may have seen the test images."
    best = ways.iloc[0]
    if len(ways) == 1:
        return "Only one way to choose from."
    if pd.isna(best["p_best"]):
        reason = "one labelled subset" if best["n_subsets"] == 1 else "the test images"
        return f"Unknown: {reason} cannot tell {len(ways)} ways apart."
    rivals = ways.iloc[1:][ways["may_be_best"].iloc[1:]]
    others = len(ways) - 1
    if rivals.empty:
        return f"Clearly the best of {len(ways)} ways, on {best['n_subsets']} labelled subsets."
    if len(rivals) == others:
        which = f"none of the other {others} ways can" if others > 1 else "the other way cannot"
        parts = [f"Not clear: {which} be ruled out."]
    else:
        names = "; ".join(
            f"{_start_text(source, sources)} ({', '.join(TRAINED_LAYERS[mode] for mode in own['mode'])})"
            for source, own in rivals.groupby("source", sort=False)
        )
        parts = [f"Not clear: {len(rivals)} of the other {others} ways may be the best instead: {names}."]
    if best["may_cost"] < USELESS:
        parts.append(f"If another way is better, this one costs at most {best['may_cost']:.3f} AUROC.")
    return " ".join([*parts, *_shared_text(ways, sources)])


def _shared_text(ways: pd.DataFrame, sources: Mapping[str, Kind]) -> list[str]:
    """Return a list with one sentence on what only the ways that may be the best have in common, or none."""
    may, shared = ways[ways["may_be_best"]], []
    kinds, all_kinds = ({sources[source] for source in each["source"]} for each in (may, ways))
    if may["mode"].nunique() == 1 < ways["mode"].nunique():
        shared.append(f"trains {TRAINED_LAYERS[may['mode'].iloc[0]]}")
    if may["source"].nunique() == 1 < ways["source"].nunique():
        source = may["source"].iloc[0]
        start = KINDS["initial"] if source == "none" else _start_text(source, sources)
        shared.append(f"starts from {start}")
    elif len(kinds) == 1 < len(all_kinds):
        shared.append(f"starts from {KINDS[kinds.pop()]}")
    elif "initial" in all_kinds - kinds:
        shared.append("does not start from the initial weights as they are")
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
