"""The page of training curves: every training is a line in its panel."""

from __future__ import annotations

from types import SimpleNamespace

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
    """Return the lines of each panel by its quantity and what its horizontal axis says."""
    found, quantity = {}, ""
    for ax in figure.axes:
        quantity = ax.get_ylabel() or quantity  # the first of a row speaks for the others
        found[(ax.get_title(loc="left"), quantity, ax.get_xlabel())] = list(ax.get_lines())
    return found


def test_every_training_is_a_line_in_the_colour_of_its_source(curves, page):
    found = panels(page)
    looks = style.source_looks(SOURCES)
    moco = curves["moco"]
    last = {number: rows["epoch"].max() for number, rows in moco.groupby("training")}
    shares = moco.assign(epoch=[100 * row.epoch / last[row.training] for row in moco.itertuples()])
    expected = {
        ("MoCo", label, "Epochs done (%)"): shares.rename(columns={column: "value"})
        for column, label in training_curves.MOCO_METRICS.items()
    }
    probed = shares.rename(columns={"probe_spine": "value"}).dropna(subset="value")
    expected[("MoCo", "Probe AUROC, spine", "Epochs done (%)")] = probed
    expected[("Initial weights", "Cross entropy", "Epoch")] = curves["initial"].rename(
        columns={"loss": "value"}
    )
    for target in ("spine", "chest"):
        loss = {kind: each.rename(columns={"loss": "value"}) for kind, each in curves.items()}
        quantity = f"Training loss, {target}"
        linear, trained = loss["linear"], loss["end_to_end"]
        expected[("Linear", quantity, "Epoch")] = linear[linear["target"] == target]
        for budget in (1, 30):
            expected[("End to end", quantity, f"Epoch of {budget}")] = trained[
                (trained["target"] == target) & (trained["budget"] == budget)
            ]
    assert list(found) == list(expected)
    for name, lines in found.items():
        drawn = [(line.get_color(), list(line.get_xdata()), list(line.get_ydata())) for line in lines]
        assert sorted(drawn) == sorted(
            (looks[one["source"].iloc[0]].color, list(one["epoch"]), list(one["value"]))
            for _, one in expected[name].groupby("training")
        ), name


def test_lines_are_thicker_for_more_labels_and_end_in_a_marker(curves, page):
    lines = {
        tuple(line.get_ydata()): line for line in panels(page)[("Linear", "Training loss, spine", "Epoch")]
    }
    for _, rows in curves["linear"].query("target == 'spine'").groupby("training"):
        line, few = lines[tuple(rows["loss"])], rows["percent"].iloc[0] == "0.5"
        assert line.get_linewidth() == (training_curves.THIN if few else training_curves.THICK)
        assert line.get_marker() not in ("", "None") and line.get_markevery() == [-1]


def test_panels_of_one_target_share_a_scale_that_includes_all_losses(curves, page):
    for target in ("spine", "chest"):
        own = pd.concat(curves[kind] for kind in ("linear", "end_to_end")).query("target == @target")["loss"]
        (first,) = (ax for ax in page.axes if ax.get_ylabel() == f"Training loss, {target}")
        rows = first.get_shared_y_axes().get_siblings(first)
        assert len(rows) == 3
        for ax in rows:
            assert ax.get_ylim()[0] < own.min() and own.max() < ax.get_ylim()[1]
            assert len([tick for tick in ax.get_yticks() if own.min() / 1.2 < tick < own.max() * 1.2]) >= 2


def test_kinds_that_a_run_lacks_have_no_panels(curves):
    nothing = pd.DataFrame()
    some = curves | {"initial": nothing, "end_to_end": nothing, "moco": nothing}
    found = panels(training_curves.draw(some, SOURCES))
    assert {title for title, *_ in found} == {"Linear"}
    alone = dict.fromkeys(curves, nothing) | {"initial": curves["initial"]}
    assert len(panels(training_curves.draw(alone, SOURCES))) == 1


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
        "Epoch of 2",
        "on spine",
    ):
        assert words in drawn
    assert "Initial weights" not in drawn and "<image" not in drawn
