"""The grid of trainings: the paper's counts, and what the controls add to them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import yaml

from moco_transfer.config.experiment import check
from moco_transfer.errors import UserError
from moco_transfer.experiment import all_sources, finetuning_jobs
from moco_transfer.training.schedule import epochs_for_steps

CONFIG = Path(__file__).parents[2] / "config"


def merged(base, overlay):
    if not (isinstance(base, dict) and isinstance(overlay, dict)):
        return overlay
    return {
        key: merged(base[key], overlay[key])
        if key in base and key in overlay
        else overlay.get(key, base.get(key))
        for key in [*base, *(key for key in overlay if key not in base)]
    }


def raw(*overlays: dict) -> dict:
    configuration = yaml.safe_load((CONFIG / "config.yaml").read_text())
    for overlay in overlays:
        configuration = merged(configuration, overlay)
    return configuration


@pytest.fixture(scope="module")
def controls():
    return yaml.safe_load((CONFIG / "controls.yaml").read_text())


def counts(config):
    return Counter(job[1] for target in config.targets for job in finetuning_jobs(config, target))


def test_the_papers_grid_has_99_linear_and_84_end_to_end_jobs():
    assert counts(check(raw())) == {"linear": 99, "end_to_end": 84}


def test_controls_add_their_cells_and_their_sources(controls):
    config = check(raw(controls))
    # chest-as-spine in 7 cells, limited-steps in 2, none-longer in 2; three seeds each.
    assert counts(config) == {"linear": 99 + 3 * (7 + 2), "end_to_end": 84 + 3 * 2}
    assert all_sources(config) == [
        *["none", "spine", "chest", "spine+chest", "limited", "chest-as-spine"],
        *["limited-steps", "none-longer"],
    ]
    jobs = finetuning_jobs(config, "spine", ["end_to_end"])
    assert ("none-longer", "end_to_end", "1", 3) in jobs
    assert not [job for job in jobs if job[0] in ("chest-as-spine", "limited-steps")]


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ({"controls": {"steps": {"spine": ["7"]}}}, "controls.steps.spine: '7' is not in targets.spine.percents"),
        ({"controls": {"budget": {"knee": ["1"]}}}, "controls.budget: 'knee' is not a target"),
        ({"controls": {"size": {"small": {"dataset": "chest", "as_many_as": "knee"}}}, "pretraining": {"schedules": {"small": {"epochs": 1, "batch": 8, "lr": 1, "bn_groups": 1}}}}, "'knee' is not a dataset"),
        ({"controls": {"size": {"small": {"dataset": "chest", "as_many_as": "spine"}}}}, "pretraining.schedules: 'small' is missing"),
        ({"controls": {"size": {"chest": {"dataset": "chest", "as_many_as": "spine"}}}}, "a source already has this name"),
        ({"sources": {"none-longer": []}}, "'none-longer' is built in"),
        ({"pretraining": {"ranks": 3}}, "bn_groups is 2, not a multiple of pretraining.ranks, 3"),
    ],
)  # fmt: skip
def test_controls_that_do_not_fit_are_named(overlay, message):
    with pytest.raises(UserError) as error:
        check(raw(overlay))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_control_is_taken_out_by_null(controls):
    config = check(raw(controls, {"controls": {"size": {"chest-as-spine": None}}}))
    assert "chest-as-spine" not in all_sources(config)


@pytest.mark.parametrize(
    ("epochs", "batch", "images", "fewer", "expected"),
    [
        (500, 64, 5872, 58, 45_500),  # 91 steps an epoch, of one
        (500, 64, 5872, 587, 5_056),  # of nine: 45,500 / 9 is not whole, and never fewer steps
        (100, 256, 225_720, 112, 88_100),
        (3, 16, 100, 100, 3),
    ],
)
def test_epochs_for_steps(epochs, batch, images, fewer, expected):
    assert epochs_for_steps(epochs, batch, images, fewer) == expected
