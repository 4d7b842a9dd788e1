"""Figure 3: literal SVCCA between datasets by layer, with its permutation null."""

import json
from collections.abc import Mapping

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from moco_transfer.errors import in_one_line
from moco_transfer.files import read_parquet
from moco_transfer.report import style


def draw(similarity: pd.DataFrame, titles: Mapping[str, str], note: str = "") -> Figure:
    """Return figure 3: one line per pair of datasets, with bars from 5% to 95% of its permutation null.

    ``similarity`` has the columns of similarity.parquet, with layers in order; only the measure ``svcca`` is
    drawn.
    """
    values = similarity[similarity["measure"] == "svcca"]
    values = values.assign(pair=list(zip(values["dataset_a"], values["dataset_b"], strict=True)))
    looks = style.pair_looks(values["pair"].unique())
    figure = style.new_figure(style.ONE_COLUMN, 2.9 + 0.15 * len(looks), note, titles.values())
    ax = figure.subplots()
    shared = {
        **{"x": "layer", "y": "value", "hue": "pair", "hue_order": list(looks), "legend": False, "ax": ax},
        "palette": {pair: look.color for pair, look in looks.items()},
        "dodge": 0.5 if len(looks) > 1 else False,
    }
    ends = values.drop(columns="value").melt(["layer", "pair"], ["null_lower", "null_upper"])
    bars = {"linewidth": 80 / len(looks) / values["layer"].nunique(), "alpha": 0.35, "solid_capstyle": "butt"}
    # The "100% percentile interval" of the two ends is the bar between them.
    sns.pointplot(ends, errorbar=("pi", 100), markers="", linestyles="", err_kws=bars, **shared)
    sns.pointplot(
        values,
        errorbar=None,
        markers=[look.marker for look in looks.values()],
        linestyles=[look.line for look in looks.values()],
        linewidth=0.7,
        markersize=4,
        **shared,
    )
    style.layer_ticks(ax, list(values["layer"].unique()))
    ax.set_ylabel("SVCCA (mean canonical correlation)")
    handles = [
        Line2D([], [], lw=0.7, label=f"{titles.get(a, a)} – {titles.get(b, b)}", **look.kwargs)
        for (a, b), look in looks.items()
    ]
    style.legend_below(figure, [*handles, Patch(color="0.75", lw=0, label="rows permuted (5 to 95%)")])
    return figure


def main(inputs, outputs, params) -> None:
    style.save(draw(read_parquet(inputs[0]), json.loads(params.titles), params.note), *outputs)


if "snakemake" in globals():
    with in_one_line():
        main(snakemake.input, snakemake.output, snakemake.params)
