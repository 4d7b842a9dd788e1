"""The figure of coverage: every number has its point, equal input gives equal bytes."""

from __future__ import annotations

import made_up_figures
import pandas as pd
import pytest

from moco_transfer.plotting.coverage import NOTE, draw_coverage
from moco_transfer.report import style


@pytest.fixture
def coverage() -> pd.DataFrame:
    return made_up_figures.coverage()


def lines(ax) -> dict[tuple, list[float]]:
    """Return the heights of each line that has markers, by its colour and style."""
    drawn = [line for line in ax.get_lines() if line.get_marker() not in ("None", "")]
    return {(line.get_color(), line.get_linestyle()): list(line.get_ydata()) for line in drawn}


def test_each_series_is_drawn_and_both_units_start_at_one_image(coverage):
    left, right = draw_coverage(coverage, [5, 95]).axes
    assert len(lines(left)) == len(lines(right)) == 4
    of_one = 100 * coverage[(coverage["study"] == "patients") & (coverage["images"] == 1)]["coverage"]
    assert sorted({heights[0] for heights in lines(right).values()}) == pytest.approx(sorted(of_one))
    heights = sorted(height for each in lines(left).values() for height in each)
    assert heights == pytest.approx(sorted(100 * coverage[coverage["study"] == "positives"]["coverage"]))


def test_the_band_is_that_of_the_number_of_trials(coverage):
    for trials, half in ((1000, 1.859), (100, 5.880)):
        left, _ = draw_coverage(coverage.assign(trials=trials), [5, 95]).axes
        (band,) = left.patches
        assert [band.get_y(), band.get_y() + band.get_height()] == pytest.approx(
            [90 - half, 90 + half], abs=1e-3
        )


def test_equal_tables_give_equal_files_that_say_that_no_image_entered(coverage, tmp_path):
    kinds, contents = ("pdf", "svg", "png"), []
    for attempt in range(2):
        paths = [tmp_path / f"{attempt}.{kind}" for kind in kinds]
        style.save(draw_coverage(coverage, [2.5, 97.5]), *paths)
        contents.append([path.read_bytes() for path in paths])
    assert contents[0] == contents[1]
    assert NOTE.encode() in contents[0][1] and b"95% interval" in contents[0][1]
