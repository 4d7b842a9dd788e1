"""Does similarity predict the best source? A table of what ranks first, and a figure of the points.

The figure draws the gain in AUROC against the similarity to the target, without a line, because there are few
points.
"""

import json
from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from moco_transfer.errors import in_one_line
from moco_transfer.experiment import Kind
from moco_transfer.files import read_parquet
from moco_transfer.report import style
from moco_transfer.report.names import MEASURE_LABELS, dataset_label, left_out_note
from moco_transfer.report.tables import effect_text, write_table
from moco_transfer.statistics.evidence import read_run
from moco_transfer.statistics.similarity_ranks import DISTANCES, source_gains, source_ranks

COLUMNS = [
    *("Target", "Measure", "Most similar source", "Best by AUROC"),
    *("Most similar minus its best rival", "Does it rank first?"),
]
LABELS = {"svcca": "SVCCA\n(images as rows)"} | MEASURE_LABELS
# Percentages of one source have the same similarity, so their bars stand side by side, this share of the axis
# apart.
DODGE = 0.035


def main(inputs, outputs, params) -> None:
    estimates, evidence = read_run(
        inputs.estimates, inputs.covariance, inputs.subsets, inputs.extra, params.seen, params.trained
    )
    similarity = read_parquet(inputs.similarity)
    gains = source_gains(similarity, estimates, evidence, params.datasets, params.level)
    ranks = source_ranks(gains, evidence, params.level)
    write_table(
        ranks_summary(ranks, json.loads(params.titles)),
        outputs,
        "Does similarity predict the best source? Out-of-domain sources of one dataset, linear finetuning, "
        "similarity at the deepest layer. Sources of several datasets have no single similarity and are "
        f"left out. Differences in test AUROC with their {100 * (1 - 2 * params.level):g}% intervals. So "
        "few sources prove nothing: of two, a measure that knows nothing names the better one half of the "
        "time, and the rows of one target share their datasets." + left_out_note(params.seen),
        params.note,
        ranks,
    )
    figure = draw(gains, json.loads(params.titles), params.sources, params.note)
    style.save(figure, outputs.pdf, outputs.svg, outputs.png)


def ranks_summary(ranks: pd.DataFrame, titles: Mapping[str, str]) -> pd.DataFrame:
    """Return ``source_ranks`` as text, one row per target, percentage and measure.

    Layers are in the order of the network. Only the deepest one, which linear heads read, is shown, with the
    number of layers that name the same source.
    """
    rows = []
    for _, layers in ranks.groupby(["target", "percent", "measure"], sort=False):
        last = layers.iloc[-1]
        agree = int((layers["most_similar"] == last["most_similar"]).sum())
        title = titles.get(last["target"], last["target"])
        rows.append(
            (
                f"{title}, {last['percent']}% ({last['n_labeled']:,})",
                last["measure"].replace("_", " "),
                f"{last['most_similar']} ({agree} of {len(layers)} layers)",
                f"{last['best']} (of {last['sources']})",
                effect_text(*last[["effect", "lower", "upper"]]),
                _answer_text(last),
            )
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def _answer_text(last: pd.Series) -> str:
    if last["measure"] == "svcca":  # it leaves its null only by chance (decision 18)
        return "its rows are not paired: says nothing"
    if not last["outside_null"]:
        return "inside its null: says nothing"
    return f"{last['first']}{', about these encoders' if last['one_encoder'] else ''}"


def draw(
    gains: pd.DataFrame, titles: Mapping[str, str], sources: Mapping[str, Kind], note: str = ""
) -> Figure:
    """Return the figure: a row per target, a column per measure, a point per source and percentage.

    ``gains`` comes from ``source_gains``; only the deepest layer is drawn, with the intervals as bars. Points
    are hollow if the measure does not leave its null. Percentages ascend from left to right and grow in size.
    """
    deepest = gains[gains["layer"] == gains["layer"].iloc[-1]]
    targets = list(dict.fromkeys(deepest["target"]))
    measures = [measure for measure in LABELS if measure in set(deepest["measure"])]
    shown = [source for source in sources if source in set(deepest["source"])]
    looks = style.source_looks(sources)
    figure = style.new_figure(style.TWO_COLUMNS, 0.9 + 1.7 * len(targets), note, titles.values())
    axes = figure.subplots(len(targets), len(measures), squeeze=False, sharex="col", sharey="row")
    for column, measure in zip(axes.T, measures, strict=True):
        of_measure = deepest[deepest["measure"] == measure]
        distance = measure in DISTANCES
        # The axis shows the whole range, so that differences of a thousandth look as small as they are.
        width = 1.25 * of_measure["similarity"].max() if distance else 1.0
        for ax, target in zip(column, targets, strict=True):
            _draw_panel(ax, of_measure[of_measure["target"] == target], looks, width)
        ax.set_xlim(-0.06 * width, 1.06 * width)  # room for the markers at both ends
        ax.set_xlabel(LABELS[measure] + ("\n(low means similar)" if distance else ""))
    for ax, target in zip(axes[:, 0], targets, strict=True):
        label = f"{dataset_label(target, titles)}, linear"
        ax.set_ylabel("Gain in AUROC over no MoCo\n" + style.beside_row(label, 1.6))
    hollow = {"color": "0.3", "marker": "o", "mfc": "white", "ls": ""}
    handles = style.source_handles(shown, looks)
    handles.append(Line2D([], [], label="says nothing: inside its null, or images as rows", **hollow))
    style.legend_below(figure, handles)
    return figure


def _draw_panel(ax: Axes, gains: pd.DataFrame, looks: Mapping[str, style.Look], width: float) -> None:
    """Draw one target by one measure on an axis from 0 to ``width``."""
    percents = sorted(set(gains["percent"]), key=float)
    ax.axhline(0, color="0.6", lw=0.6)
    for row in gains.itertuples():
        place, look = percents.index(row.percent), looks[row.source]
        ax.errorbar(
            row.similarity + DODGE * width * (place - (len(percents) - 1) / 2),
            row.gain,
            style.bar_lengths([row.gain], [row.lower], [row.upper]),
            color=look.color,
            marker=look.marker,
            mfc=look.color if row.outside_null else "white",
            ms=3 + 1.5 * place,
            elinewidth=0.8,
        )
    ax.margins(y=0.12)


if "snakemake" in globals():
    with in_one_line():
        main(snakemake.input, snakemake.output, snakemake.params)
