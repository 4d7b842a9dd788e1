"""Each figure draws the values that it is given."""

from __future__ import annotations

import functools
from itertools import combinations
from types import SimpleNamespace

import augmentations
import figure2
import figure_coverage
import figure_epochs
import made_up_figures
import matplotlib as mpl
import networks
import numpy as np
import pandas as pd
import pytest
import similarity_measures
from made_up_figures import CONTROLS, LABELED, MANY, NOTE, SOURCES, TITLES, draw_figure1, drawings
from matplotlib.collections import LineCollection
from matplotlib.container import ErrorbarContainer
from matplotlib.image import AxesImage
from matplotlib.text import Text

from moco_transfer.report import style


@pytest.fixture(scope="module")
def estimates():
    return made_up_figures.estimates()


@pytest.fixture(scope="module")
def similarities():
    return made_up_figures.similarities()


@pytest.fixture(scope="module")
def draw():
    """Return a function that draws a figure by its name, with a cache."""
    ways = drawings()
    return functools.cache(lambda name: ways[name](NOTE))


def error_bars(ax):
    """Return (heights of the markers, [lower, upper] ends of the bars) of each series in the panel."""
    series = []
    for container in ax.containers:
        if isinstance(container, ErrorbarContainer):
            line, _, (bars,) = container.lines
            heights = line.get_ydata(orig=False)
            series.append((heights, np.array([segment[:, 1] for segment in bars.get_segments()])))
    return series


def test_figure_2_draws_the_test_sets_own_aurocs_with_their_intervals(draw, estimates):
    figure = draw("figure2")
    selected = estimates[estimates["selected"]]
    panels = [(target, mode) for target in LABELED for mode in ("linear", "end_to_end")]
    assert len(figure.axes) == len(panels)
    for ax, (target, mode) in zip(figure.axes, panels, strict=True):
        cells = selected[(selected["target"] == target) & (selected["mode"] == mode)]
        ours = [series for series in error_bars(ax) if not np.isin(series[0], [0.698]).any()]
        assert len(ours) == cells["source"].nunique()
        for source, (heights, ends) in zip(
            [s for s in SOURCES if s in set(cells["source"])], ours, strict=True
        ):
            own = cells[cells["source"] == source].sort_values("percent", key=lambda p: p.astype(float))
            np.testing.assert_allclose(heights, own["auroc"])
            np.testing.assert_allclose(ends, own[["lower", "upper"]])


def test_figure_2_bars_of_one_percent_stand_apart_and_near_their_tick(draw):
    for ax in draw("figure2").axes:
        ticks = ax.get_xticks()
        bars = [bars for bars in ax.collections if isinstance(bars, LineCollection)]
        places = np.sort([segment[0, 0] for series in bars for segment in series.get_segments()])
        assert np.diff(places).min() > 0.05
        nearest = np.abs(places[:, None] - ticks).min(axis=1)
        assert nearest.max() < np.diff(ticks).min() / 2


def test_figure_2_draws_the_papers_values_hollow_beside_ours(draw):
    hollow = [
        (ax, line)
        for ax in draw("figure2").axes
        for line in ax.lines
        if line.get_markerfacecolor() == "white" and len(line.get_xdata())
    ]
    ((ax, line),) = hollow
    assert "VinDr-SpineXR (spine), linear" in ax.get_title(loc="left")
    assert line.get_ydata() == [0.698]
    assert line.get_color() == style.source_looks(SOURCES)["spine"].color


def test_figure_2_shows_no_value_of_the_paper_at_another_number_of_labels(estimates):
    fewer = estimates.assign(n_labeled=estimates["n_labeled"] // 2)
    figure = figure2.draw(fewer, TITLES, SOURCES, NOTE, made_up_figures.reference())
    assert not any(line.get_markerfacecolor() == "white" for ax in figure.axes for line in ax.lines)
    assert not any("paper" in text.get_text() for text in figure.legends[0].get_texts())


def test_figure_2_without_a_reference_does_not_mention_the_paper(estimates):
    figure = figure2.draw(estimates, TITLES, SOURCES)
    assert not any("paper" in text.get_text() for text in figure.legends[0].get_texts())


def test_figure_2_draws_a_source_that_one_target_lacks(estimates):
    lacking = estimates[(estimates["source"] != "limited") | (estimates["target"] == "spine")]
    figure = figure2.draw(lacking, TITLES, SOURCES)
    assert [len(error_bars(ax)) for ax in figure.axes] == [6, 5, 5, 5]


def test_chance_is_marked_only_if_it_is_in_range(estimates):
    low = estimates.assign(auroc=estimates["auroc"] - 0.2, lower=0.35)
    for frame, marked in ((estimates, False), (low, True)):
        figure = figure2.draw(frame, TITLES, SOURCES)
        for ax in figure.axes:
            assert any(text.get_text() == "chance" for text in ax.texts) == marked


@pytest.mark.parametrize("target", list(LABELED))
def test_figures_4_and_5_ring_the_chosen_budgets(estimates, target):
    figure = figure_epochs.draw(estimates, target, TITLES, SOURCES)
    cells = estimates[(estimates["target"] == target) & (estimates["mode"] == "end_to_end")]
    assert len(figure.axes) == len(LABELED[target])
    for ax, percent in zip(figure.axes, LABELED[target], strict=True):
        own = cells[cells["percent"] == percent]
        rings = [line for line in ax.lines if line.get_markerfacecolor() == "none"]
        assert sorted(y for ring in rings for y in ring.get_ydata()) == sorted(
            own.loc[own["selected"], "auroc"]
        )
        drawn = np.concatenate([heights for heights, _ in error_bars(ax)])
        assert sorted(drawn) == sorted(own["auroc"])
        assert f"n = {LABELED[target][percent]:,}" in ax.get_title(loc="left")


def test_budgets_of_the_controls_do_not_change_figures_4_and_5(estimates):
    none = estimates[(estimates["source"] == "none") & (estimates["mode"] == "end_to_end")]
    longer = none.assign(source="none-longer", epochs=7000)
    axes = [
        figure_epochs.draw(frame, "spine", TITLES, SOURCES).axes[0]
        for frame in (estimates, pd.concat([estimates, longer], ignore_index=True))
    ]
    assert axes[0].get_xlim() == axes[1].get_xlim() and len(axes[0].lines) == len(axes[1].lines)
    assert 7000 not in axes[1].get_xticks()


def test_a_source_looks_the_same_in_every_figure(estimates):
    spine = estimates[estimates["source"].isin(["spine", "chest-small"])]
    colors = []
    for frame in (estimates, spine):
        ax = figure_epochs.draw(frame, "spine", TITLES, SOURCES).axes[0]
        legend = ax.figure.legends[0]
        handles = zip(legend.get_texts(), legend.legend_handles, strict=True)
        colors.append({text.get_text(): (h.get_color(), h.get_marker()) for text, h in handles})
    assert colors[0]["MoCo on chest-small"] == colors[1]["MoCo on chest-small"]
    assert colors[0]["MoCo on spine"] == colors[1]["MoCo on spine"]


def test_an_interval_above_its_auroc_is_drawn_from_the_auroc(estimates):
    above = estimates.assign(lower=estimates["auroc"] + 0.01)
    for heights, ends in error_bars(figure2.draw(above, TITLES, SOURCES).axes[0]):
        np.testing.assert_allclose(ends[:, 0], heights)


def test_looks_of_many_sources_differ_in_color_and_in_marker():
    looks = style.source_looks(MANY | CONTROLS).values()
    assert len(looks) == 14
    assert len({look.color for look in looks}) == len({look.marker for look in looks}) == len(looks)


OPEN = {"none": "initial"} | dict.fromkeys(
    ["knee", "child-chest", "child-chest+knee", "limited", "knee-as-child-chest", "limited-steps"], "moco"
)


@pytest.mark.parametrize(
    "more",
    [
        {"child-chest": ["chest"], "child-chest+knee": ["chest+knee", "chest+child-chest"]},
        {"none": ["lite0", "rad_dino"]},
        {"limited-steps": ["none-longer"]},
    ],
)
def test_a_source_keeps_its_look_if_others_join_it(more):
    sources = {}
    for source, kind in OPEN.items():
        sources[source] = kind
        sources |= dict.fromkeys(more.get(source, []), "encoder" if source == "none" else "moco")
    before, after = style.source_looks(OPEN), style.source_looks(sources)
    assert list(after) == list(sources) and before.items() <= after.items()
    assert len({look.color for look in after.values()}) == len(sources)


def test_figures_without_controls_show_sources_as_those_with_them_do():
    without = {
        source: kind for source, kind in OPEN.items() if "-as-" not in source and "steps" not in source
    }
    assert style.source_looks(without).items() <= style.source_looks(OPEN).items()


def test_the_papers_sources_keep_their_looks_beside_others():
    alone, beside = style.source_looks(SOURCES), style.source_looks(OPEN | SOURCES)
    for source in ("none", "spine", "chest", "spine+chest", "limited"):
        assert alone[source] == beside[source]


def test_figure_1_has_a_card_for_each_source_in_their_order():
    encoders = {"lite0": ["efficientnet_lite0", "lite0.pth"]}
    figure = draw_figure1({}, encoders=encoders)
    names = ["No MoCo", "Encoder lite0", "MoCo on spine", "MoCo on spine + chest", "MoCo (limited)"]
    cards = [text for text in figure.axes[0].texts if text.get_text() in names]
    assert [text.get_text() for text in sorted(cards, key=lambda text: -text.get_position()[1])] == names


def test_encoders_are_named_as_such_and_what_they_may_have_seen_is_marked():
    cells = made_up_figures.estimates(MANY)
    figure = figure2.draw(cells, TITLES, MANY, NOTE, None, made_up_figures.SEEN)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {"No MoCo", "MoCo on spine", "Encoder lite0", "Encoder rad_dino"} < set(names)
    assert sum("may have seen" in name for name in names) == 1
    # Three percentages of spine and four of chest, each once per mode.
    marks = [sum(text.get_text() == "†" for text in ax.texts) for ax in figure.axes]
    assert marks == [3, 3, 4, 4]
    epochs = figure_epochs.draw(cells, "chest", TITLES, MANY, NOTE, made_up_figures.SEEN)
    colors = {text.get_color() for ax in epochs.axes for text in ax.texts if text.get_text() == "†"}
    assert colors == {style.source_looks(MANY)["none"].color}
    unmarked = figure2.draw(cells, TITLES, MANY)
    assert not any("†" in text.get_text() for text in unmarked.findobj(Text))


def test_three_pairs_of_datasets_differ_from_all_sources_of_a_run_with_controls():
    sources = style.source_looks(CONTROLS).values()
    pairs = style.pair_looks([("a", "b"), ("a", "c"), ("b", "c")]).values()
    assert not {look.color for look in sources} & {look.color for look in pairs}
    assert not {look.marker for look in sources} & {look.marker for look in pairs}


def test_figure_3_draws_value_and_null_of_each_pair(draw, similarities):
    (ax,) = draw("figure3").axes
    values = similarities[similarities["measure"] == "svcca"]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["CV1", "DB1", "DB2", "DB3", "DB4"]
    lines = [line for line in ax.lines if line.get_marker() not in ("None", "")]
    for line, (_, own) in zip(lines, values.groupby(["dataset_a", "dataset_b"], sort=False), strict=True):
        np.testing.assert_allclose(line.get_ydata(), own["value"])
    nulls = [line for line in ax.lines if line.get_alpha() == 0.35]
    assert len(nulls) == len(values)
    for null, x in zip(nulls, np.concatenate([line.get_xdata() for line in lines]), strict=True):
        assert list(null.get_ydata()) == pytest.approx([0.15, 0.25])
        assert list(null.get_xdata()) == pytest.approx([x, x])  # below its value
    assert ax.get_ylim()[0] < 0.15


def test_similarities_have_one_row_per_measure_and_one_column_per_pair(draw, similarities):
    figure = draw("similarity_measures")
    grid = np.array(figure.axes).reshape(4, 3)
    assert [ax.get_title() for ax in grid[0]] == [
        "VinDr-SpineXR – MIMIC-CXR",
        "VinDr-SpineXR – ImageNet",
        "MIMIC-CXR – ImageNet",
    ]
    shares = similarities[similarities["measure"] == "variance_share"]
    for ax, (a, b) in zip(grid[3], combinations(["spine", "chest", "natural"], 2), strict=True):
        values = [line.get_ydata(orig=False) for line in ax.lines if line.get_marker() in ("o", "s")]
        for drawn, (first, second) in zip(values, ((a, b), (b, a)), strict=True):
            own = shares[(shares["dataset_a"] == first) & (shares["dataset_b"] == second)]
            np.testing.assert_allclose(drawn, own["value"])
    assert grid[2, 0].get_yscale() == "log"


def test_similarities_of_a_single_layer_show_null_and_ceiling(similarities):
    one = similarities[similarities["layer"] == "DB4"]
    figure = similarity_measures.draw(one, TITLES)
    for ax in figure.axes:
        assert ax.patches and all(bar.get_width() > 0.5 for bar in ax.patches)
        assert any(line.get_marker() == "_" for line in ax.lines)


def test_similarities_have_their_spread_over_halves_as_error_bars(draw, similarities):
    grid = np.array(draw("similarity_measures").axes).reshape(4, 3)
    channels = similarities[similarities["measure"] != "svcca"]
    for row, measure in zip(grid, channels["measure"].unique(), strict=True):
        for ax, (a, b) in zip(row, combinations(["spine", "chest", "natural"], 2), strict=True):
            orders = [(a, b), (b, a)] if measure == "variance_share" else [(a, b)]
            for (heights, ends), order in zip(error_bars(ax), orders, strict=True):
                own = channels.set_index(["measure", "dataset_a", "dataset_b"]).loc[(measure, *order)]
                np.testing.assert_allclose(heights, own["value"])
                np.testing.assert_allclose(ends, own[["value_lower", "value_upper"]])


def test_pixels_of_a_dataset_that_is_not_shareable_are_not_drawn():
    gray, color = np.full((8, 8), 7, np.uint8), np.zeros((8, 8, 3), np.uint8)
    figure = draw_figure1({"spine": None, "chest": gray, "natural": color})
    shown = [image.get_array().shape for image in figure.findobj(AxesImage)]
    # Chest: in spine+chest, in finetuning and in evaluation; natural: the initial weights.
    assert sorted(shown) == [(8, 8), (8, 8), (8, 8), (8, 8, 3)]
    texts = [text.get_text() for text in figure.findobj(mpl.text.Text)]
    assert sum("not\nshareable" in text for text in texts) == 4
    for number in ("5,872", "231,596", "58 to 5,872", "112 to 22,572", "2,077", "75,500"):
        assert any(number in text for text in texts)


def series(ax):
    """Return the heights of each line that has markers, by its colour and marker."""
    drawn = [
        line for line in ax.get_lines() if line.get_marker() not in ("None", "") and len(line.get_xdata())
    ]
    return {(line.get_color(), line.get_marker()): list(line.get_ydata()) for line in drawn}


def test_all_coverages_are_drawn_and_both_units_start_at_one_image_per_patient():
    coverage = made_up_figures.coverage()
    left, right = figure_coverage.draw(coverage, [5, 95]).axes
    assert len(series(left)) == len(series(right)) == 4
    of_one = 100 * coverage[(coverage["study"] == "patients") & (coverage["images"] == 1)]["coverage"]
    assert sorted({heights[0] for heights in series(right).values()}) == pytest.approx(sorted(of_one))
    heights = sorted(height for each in series(left).values() for height in each)
    assert heights == pytest.approx(sorted(100 * coverage[coverage["study"] == "positives"]["coverage"]))


@pytest.mark.parametrize(("trials", "half"), [(1000, 1.859), (100, 5.880)])
def test_the_band_of_coverage_depends_on_the_number_of_trials(trials, half):
    figure = figure_coverage.draw(made_up_figures.coverage().assign(trials=trials), [5, 95])
    (band,) = figure.axes[0].patches
    ends = [band.get_y(), band.get_y() + band.get_height()]
    assert ends == pytest.approx([90 - half, 90 + half], abs=1e-3)
    assert "90% interval" in figure.axes[0].get_ylabel()
    assert any("no images" in text.get_text() for text in figure.texts)


def test_networks_have_one_line_per_source_and_a_band_of_chance():
    rows = [
        (target, source, layer, measure, 0.9 - 0.1 * i - 0.05 * j, 0.1 + 0.02 * i, 600)
        for target in ("spine", "chest")
        for i, source in enumerate(["spine", "chest"])
        for j, layer in enumerate(["DB1", "DB2"])
        for measure in ("svcca", "cka")
    ]
    names = ["target", "source", "layer", "measure", "value", "chance", "images"]
    sources = {"none": "initial", "spine": "moco", "chest": "moco"}
    figure = networks.draw(pd.DataFrame(rows, columns=names), {"spine": "VinDr"}, sources, NOTE)
    assert [ax.get_title() for ax in figure.axes[:2]] == ["VinDr (spine), 600 images", "chest, 600 images"]
    looks = style.source_looks(sources)
    for ax in figure.axes:
        found = {color: heights for (color, _), heights in series(ax).items()}
        assert found[looks["spine"].color] == pytest.approx([0.9, 0.85])
        assert found[looks["chest"].color] == pytest.approx([0.8, 0.75])
        (band,) = ax.collections
        assert band.get_datalim(ax.transData).intervaly == pytest.approx((0.1, 0.12))
        assert ax.get_ylim()[0] <= 0 and ax.get_ylim()[1] >= 1


@pytest.mark.parametrize("colour", [(), (3,)], ids=["grey", "colour"])
def test_a_mosaic_has_each_tile_in_its_place(colour):
    side = 16
    tiles = np.random.default_rng(0).integers(0, 255, (2, 3, side, side, *colour), dtype=np.uint8)
    picture, step = augmentations.mosaic(tiles), side + round(augmentations.GAP * side)
    assert picture.shape == (2 * step, 3 * step, *colour)
    for row in range(2):
        for column in range(3):
            place = picture[row * step : row * step + side, column * step : column * step + side]
            np.testing.assert_array_equal(place, tiles[row, column])
    assert (picture[side:step] == 255).all() and (picture[:, side:step] == 255).all()


def test_the_drawn_card_tells_left_from_right_and_up_from_down():
    card = augmentations.drawn_card(64)
    assert card.shape == (64, 64) and card.dtype == np.uint8
    for changed in (card[:, ::-1], card[::-1], card.T):
        assert np.abs(card.astype(int) - changed).mean() > 10
    coloured = augmentations.drawn_card(64, colour=True)
    assert coloured.shape == (64, 64, 3) and np.ptp(coloured, axis=2).mean() > 30


def test_views_of_colour_images_stay_in_colour_and_of_grey_ones_in_grey():
    colour = np.random.default_rng(0).integers(0, 256, (2, 20, 20, 3), dtype=np.uint8)
    params = SimpleNamespace(seed=1, crop=16)
    centre = [{"crop": "centre"}]
    for images in (colour, colour[..., 0]):
        views = augmentations.views_of(images, centre, params, "centre")
        assert views.shape == (2, augmentations.VIEWS, 16, 16, *images.shape[3:])
        for view in views.swapaxes(0, 1):
            np.testing.assert_array_equal(view, images[:, 2:18, 2:18])
