"""The page of training curves: every source is a line in its panel."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import training_curves
from made_up_figures import training_tables
from matplotlib.lines import Line2D

from moco_transfer.report import style

SOURCES = {"none": "initial", "spine": "moco", "chest": "moco", "limited": "moco"}
NOTE = "Phantom data"


@pytest.fixture(scope="module")
def curves() -> dict[str, pd.DataFrame]:
    return training_tables(SOURCES)


@pytest.fixture(scope="module")
def page(curves):
    return training_curves.draw(curves, SOURCES, NOTE)


def panels(figure) -> dict[tuple[str, str], list[Line2D]]:
    """Return the lines of each panel by its title and quantity."""
    found, quantity = {}, ""
    for ax in figure.axes:
        quantity = ax.get_ylabel() or quantity  # the first of a row speaks for the others
        found[(ax.get_title(loc="left"), quantity)] = list(ax.get_lines())
    return found


def test_a_line_is_the_mean_of_a_source_in_its_colour(curves, page):
    found = panels(page)
    looks = style.source_looks(SOURCES)
    expected = {
        ("MoCo", label): (curves["moco"], name) for name, label in training_curves.MOCO_METRICS.items()
    }
    expected[("MoCo", "Probe AUROC, spine")] = (curves["moco"].dropna(subset="probe_spine"), "probe_spine")
    expected[("Initial weights", "Cross entropy")] = (curves["initial"], "loss")
    longest = curves["end_to_end"].query("budget == 30")
    for target in ("spine", "chest"):
        for title, table in (("Linear", curves["linear"]), ("End to end", longest)):
            for percent in ("0.5", "10"):
                own = table[(table["target"] == target) & (table["percent"] == percent)]
                expected[(f"{title}, {percent}%", f"Training loss, {target}")] = (own, "loss")
    assert list(found) == list(expected)
    for name, lines in found.items():
        table, column = expected[name]
        drawn = {line.get_color(): line for line in lines}
        assert len(drawn) == len(lines)
        assert drawn.keys() == {looks[source].color for source in table["source"]}, name
        for source, own in table.groupby("source"):
            line, means = drawn[looks[source].color], own.groupby("epoch")[column].mean()
            assert list(line.get_ydata()) == pytest.approx(list(means))
            assert list(line.get_xdata()) == pytest.approx(list(100 * means.index / own["epoch"].max()))
            assert line.get_marker() not in ("", "None") and line.get_markevery() == [-1]


def test_a_course_is_the_mean_over_trainings_with_the_lowest_and_the_highest():
    trainings = pd.DataFrame({"training": [1, 1, 2, 2], "epoch": [1, 2, 1, 2], "loss": [1.0, 0.5, 3.0, 0.7]})
    course = training_curves.mean_course(trainings, "loss")
    assert list(course.index) == [50, 100]
    np.testing.assert_allclose(course, [[2, 1, 3], [0.6, 0.5, 0.7]])


def test_a_long_course_has_few_points_each_the_mean_of_its_epochs():
    trainings = pd.DataFrame({"training": 1, "epoch": range(1, 151), "loss": np.arange(150.0)})
    course = training_curves.mean_course(trainings, "loss")
    assert len(course) == 50 <= training_curves.MOST_POINTS
    assert course["mean"].iloc[0] == 1 and course["mean"].iloc[-1] == 148
    assert course.index[0] == 2 and course.index[-1] == 100


def test_panels_of_one_target_share_a_scale_that_includes_all_losses(curves, page):
    for target in ("spine", "chest"):
        own = pd.concat(curves[kind] for kind in ("linear", "end_to_end")).query("target == @target")["loss"]
        (first,) = (ax for ax in page.axes if ax.get_ylabel() == f"Training loss, {target}")
        rows = first.get_shared_y_axes().get_siblings(first)
        assert len(rows) == 4
        for ax in rows:
            assert ax.get_ylim()[0] < own.min() and own.max() < ax.get_ylim()[1]
            assert len([tick for tick in ax.get_yticks() if own.min() / 1.2 < tick < own.max() * 1.2]) >= 2


def test_kinds_that_a_run_lacks_have_no_panels(curves):
    nothing = pd.DataFrame()
    some = curves | {"initial": nothing, "end_to_end": nothing, "moco": nothing}
    found = panels(training_curves.draw(some, SOURCES))
    assert {title for title, _ in found} == {"Linear, 0.5%", "Linear, 10%"}
    alone = dict.fromkeys(curves, nothing) | {"initial": curves["initial"]}
    assert len(panels(training_curves.draw(alone, SOURCES))) == 1


def test_logistic_regressions_have_no_course_and_no_panel(curves):
    last = curves["linear"][curves["linear"]["epoch"] == curves["linear"]["epoch"].max()]
    found = panels(training_curves.draw(curves | {"linear": last}, SOURCES))
    assert {title for title, _ in found} >= {"MoCo", "End to end, 10%"}
    assert not any("Linear" in title for title, _ in found)
    alone = training_curves.draw(dict.fromkeys(curves, pd.DataFrame()) | {"linear": last}, SOURCES, NOTE)
    assert [text.get_text() for text in alone.texts] == [NOTE, "No training of this run has epochs."]


def test_the_script_reads_the_tables_of_all_kinds_and_writes_equal_bytes(tmp_path):
    (tmp_path / "moco.csv").write_text(
        "epoch,loss,lr,contrast_accuracy,alignment,uniformity,probe_spine\n"
        "1,4.5,0.01,0.1,0.6,-1.3,\n2,3.5,0.005,0.3,0.5,-1.9,0.75\n"
    )
    (tmp_path / "linear.csv").write_text("epoch,loss,lr\n1,0.7,0.01\n2,0.6,0.001\n")
    (tmp_path / "end_to_end.csv").write_text("budget,epoch,loss,lr\n1,1,0.7,0.1\n2,1,0.7,0.1\n2,2,0.5,0.1\n")
    cell = {"source": "spine", "target": "chest", "percent": "10"}
    names = {"initial": [], "moco": [{"source": "spine"}], "linear": [cell], "end_to_end": [cell]}
    written = []
    for attempt in range(2):
        outputs = [tmp_path / f"{attempt}.{kind}" for kind in ("pdf", "svg", "png")]
        inputs = {kind: [tmp_path / f"{kind}.csv"] * len(names[kind]) for kind in names}
        training_curves.main(inputs, outputs, SimpleNamespace(trainings=names, sources=SOURCES, note=NOTE))
        written.append([path.read_bytes() for path in outputs])
    assert written[0] == written[1]
    drawn = written[0][1].decode()
    for words in (
        NOTE,
        "InfoNCE loss",
        "Probe AUROC, spine",
        "Training loss, chest",
        "Epochs done",
        "on spine",
    ):
        assert words in drawn
    assert "Initial weights" not in drawn and "<image" not in drawn
