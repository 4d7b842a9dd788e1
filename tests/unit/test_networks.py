"""The figure of how far pretraining moved the networks."""

from __future__ import annotations

import pandas as pd
import pytest

from moco_transfer.plotting.networks import draw_moved_networks
from moco_transfer.report import style


def test_the_figure_has_a_line_for_each_source_and_the_band_of_chance():
    rows = [
        (target, source, layer, measure, 0.9 - 0.1 * i - 0.05 * j, 0.1 + 0.02 * i, 600)
        for target in ("spine", "chest")
        for i, source in enumerate(["spine", "chest"])
        for j, layer in enumerate(["DB1", "DB2"])
        for measure in ("svcca", "cka")
    ]
    names = ["target", "source", "layer", "measure", "value", "chance", "images"]
    sources = ["none", "spine", "chest"]
    figure = draw_moved_networks(
        pd.DataFrame(rows, columns=names), {"spine": "VinDr"}, sources, "Phantom data"
    )
    assert [ax.get_title() for ax in figure.axes[:2]] == ["VinDr (spine), 600 images", "chest, 600 images"]
    looks = style.source_looks(sources)
    for ax in figure.axes:
        assert [line.get_color() for line in ax.lines] == [looks[s].color for s in ("spine", "chest")]
        assert [list(line.get_ydata()) for line in ax.lines] == [
            pytest.approx([0.9, 0.85]),
            pytest.approx([0.8, 0.75]),
        ]
        (band,) = ax.collections
        assert band.get_datalim(ax.transData).intervaly == pytest.approx((0.1, 0.12))
        assert ax.get_ylim()[0] <= 0 and ax.get_ylim()[1] >= 1
