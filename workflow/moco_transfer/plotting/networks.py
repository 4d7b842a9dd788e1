"""How far each pretraining moved the network: its likeness to the initial network on the same images, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from moco_transfer.plotting.similarity import layer_tilt
from moco_transfer.report import style

LABELS = {"svcca": "SVCCA with the\ninitial network", "cka": "CKA with the\ninitial network"}


def draw_moved_networks(
    networks: pd.DataFrame, titles: Mapping[str, str], sources: Sequence[str], note: str = ""
) -> Figure:
    """Return the figure: a row for each measure, a column for each target, a line for each source.

    ``networks`` has the columns of networks.parquet; the band is the range of the sources' chance levels. ``titles`` maps
    dataset to title, ``sources`` are all sources of the run in their order, ``note`` is written on the figure.
    """
    targets = list(dict.fromkeys(networks["target"]))
    layers = list(dict.fromkeys(networks["layer"]))
    shown = [source for source in sources if source in set(networks["source"])]
    looks = style.source_looks(sources)
    with mpl.rc_context(style.RC):
        width = style.ONE_COLUMN if len(targets) == 1 else style.TWO_COLUMNS
        figure = style.new_figure(width, 0.9 + 1.7 * len(LABELS), note)
        axes = figure.subplots(len(LABELS), len(targets), squeeze=False, sharex=True, sharey="row")
        for row, (measure, label) in zip(axes, LABELS.items(), strict=True):
            for ax, target in zip(row, targets, strict=True):
                own = networks[(networks["target"] == target) & (networks["measure"] == measure)]
                chance = own.groupby("layer")["chance"].agg(["min", "max"]).loc[layers]
                ax.fill_between(layers, chance["min"], chance["max"], color="0.7", ec="0.7", lw=1.5)
                for source in shown:
                    look, line = (
                        looks[source],
                        own[own["source"] == source].set_index("layer")["value"][layers],
                    )
                    ax.plot(layers, line, color=look.color, marker=look.marker, ls=look.line)
                ax.set_ylim(min(0, ax.get_ylim()[0]), 1.03)
            row[0].set_ylabel(label)
        for ax, target in zip(axes[0], targets, strict=True):
            images = networks.loc[networks["target"] == target, "images"].iloc[0]
            ax.set_title(f"{style.dataset_label(target, titles)}, {images:,} images")
        for ax in axes[-1]:
            ax.set_xlabel("Layer")
            ax.set_xticks(range(len(layers)), layers, **layer_tilt(layers))
        handles = [*style.source_handles(shown, looks), Patch(color="0.7", label="chance: images permuted")]
        style.legend_below(figure, handles)
    return figure
