"""The advice: for each target and number of labels, the way to train, how sure that is, and all ways with their cost."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path

import pandas as pd
from decide import settling_text

from moco_transfer.costs import EncoderTraining, encoder_cost, finetuning_cost, logged_speed
from moco_transfer.errors import in_one_line
from moco_transfer.files import read_csv, read_parquet
from moco_transfer.report.advice_page import Advice, details, summary
from moco_transfer.report.tables import write_tables
from moco_transfer.statistics.advice import advice_table, longest_budgets
from moco_transfer.statistics.evidence import read_all, read_run


def main(inputs, outputs, params) -> None:
    estimates, evidence = read_run(
        inputs.estimates, inputs.covariance, inputs.subsets, inputs.extra, params.seen, params.trained
    )
    choices = estimates[estimates["source"].isin(list(params.sources))]
    splits = zip(params.datasets, inputs.splits, strict=True)
    images = {name: read_parquet(path)["split"].value_counts().to_dict() for name, path in splits}
    choices = choices.assign(images_trained=images_trained(choices, params.trainings, images, params.views))
    ways = advice_table(choices, evidence, params.level, params.seen)
    advice = in_words(ways, choices, inputs, params, Path(outputs.csv).parents[1] / "logs")
    write_tables(
        [(summary(advice), caption(advice, params.level, params.folded)), *details(advice)],
        outputs,
        params.note,
        ways,
    )


def in_words(ways: pd.DataFrame, choices: pd.DataFrame, inputs, params, logs: Path) -> Advice:
    """Return what pages say of the ``ways``.

    ``choices`` are the estimates of all budgets of these ways. ``inputs`` has the files of classes, controls and decide; ``params``
    has sources, titles, level, ranks and device.
    """
    return Advice(
        ways=ways,
        sources=params.sources,
        titles=json.loads(params.titles),
        interval=f"{100 * (1 - 2 * params.level):g}% interval",
        rarer=rarer_patients(read_all(inputs.classes)),
        longest=longest_budgets(choices),
        controls=read_csv(inputs.controls[0], ["target", "percent"], ["percent"])
        if inputs.controls
        else None,
        speed=logged_speed(logs, params.ranks),
        device=params.device,
        settle=settling_texts(pd.read_csv(inputs.decide).convert_dtypes(), ways),
    )


def caption(advice: Advice, level: float, folded: Collection[str]) -> str:
    """Return the text above the summary: how the choice is made, and what the numbers mean.

    ``folded`` are the targets in a cross-validation, in which all images choose.
    """
    unit = "GPU-hours" if advice.device == "cuda" else "Minutes"
    time = f" {unit} are at the speed of this run's own trainings." if advice.speed else ""
    return (
        "How to train with a given number of labels. The validation images choose the way to train, with end-to-end training at its "
        f"selected budget. {_luck_text(advice, folded)} The {advice.interval} counts test patients, labelled subsets and, where "
        "several were trained, encoders. A way may be the best if no other is significantly better on the test images "
        f"({100 * (1 - level):g}% confidence set of the best, Bonferroni-corrected). The last column has the cheapest of those. "
        "That it is not ruled out does not mean that it is as good: with few subsets, encoders or patients, even large differences "
        "are not significant. The cost is in images trained: how many images pass through the network, forward and back, in all "
        f"trainings that one such model needs; a forward pass alone counts as a third.{time} Controls are not ranked."
    )


def _luck_text(advice: Advice, folded: Collection[str]) -> str:
    """Return which luck has a part in the test AUROC of the choice."""
    targets = list(dict.fromkeys(advice.ways["target"]))
    named = [advice.titles.get(target, target) for target in targets if target in folded]
    shared = (
        "Luck with the encoders and labelled subsets, which validation and test images share, may have one."
    )
    in_folds = (
        f"In the cross-validation of {' and '.join(named)}, images that test in one fold are for validation in another, so luck "
        "with them has a part in the test AUROC of the choice: among ways that are about as good, it is too high."
    )
    if len(named) == len(targets):
        return in_folds
    none = "No test image has a say in that, so luck with the test images has no part in the test AUROC of the choice."
    return " ".join([none, shared, *([in_folds] if named else [])])


def images_trained(
    estimates: pd.DataFrame,
    trainings: Mapping[str, Mapping[str, list[dict]]],
    images: Mapping[str, Mapping[str, int]],
    views: int,
) -> list[int]:
    """Return the cost of one model of each row of ``estimates`` in images.

    ``trainings`` has those of each target and source as dictionaries, ``images`` counts those of each dataset by split, and
    ``views`` is that of linear finetuning.
    """
    costs = []
    for row in estimates.itertuples():
        of_source = [EncoderTraining(**each) for each in trainings[row.target][row.source]]
        cost = encoder_cost(of_source, images, row.n_labeled)
        costs.append(round(cost + finetuning_cost(row.mode, row.epochs, row.n_labeled, views)))
    return costs


def settling_texts(records: pd.DataFrame, ways: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Return what would settle each undecided choice; ``records`` is the CSV of the decide table."""
    asked = records[(records["kind"] == "advice") & (records["difference"] == "seen")]
    found = {}
    for target, percent in ways[["target", "percent"]].drop_duplicates().itertuples(index=False):
        for row in asked[asked["cell"].str.startswith(f"{target} {percent}%: ")].to_dict("records"):
            found[target, percent] = settling_text(row)
    return found


def rarer_patients(classes: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Return for each target how many test patients have the rarer label of each class."""
    first = classes.drop_duplicates(["target", "class"])
    return {
        target: dict(zip(own["class"], own["rarer"], strict=True))
        for target, own in first.groupby("target", sort=False)
    }


if "snakemake" in globals():
    with in_one_line():
        main(snakemake.input, snakemake.output, snakemake.params)
