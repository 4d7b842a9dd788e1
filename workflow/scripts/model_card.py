"""A finetuned model: its weights in one file, its card as a Markdown page, and a figure of its calibration."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from moco_transfer.config.encoders import About, Made, Network
from moco_transfer.data.labels import read_targets, subset_rows
from moco_transfer.errors import in_one_line
from moco_transfer.files import read_csv, read_parquet, write_text
from moco_transfer.report import style
from moco_transfer.report.lettering import width
from moco_transfer.report.model_card import ModelCard, frequent
from moco_transfer.report.model_page import page
from moco_transfer.statistics.decisions import decisions
from moco_transfer.statistics.predictions import read_split
from moco_transfer.statistics.scorecard import FEWEST, ClassResult, average_result, class_results
from moco_transfer.tensors import read_tensors, write_tensors

COLUMNS = 4
COLOR = "#0072B2"
COUNT_SIZE = 5
"""The size in points of the numbers of images above a curve."""


def draw(results: Sequence[ClassResult], interval: str, note: str = "") -> Figure:
    """Return the reliability curve of every class that has enough test images, SHOWN at most."""
    shown = [each for each in frequent(results) if each.calibration]
    columns = min(max(len(shown), 1), COLUMNS)
    rows = -(-max(len(shown), 1) // columns)
    inches = style.ONE_COLUMN if columns == 1 else style.TWO_COLUMNS
    height = 3.2 if columns == 1 else 0.7 + 1.05 * inches / columns * rows
    figure = style.new_figure(inches, height, note, [each.name for each in shown])
    if not shown:
        ax = figure.add_subplot()
        ax.axis("off")
        words = f"No class has {FEWEST} positive and {FEWEST} negative\ntest images, too few for a curve."
        ax.text(0.5, 0.5, words, ha="center", va="center", fontstyle="italic", color="0.3")
        return figure
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flatten()
    for ax in axes[len(shown) :]:
        ax.remove()
    for number, (ax, one) in enumerate(zip(axes, shown, strict=False)):
        _draw_curve(ax, one)
        if number % columns == 0:
            ax.set_ylabel("Share of positives")
        if number + columns >= len(shown):  # nothing is below
            ax.set_xlabel("Mean probability")
            ax.tick_params(labelbottom=True)
    counts = [f"{each.observed.images:,}" for one in shown for each in one.calibration.bins]
    room = 72 * max(width(count, COUNT_SIZE) for count in counts)
    style.title_panels(list(axes[: len(shown)]), [each.name for each in shown], pad=room + 9)
    handles = [
        Line2D([], [], color="0.6", ls=(0, style.DASHED), label="calibrated"),
        Line2D([], [], color=COLOR, marker="o", label=f"the model, with {interval}s"),
        Line2D([], [], ls="", label="above: images in each bin"),
    ]
    style.legend_below(figure, handles)
    return figure


def _draw_curve(ax, one: ClassResult) -> None:
    bins = one.calibration.bins
    probabilities = [each.probability for each in bins]
    observed = [each.observed for each in bins]
    ax.plot([0, 1], [0, 1], color="0.6", ls=(0, style.DASHED), lw=0.8, zorder=1)
    bars = style.bar_lengths(*zip(*((each.value, each.lower, each.upper) for each in observed), strict=True))
    ax.errorbar(
        probabilities, [each.value for each in observed], bars, color=COLOR, marker="o", elinewidth=0.8
    )
    for each in bins:
        middle = min(int(each.probability * 10), 9) / 10 + 0.05
        ax.text(
            middle,
            1.03,
            f"{each.observed.images:,}",
            transform=ax.get_xaxis_transform(),
            rotation=90,
            ha="center",
            va="bottom",
            fontsize=COUNT_SIZE,
            color="0.3",
        )
    ax.set(xlim=(0, 1), ylim=(-0.02, 1.02), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])


def choose(advice: pd.DataFrame, facts: Mapping[str, Any]) -> pd.Series:
    """Return the row of ``advice`` of the way to train that becomes the model."""
    target, percent = facts["target"], facts["percent"]
    ways = advice[(advice["target"] == target) & (advice["percent"] == percent)]
    if not facts["advised"]:
        source, mode = facts["candidates"][0]
        return ways[(ways["source"] == source) & (ways["mode"] == mode)].iloc[0]
    return ways[ways["chosen"]].iloc[0]


def weights_of(
    mode: str, epochs: int, encoder: str, weights: str
) -> tuple[dict[str, np.ndarray], Mapping[str, Any]]:
    """Return the tensors of a Classifier, ``encoder.*`` and ``head.*``, and what is known of them: network, classes, versions.

    ``encoder`` is the file of the encoder, and ``weights`` that of a linear head or of the networks of an end-to-end training.
    """
    if mode == "end_to_end":
        return read_tensors(weights, f"{epochs}/")
    (frozen, network), (head, about) = read_tensors(encoder), read_tensors(weights)
    tensors = {f"encoder.{name}": values for name, values in frozen.items()}
    return tensors | {f"head.{name}": values for name, values in head.items()}, network | about


def counts_by_split(splits: pd.DataFrame) -> pd.DataFrame:
    """Return the numbers of images and of patients of each split."""
    return splits.groupby("split")["patient_id"].agg(images="size", patients="nunique")


def main(inputs, outputs, params) -> None:
    facts, titles = json.loads(params.facts), json.loads(params.titles)
    names = ["target", "percent", "source", "mode"]
    advice = read_csv(
        inputs.advice, [*names, "epochs", "chosen", "validation_auroc", "auroc", "may_have_seen"], names
    )
    way = choose(advice, facts)
    ranked = (advice["target"] == facts["target"]) & (advice["percent"] == facts["percent"])
    ranked &= advice["may_have_seen"].isna()
    number = facts["candidates"].index([way["source"], way["mode"]])
    epochs, evaluation = int(way["epochs"]), facts["evaluation"]
    validation, test = (
        read_split(inputs.predictions[number], side)[epochs] for side in ("validation", "test")
    )
    tensors, known = weights_of(way["mode"], epochs, inputs.encoders[number], inputs.weights[number])
    results = class_results(validation, test, evaluation["unit"], evaluation["percentiles"])
    about = About(
        network=Network.model_validate(known["network"]),
        crop=facts["crop"],
        store=facts["store"],
        task=facts["task"],
        classes=known["classes"],
        thresholds=[each.threshold for each in results],
        made=Made(
            run=facts["run"],
            target=facts["target"],
            source=way["source"],
            mode=way["mode"],
            percent=facts["percent"],
            subset=facts["subset"],
            epochs=epochs,
        ),
    )
    card = ModelCard(
        about=about,
        way=way[way.notna()].to_dict(),
        ways=int(ranked.sum()),
        results=results,
        average=average_result(test, evaluation["unit"], evaluation["percentiles"], evaluation["average"]),
        decisions=decisions(test, evaluation["unit"], evaluation["percentiles"])
        if facts["task"] == "multiclass"
        else None,
        labelled=read_targets(Path(inputs.index), facts["uncertain"])[1][subset_rows(Path(inputs.subset))],
        validation=validation.labels,
        test=test.labels,
        images={
            name: counts_by_split(read_parquet(path))
            for name, path in zip(facts["datasets"], inputs.splits, strict=True)
        },
        facts=facts,
        titles=titles,
        versions=known["versions"],
    )
    style.save(draw(results, card.interval, params.note), outputs.pdf, outputs.svg, outputs.png)
    write_text(outputs.md, page(card, params.note))
    write_tensors(outputs.model, tensors, about.model_dump())


if "snakemake" in globals():
    with in_one_line():
        main(snakemake.input, snakemake.output, snakemake.params)
