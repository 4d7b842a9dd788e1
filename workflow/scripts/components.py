"""What intervals consist of: test patients, labelled subsets and encoders. A table of the parts, and a figure of their shares."""

import json
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from moco_transfer.errors import in_one_line
from moco_transfer.experiment import MODES
from moco_transfer.report import style
from moco_transfer.report.names import MODE_LABELS, dataset_label
from moco_transfer.report.tables import p_value_text, write_table
from moco_transfer.statistics.evidence import read_run
from moco_transfer.statistics.parts import PARTS, parts_table

COLORS = dict(zip(PARTS, ("#0072B2", "#E69F00", "#CC79A7"), strict=True))
LABELS = {"patients": "test patients", "subsets": "labelled subsets and training", "encoders": "encoders"}
TOGETHER = "subsets and encoders together"
DRAWN = ("patients", "subsets", "together", "encoders")
UNKNOWN = "one encoder: how much another would differ is unknown"


def main(inputs, outputs, params) -> None:
    # An AUROC on test images that its encoder may have seen is no evidence, but its scatter is as informative as any.
    estimates, evidence = read_run(
        inputs.estimates, inputs.covariance, inputs.subsets, inputs.extra, {}, params.trained
    )
    parts = parts_table(estimates, evidence)
    write_table(
        parts_summary(parts),
        outputs,
        "What makes intervals wide. For each AUROC, and for its difference from no MoCo (minus none): the standard error, and its "
        "parts due to test patients, labelled subsets (each with a training seed of its own) and encoders, with their shares of "
        "the variance. The squares of the parts add up. 'With subsets': each subset meets an encoder of its own, so the subsets' "
        "part includes the encoders'. 'Unknown': there is one encoder, and intervals are about it. 'Given': its weights are given "
        "and do not vary. The variance between encoders is pooled over sources. A small p says that the encoders of one source "
        "differ more than those of the others; below 0.01, only the row's own encoders are used.",
        params.note,
        parts,
    )
    style.save(draw(parts, json.loads(params.titles), params.note), outputs.pdf, outputs.svg, outputs.png)


def parts_summary(parts: pd.DataFrame) -> pd.DataFrame:
    """Return ``parts_table`` as text, one row per AUROC or difference."""
    return pd.DataFrame(
        {
            "Cell": [
                f"{row.target} {row.percent}% ({row.n_labeled}), {MODE_LABELS[row.mode]}"
                for row in parts.itertuples()
            ],
            "AUROC": [row.source + (f" minus {row.less}" if row.less else "") for row in parts.itertuples()],
            "Standard error": parts["se"].map(_error_text),
            **{
                f"Due to {LABELS[part]}": [
                    _part_text(*values, status if part == "encoders" else "")
                    for *values, status in parts[[f"se_{part}", f"share_{part}", "status"]].itertuples(
                        index=False
                    )
                ]
                for part in PARTS
            },
            "Subsets averaged": parts["subsets"],
            "Encoders trained": parts["encoders"],
            "Pooled over": [
                "" if status != "estimated" else f"{pooled} sources" if pooled else "its own"
                for pooled, status in zip(parts["pooled"], parts["status"], strict=True)
            ],
            "p (encoders scatter equally)": parts["fair"].map(p_value_text),
        }
    )


def _error_text(se: float, digits: int = 4) -> str:
    return "unknown" if np.isnan(se) else f"{se:.{digits}f}"


def _part_text(se: float, share: float, status: str) -> str:
    """Return '0.0120 (45%)', or what is known instead."""
    if status in ("given", "unknown", "with subsets"):
        return status
    return _error_text(se) + ("" if np.isnan(share) else f" ({100 * share:.0f}%)")


def draw(parts: pd.DataFrame, titles: Mapping[str, str], note: str = "") -> Figure:
    """Return the figure: a panel per target, a bar per mode and percentage, stacked by the shares of the variance.

    ``parts`` comes from ``parts_table``. A bar is the mean over the differences of sources from none, or over the AUROCs if there are none; in brackets
    is the square root of their mean variance.
    """
    shown = parts[parts["less"] != ""] if (parts["less"] != "").any() else parts
    targets = list(dict.fromkeys(shown["target"]))
    bars = {target: _bars(shown[shown["target"] == target]) for target in targets}
    columns = min(len(targets), 2)
    rows = -(-len(targets) // columns)
    most = max(map(len, bars.values()))
    width = style.TWO_COLUMNS if columns > 1 else style.ONE_COLUMN
    figure = style.new_figure(width, 1.2 + rows * (0.7 + 0.19 * most), note, titles.values())
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes[len(targets) :]:
        ax.set_axis_off()
    axes = axes[: len(targets)]
    for ax, target in zip(axes, targets, strict=True):
        _draw_panel(ax, bars[target], most)
    style.label_panels(axes, [dataset_label(target, titles) for target in targets])
    handles = [Patch(color=COLORS[part], label=LABELS[part]) for part in PARTS]
    if (shown["status"] == "with subsets").any():
        handles.insert(2, Patch(**_look("together"), label=TOGETHER))
    if (shown["status"] == "unknown").any():
        handles.append(Line2D([], [], color="0.3", marker="o", mfc="white", ls="", label=UNKNOWN))
    style.legend_below(figure, handles)
    return figure


def _look(part: str) -> dict:
    """Return the colours of a part; one that cannot be told apart has those of both."""
    if part != "together":
        return {"color": COLORS[part]}
    return {"facecolor": COLORS["subsets"], "edgecolor": COLORS["encoders"], "hatch": "////", "linewidth": 0}


def _bars(parts: pd.DataFrame) -> pd.DataFrame:
    """Return one row per mode and percentage: label, mean variance of each part, and whether an encoders' part is unknown.

    'together' is what subsets and encoders add where each subset meets an encoder of its own.
    """
    variances = parts[[f"se_{part}" for part in PARTS]].pow(2).set_axis(list(PARTS), axis=1)
    joint = parts["status"] == "with subsets"
    cells = variances.assign(
        subsets=variances["subsets"].mask(joint, 0.0),
        together=variances["subsets"].where(joint, 0.0),
        encoders=variances["encoders"].fillna(0.0),
        unknown=parts["status"] == "unknown",
        mode=parts["mode"].map(MODES.index),
        share=parts["percent"].astype(float),
        label=parts["percent"] + "% " + parts["mode"].map(MODE_LABELS),
    )
    found = cells.groupby(["mode", "share", "label"]).agg(dict.fromkeys(DRAWN, "mean") | {"unknown": "any"})
    return found.reset_index("label")


def _draw_panel(ax: Axes, bars: pd.DataFrame, most: int) -> None:
    """Draw the bars of one target in a panel with room for ``most`` bars."""
    places, total = np.arange(len(bars)), bars[list(DRAWN)].sum(axis=1, skipna=False).to_numpy()
    start = np.zeros(len(bars))
    for part in [part for part in DRAWN if part in PARTS or bars[part].any()]:
        share = np.divide(100 * bars[part].to_numpy(), total, out=np.zeros(len(bars)), where=total > 0)
        ax.barh(places, share, left=start, height=0.7, **_look(part))
        start += share
    # One by one, because the layout takes an empty line for a point far away.
    for place in places[bars["unknown"].to_numpy()]:
        ax.plot(103, place, color="0.3", marker="o", mfc="white", clip_on=False)
    ax.set(xlim=(0, 106), ylim=(most - 0.5, -0.5), xlabel="Share of the variance (%)")
    ax.set_xticks([0, 50, 100])
    errors = zip(bars["label"], np.sqrt(total), strict=True)
    ax.set_yticks(places, [f"{label} ({_error_text(error, 3)})" for label, error in errors])
    ax.grid(False)


if "snakemake" in globals():
    with in_one_line():
        main(snakemake.input, snakemake.output, snakemake.params)
