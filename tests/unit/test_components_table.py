"""The table and the figure of what intervals consist of."""

from __future__ import annotations

import made_up_figures
import numpy as np
import pandas as pd
import pytest
from components import PARTS, draw, parts_summary
from made_up_figures import NOTE, TITLES

from moco_transfer.statistics.evidence import EstimateKey, Evidence, difference
from moco_transfer.statistics.parts import parts_table

SOURCES = ("none", "spine", "chest", "limited", "rad_dino")


def run(replicates: int, subsets: int = 6) -> tuple[pd.DataFrame, Evidence]:
    """Return estimates and evidence of one cell: three trained sources, ``limited`` and a given encoder."""
    random = np.random.default_rng(3)
    keys = {source: EstimateKey("spine", source, "linear", "10", 100) for source in SOURCES}
    met = {s: (s - 1) % replicates + 1 for s in range(1, subsets + 1)}
    encoders = dict.fromkeys(("none", "spine", "chest"), met) | {"limited": {s: s for s in met}}
    by_subset = {}
    for source, key in keys.items():
        own = 0.02 * random.normal(size=subsets + 1)
        noise = 0.01 * random.normal(size=subsets)
        by_subset[key] = {s: 0.7 + own[encoders.get(source, {}).get(s, 0)] + noise[s - 1] for s in met}
    values = {key: float(np.mean(list(row.values()))) for key, row in by_subset.items()}
    estimates = pd.DataFrame([key._asdict() for key in keys.values()])
    estimates = estimates.assign(n_labeled=58, selected=True, n_subsets=subsets, auroc=list(values.values()))
    evidence = Evidence(
        values,
        {(key, key): 1e-4 for key in values},
        by_subset,
        n_averaged=dict.fromkeys(values, subsets),
        selected={key._replace(epochs=None): 100 for key in values},
        encoders=encoders,
    )
    return estimates, evidence


def test_parts_add_in_squares_and_say_what_is_known():
    estimates, evidence = run(2)
    table = parts_table(estimates, evidence).set_index(["source", "less"])
    assert table.index.tolist() == [
        *[("none", ""), ("spine", ""), ("spine", "none"), ("chest", ""), ("chest", "none")],
        *[("limited", ""), ("limited", "none"), ("rad_dino", ""), ("rad_dino", "none")],
    ]
    squares = table[[f"se_{part}" for part in PARTS]].pow(2)
    np.testing.assert_allclose(squares.sum(axis=1), table["se"] ** 2)
    np.testing.assert_allclose(table[[f"share_{part}" for part in PARTS]].sum(axis=1), 1)
    assert table["status"].to_dict() == {
        **{("none", ""): "estimated", ("spine", ""): "estimated", ("spine", "none"): "estimated"},
        **{("chest", ""): "estimated", ("chest", "none"): "estimated", ("limited", ""): "with subsets"},
        **{("limited", "none"): "estimated", ("rad_dino", ""): "given", ("rad_dino", "none"): "estimated"},
    }
    assert table["encoders"].loc[["none", "limited", "rad_dino"]].tolist() == [2, 6, 6, 1, 1]
    contrast = evidence.contrast(difference("spine", "linear", "10", "spine", "none"))
    row = table.loc[("spine", "none")]
    assert row["se"] == pytest.approx(contrast.se)
    assert row["se_encoders"] == pytest.approx(np.sqrt(contrast.encoders))
    assert row["pooled"] == 3 and 0 <= row["fair"] <= 1
    assert table.loc[("rad_dino", ""), "se_encoders"] == 0


@pytest.mark.parametrize(("replicates", "status"), [(1, "unknown"), (6, "with subsets")])
def test_what_is_not_known_is_said_in_words(replicates, status):
    estimates, evidence = run(replicates)
    table = parts_table(estimates, evidence)
    row = table[(table["source"] == "spine") & (table["less"] == "none")]
    assert row["status"].item() == status and row["se_encoders"].isna().item()
    text = parts_summary(row).iloc[0]
    assert text["Due to encoders"] == status and text["Pooled over"] == ""
    assert (
        text["Due to test patients"]
        == f"{row['se_patients'].item():.4f} ({100 * row['share_patients'].item():.0f}%)"
    )
    assert text["AUROC"] == "spine minus none"


def test_one_labelled_subset_leaves_its_part_unknown():
    estimates, evidence = run(1, subsets=1)
    table = parts_table(estimates, evidence)
    text = parts_summary(table).set_index("AUROC").loc["spine minus none"]
    assert text["Standard error"] == text["Due to labelled subsets and training"] == "unknown"
    (label,) = draw(table, TITLES, NOTE).axes[0].get_yticklabels()
    assert label.get_text() == "10% linear (unknown)"


def test_bars_are_shares_of_the_mean_variance_of_differences():
    table = made_up_figures.parts()
    figure = draw(table, TITLES, NOTE)
    ax = figure.axes[0]
    labels = [text.get_text() for text in ax.get_yticklabels()]
    total = 0.03**2 + 0.04**2 + 0.02**2 / 2  # the unknown part of the second source counts as nothing
    cells = [f"{percent}% {mode}" for mode in ("linear", "end to end") for percent in ("1", "10", "100")]
    assert labels == [f"{cell} ({np.sqrt(total):.3f})" for cell in cells]
    widths = [[bar.get_width() for bar in container] for container in ax.containers]
    expected = [100 * each / total for each in (0.03**2, 0.04**2, 0.02**2 / 2)]
    np.testing.assert_allclose(widths, np.repeat(np.array(expected)[:, None], 6, axis=1))
    assert len(ax.lines) == 6  # all cells hold a source with one encoder
    known = draw(table[table["status"] != "unknown"], TITLES, NOTE)
    assert not known.axes[0].lines
    assert not any("one encoder" in text.get_text() for text in known.legends[0].get_texts())


def test_what_subsets_and_encoders_add_together_is_no_part_of_either():
    table = parts_table(*run(6))
    together, known = (
        draw(table.assign(status=status), TITLES).axes[0].containers for status in ("with subsets", "given")
    )
    widths = [[bar.get_width() for container in each for bar in container] for each in (together, known)]
    assert len(widths[0]) == 4 and len(widths[1]) == 3
    assert widths[0][1] == widths[0][3] == 0 and widths[0][2] == pytest.approx(widths[1][1])
    assert [bar.get_hatch() is not None for each in together for bar in each] == [False, False, True, False]
