"""The figures: what is drawn is what was given, nothing overlaps, notes are visible, and bytes are repeatable."""

from __future__ import annotations

import functools
import subprocess
import sys
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.container import ErrorbarContainer
from matplotlib.image import AxesImage

from moco_transfer.plotting import epochs, label_fraction, pipeline, similarity, style

SOURCES = ["none", "spine", "chest", "spine+chest", "limited", "chest-small"]
TITLES = {"spine": "VinDr-SpineXR", "chest": "MIMIC-CXR", "natural": "ImageNet"}
LABELED = {
    "spine": {"1": 58, "10": 587, "100": 5872},
    "chest": {"0.05": 112, "0.1": 225, "1": 2257, "10": 22572},
}
NOTE = "Phantom data, not radiographs"


@pytest.fixture(scope="module")
def estimates():
    generator, rows = np.random.default_rng(1), []
    for target, percents in LABELED.items():
        for percent, source in ((p, s) for p in percents for s in SOURCES):
            for mode, budgets in (("linear", [100]), ("end_to_end", [25, 50, 100, 200])):
                if source == "limited" and (mode == "end_to_end" or percent in ("10", "100")):
                    continue
                chosen = generator.choice(budgets)
                for budget in budgets:
                    median = generator.uniform(0.6, 0.9)
                    rows.append(
                        {
                            **{"target": target, "source": source, "mode": mode, "percent": percent},
                            **{
                                "epochs": budget,
                                "n_labeled": percents[percent],
                                "selected": budget == chosen,
                            },
                            **{"median": median, "lower": median - 0.01, "upper": median + 0.02},
                        }
                    )
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def reference():
    columns = ["target", "percent", "mode", "source", "auroc_median", "q05", "q95"]
    rows = [
        ("spine", "1", "linear", "spine", 0.698, 0.683, 0.714),
        ("spine", "50", "linear", "spine", 0.1, 0.1, 0.1),
    ]
    return pd.DataFrame(rows, columns=columns)


@pytest.fixture(scope="module")
def similarities():
    rows = []
    pairs = list(combinations(["spine", "chest", "natural"], 2))
    for measure in ("svcca", *similarity.MEASURE_LABELS):
        both = [(b, a) for a, b in pairs] if measure == "variance_share" else []
        for layer in ("CV1", "DB1", "DB2", "DB3", "DB4"):
            for i, (a, b) in enumerate(pairs + both):
                value = 0.3 + 0.05 * i + 0.01 * int(layer[-1])
                null = {"null_mean": 0.2, "null_lower": 0.15, "null_upper": 0.25, "ceiling": 0.9}
                rows.append(
                    {"measure": measure, "layer": layer, "dataset_a": a, "dataset_b": b, "value": value}
                    | null
                )
    return pd.DataFrame(rows)


def draw_pipeline(examples, note=""):
    return pipeline.draw_pipeline(
        initial="natural",
        sources={"none": [], "spine": ["spine"], "spine+chest": ["spine", "chest"], "limited": []},
        unlabeled={"spine": 5872, "spine+chest": 231596},
        labeled=LABELED,
        tests={"spine": 2077, "chest": 75500},
        examples=examples,
        titles=TITLES,
        note=note,
    )


@pytest.fixture(scope="module")
def draw(estimates, reference, similarities):
    """Return a function that draws a figure by its name: the same one again unless ``afresh``, as drawing costs."""
    ways = {
        "pipeline": lambda note: draw_pipeline({"spine": None, "chest": None, "natural": None}, note),
        "labels": lambda note: label_fraction.draw_auroc_by_labels(
            estimates, TITLES, SOURCES, note, reference
        ),
        "epochs": lambda note: epochs.draw_auroc_by_epochs(estimates, "spine", TITLES, SOURCES, note),
        "epochs_of_four": lambda note: epochs.draw_auroc_by_epochs(estimates, "chest", TITLES, SOURCES, note),
        "layers": lambda note: similarity.draw_similarity_by_layer(similarities, TITLES, note),
        "measures": lambda note: similarity.draw_similarity_measures(similarities, TITLES, note),
    }
    known = functools.cache(lambda name, note: ways[name](note))
    return lambda name, note=NOTE, afresh=False: ways[name](note) if afresh else known(name, note)


FIGURES = ["pipeline", "labels", "epochs", "epochs_of_four", "layers", "measures"]


def error_bars(ax):
    """Return (heights of the markers, [lower, upper] ends of the bars) of each series in the panel."""
    series = []
    for container in ax.containers:
        if isinstance(container, ErrorbarContainer):
            line, _, (bars,) = container.lines
            series.append((line.get_ydata(), np.array([segment[:, 1] for segment in bars.get_segments()])))
    return series


@pytest.mark.parametrize("name", ["pipeline", "layers"])
def test_equal_figures_are_saved_as_equal_bytes_with_text_as_text(draw, name, tmp_path):
    for attempt in ("one", "two"):
        files = {kind: tmp_path / f"{attempt}.{kind}" for kind in ("pdf", "svg", "png")}
        style.save(draw(name, afresh=True), **files)
    for kind in files:
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"two.{kind}").read_bytes()
    assert NOTE in (tmp_path / "one.svg").read_text()
    assert b"/Type3" not in (tmp_path / "one.pdf").read_bytes()
    assert len(list(tmp_path.iterdir())) == 6


@pytest.mark.parametrize("name", FIGURES)
def test_a_note_is_on_the_figure_only_when_there_is_one(draw, name):
    for note in (NOTE, ""):
        texts = [text.get_text() for text in draw(name, note).findobj(mpl.text.Text)]
        assert (NOTE in texts) == bool(note)


@pytest.mark.parametrize("name", FIGURES)
def test_text_is_inside_the_figure_and_on_nothing_else(draw, name):
    figure = draw(name)
    with mpl.rc_context(style.RC):
        figure.draw_without_rendering()
        texts = [text for text in figure.findobj(mpl.text.Text) if text.get_text() and text.get_visible()]
        # Ticks outside the axis limits are objects as well, but are not drawn.
        for ax in figure.axes:
            for axis, low, high in ((ax.xaxis, *ax.get_xlim()), (ax.yaxis, *ax.get_ylim())):
                for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                    if not ax.axison or not low <= tick.get_loc() <= high or not tick.label1.get_visible():
                        texts = [text for text in texts if text is not tick.label1]
        boxes = {text: text.get_window_extent() for text in texts}
    edges = figure.bbox.padded(1)
    for text, box in boxes.items():
        assert edges.x0 <= box.x0 and box.x1 <= edges.x1, text.get_text()
        assert edges.y0 <= box.y0 and box.y1 <= edges.y1, text.get_text()
    for (one, first), (other, second) in combinations(boxes.items(), 2):
        assert not first.padded(-0.5).overlaps(second.padded(-0.5)), (one.get_text(), other.get_text())


@pytest.mark.parametrize("name", FIGURES[1:])
def test_legend_is_beside_the_panels(draw, name):
    figure = draw(name)
    with mpl.rc_context(style.RC):
        figure.draw_without_rendering()
        (legend,) = figure.legends
        for ax in figure.axes:
            assert not legend.get_window_extent().overlaps(ax.get_window_extent())


def test_figure_2_draws_medians_with_their_intervals(draw, estimates):
    figure = draw("labels")
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
            np.testing.assert_allclose(heights, own["median"])
            np.testing.assert_allclose(ends, own[["lower", "upper"]])


def test_figure_2_bars_of_one_percent_stand_apart_and_near_their_tick(draw):
    for ax in draw("labels").axes:
        ticks = np.log10(ax.get_xticks())
        bars = [bars for bars in ax.collections if isinstance(bars, LineCollection)]
        places = np.sort(np.log10([segment[0, 0] for series in bars for segment in series.get_segments()]))
        assert np.diff(places).min() > 0.01
        nearest = np.abs(places[:, None] - ticks).min(axis=1)
        assert nearest.max() < np.diff(ticks).min() / 2


def test_figure_2_sets_the_papers_values_hollow_beside_ours_where_we_have_the_cell(draw):
    hollow = [
        (ax, line)
        for ax in draw("labels").axes
        for line in ax.lines
        if line.get_markerfacecolor() == "white" and len(line.get_xdata())
    ]
    ((ax, line),) = hollow
    assert "VinDr-SpineXR (spine), linear" in ax.get_title(loc="left")
    assert line.get_ydata() == [0.698]
    assert line.get_color() == style.source_looks(SOURCES)["spine"].color


def test_figure_2_without_reference_says_nothing_of_the_paper(estimates):
    figure = label_fraction.draw_auroc_by_labels(estimates, TITLES, SOURCES)
    assert not any("paper" in text.get_text() for text in figure.legends[0].get_texts())


def test_figure_2_takes_a_source_that_one_target_lacks(estimates):
    lacking = estimates[(estimates["source"] != "limited") | (estimates["target"] == "spine")]
    figure = label_fraction.draw_auroc_by_labels(lacking, TITLES, SOURCES)
    assert [len(error_bars(ax)) for ax in figure.axes] == [6, 5, 5, 5]


def test_chance_is_marked_only_where_it_is_in_range(estimates):
    low = estimates.assign(median=estimates["median"] - 0.2, lower=0.35)
    for frame, marked in ((estimates, False), (low, True)):
        figure = label_fraction.draw_auroc_by_labels(frame, TITLES, SOURCES)
        for ax in figure.axes:
            assert any(text.get_text() == "chance" for text in ax.texts) == marked


@pytest.mark.parametrize("target", list(LABELED))
def test_figures_4_and_5_ring_the_chosen_budgets(estimates, target):
    figure = epochs.draw_auroc_by_epochs(estimates, target, TITLES, SOURCES)
    cells = estimates[(estimates["target"] == target) & (estimates["mode"] == "end_to_end")]
    assert len(figure.axes) == len(LABELED[target])
    for ax, percent in zip(figure.axes, LABELED[target], strict=True):
        own = cells[cells["percent"] == percent]
        rings = [line for line in ax.lines if line.get_markerfacecolor() == "none"]
        assert sorted(y for ring in rings for y in ring.get_ydata()) == sorted(
            own.loc[own["selected"], "median"]
        )
        drawn = np.concatenate([heights for heights, _ in error_bars(ax)])
        assert sorted(drawn) == sorted(own["median"])
        assert f"n = {LABELED[target][percent]:,}" in ax.get_title(loc="left")


def test_budgets_of_a_controls_source_leave_figures_4_and_5_as_they_are(estimates):
    none = estimates[(estimates["source"] == "none") & (estimates["mode"] == "end_to_end")]
    longer = none.assign(source="none-longer", epochs=7000)
    axes = [
        epochs.draw_auroc_by_epochs(frame, "spine", TITLES, SOURCES).axes[0]
        for frame in (estimates, pd.concat([estimates, longer], ignore_index=True))
    ]
    assert axes[0].get_xlim() == axes[1].get_xlim() and len(axes[0].lines) == len(axes[1].lines)
    assert 7000 not in axes[1].get_xticks()


def test_a_source_looks_the_same_in_every_figure(estimates):
    spine = estimates[estimates["source"].isin(["spine", "chest-small"])]
    colors = []
    for frame in (estimates, spine):
        ax = epochs.draw_auroc_by_epochs(frame, "spine", TITLES, SOURCES).axes[0]
        legend = ax.figure.legends[0]
        handles = zip(legend.get_texts(), legend.legend_handles, strict=True)
        colors.append({text.get_text(): (h.get_color(), h.get_marker()) for text, h in handles})
    assert colors[0]["MoCo on chest-small"] == colors[1]["MoCo on chest-small"]
    assert colors[0]["MoCo on spine"] == colors[1]["MoCo on spine"]


def test_bars_run_from_lower_to_upper_and_are_never_negative():
    lengths = style.bar_lengths([0.7, 0.7], [0.6, 0.75], [0.85, 0.8])
    np.testing.assert_allclose(lengths, [[0.1, 0], [0.15, 0.1]])


def test_looks_differ_in_color_and_in_marker():
    looks = style.source_looks([*SOURCES, "a", "b", "c", "d", "e"]).values()
    assert len({look.color for look in looks}) == len({look.marker for look in looks}) == len(looks)


def test_figure_3_draws_value_and_null_of_each_pair(draw, similarities):
    (ax,) = draw("layers").axes
    literal = similarities[similarities["measure"] == "svcca"]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["CV1", "DB1", "DB2", "DB3", "DB4"]
    for line, (_, own) in zip(ax.lines, literal.groupby(["dataset_a", "dataset_b"], sort=False), strict=True):
        np.testing.assert_allclose(line.get_ydata(), own["value"])
    assert len(ax.patches) == len(literal)
    for band in ax.patches:
        assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((0.15, 0.25))
    assert ax.get_ylim()[0] < 0.15


def test_measures_have_a_row_each_a_column_for_each_pair_and_both_directions(draw, similarities):
    figure = draw("measures")
    grid = np.array(figure.axes).reshape(4, 3)
    assert [ax.get_title() for ax in grid[0]] == [
        "VinDr-SpineXR – MIMIC-CXR",
        "VinDr-SpineXR – ImageNet",
        "MIMIC-CXR – ImageNet",
    ]
    shares = similarities[similarities["measure"] == "variance_share"]
    for ax, (a, b) in zip(grid[3], combinations(["spine", "chest", "natural"], 2), strict=True):
        values = [line.get_ydata() for line in ax.lines if line.get_marker() != "None"]
        for drawn, (first, second) in zip(values, ((a, b), (b, a)), strict=True):
            own = shares[(shares["dataset_a"] == first) & (shares["dataset_b"] == second)]
            np.testing.assert_allclose(drawn, own["value"])
    assert grid[2, 0].get_yscale() == "log"


def test_pixels_of_a_dataset_that_is_not_shareable_are_not_drawn():
    gray, color = np.full((8, 8), 7, np.uint8), np.zeros((8, 8, 3), np.uint8)
    figure = draw_pipeline({"spine": None, "chest": [gray], "natural": [color]})
    shown = [image.get_array().shape for image in figure.findobj(AxesImage)]
    # Chest: in spine+chest, in finetuning and in evaluation; natural: the initial weights.
    assert sorted(shown) == [(8, 8), (8, 8), (8, 8), (8, 8, 3)]
    texts = [text.get_text() for text in figure.findobj(mpl.text.Text)]
    assert sum("not\nshareable" in text for text in texts) == 4
    for number in ("5,872", "231,596", "58 to 5,872", "112 to 22,572", "2,077", "75,500"):
        assert any(number in text for text in texts)


def test_drawing_imports_neither_torch_nor_seaborn_nor_pyplot():
    code = (
        "import sys; from moco_transfer.plotting import epochs, label_fraction, pipeline, similarity; "
        "print(sorted({'torch', 'torchvision', 'seaborn', 'scipy', 'sklearn', 'matplotlib.pyplot'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
