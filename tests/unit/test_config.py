"""The configuration: its errors in one line, its reference, and the grid of trainings that it asks for."""

from __future__ import annotations

import copy
import functools
from collections import Counter
from pathlib import Path

import pytest
import yaml

from moco_transfer.config.experiment import check, merge
from moco_transfer.config.reference import reference
from moco_transfer.errors import UserError
from moco_transfer.experiment import all_sources, finetuning_jobs
from moco_transfer.training.schedule import epochs_for_steps

CONFIG = Path(__file__).parents[2] / "config"


def overlay(name: str) -> dict:
    return yaml.safe_load((CONFIG / f"{name}.yaml").read_text())


def raw(*overlays: dict) -> dict:
    """Return the paper's configuration with ``overlays``, merged as Snakemake merges them."""
    return functools.reduce(merge, overlays, overlay("config"))


@pytest.mark.parametrize("overlays", [[], ["nih"], ["demo"], ["demo", "nih-sample"]], ids="+".join)
def test_every_configuration_of_the_repository_is_valid(overlays):
    check(raw(*map(overlay, overlays)))


def changed(base, path, value):
    result = copy.deepcopy(base)
    section = result
    *parents, last = path.split(".")
    for key in parents:
        section = section[key]
    if value is KeyError:
        del section[last]
    else:
        section[last] = value
    return result


@pytest.mark.parametrize(
    "path, value, message",
    [
        ("sede", 1, "unknown key 'sede'; did you mean 'seed'?"),
        ("datasets.spine.store.siez", 1, "unknown key 'datasets.spine.store.siez'; did you mean 'size'?"),
        ("seed", KeyError, "'seed' is missing"),
        ("targets.spine.percents", [5], "'targets.spine.percents.0': write it in quotes, .5."),
        ("targets.spine.percents", ["101"], "targets.spine.percents"),
        ("targets.spine.limited", ["2"], "targets.spine.limited: '2' is not in targets.spine.percents"),
        ("datasets.spine.split.train", 0.5, "add up to 0.8, not 1"),
        ("sources.hip", ["hip"], "sources.hip: 'hip' is not a dataset"),
        ("sources.limited", ["spine"], "'limited' is built in"),
        ("datasets.spine.root", None, "either 'root' or 'phantom'"),
        ("model.initial_weights.url", None, "kind 'download' needs 'url'"),
        ("model.input_size", 300, "store.size must be at least model.input_size"),
        ("evaluation.percentiles", [5], "evaluation.percentiles"),
        ("evaluation.percentiles", [95, 5], "smaller percentile must come first"),
        ("model.name", "densenet999", "model.name"),
        ("pretraining.schedules.chest.bn_groups", 200, "too small for 200 bn_groups"),
        ("targets.spine.percents", ["1", "10", "1.0"], "the same percentage is listed twice"),
        ("datasets.natural.phantom", {"images": 5, "size": 64}, "either 'root' or 'phantom'"),
        ("targets.natural", {"percents": ["10"], "limited": []}, "finetune.optimizers"),
        ("datasets.chest.store.size", 320, "sources.spine.chest: all its datasets need the same store.size"),
    ],
)
def test_a_wrong_key_or_value_is_named_in_one_line(path, value, message):
    with pytest.raises(UserError, match=message) as caught:
        check(changed(raw(), path, value))
    assert "\n" not in str(caught.value)


def test_an_entry_is_taken_out_by_null():
    found = check(raw({"targets": {"chest": None}, "sources": {"spine+chest": None}}))
    assert list(found.targets) == ["spine"] and list(found.sources) == ["none", "spine", "chest"]


def test_the_reference_of_the_configuration_is_in_step():
    assert (CONFIG / "README.md").read_text() == reference(), "run: python -m moco_transfer.config.reference"


@pytest.fixture(scope="module")
def controls():
    return overlay("controls")


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
    ("changes", "message"),
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
def test_controls_that_do_not_fit_are_named(changes, message):
    with pytest.raises(UserError) as error:
        check(raw(changes))
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
