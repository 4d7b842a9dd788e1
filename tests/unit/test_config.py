"""The configuration: its errors in one line, its reference, and the grid of trainings that it asks for."""

from __future__ import annotations

import copy
import functools
from collections import Counter
from datetime import date
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
        ("dataset", {}, "unknown key 'dataset'; did you mean 'datasets'?"),
        ("seed", KeyError, "'seed' is missing"),
        ("datasets.chest.adapter", "tabel", "'datasets.chest.adapter': .*found 'tabel'"),
        (
            "datasets.chest.split.test",
            "Official",
            "'datasets.chest.split.test': expected a share .*or official",
        ),
        ("datasets.chest.root", " ", "'datasets.chest.root': expected a path"),
        ("datasets.chest.root", "/a\nb", "'datasets.chest.root': .*cannot be printed"),
        ("finetune.optimizers.spine.batch", 1, "'finetune.optimizers.spine.batch': .*equal to 2"),
        ("controls", None, "'controls': expected a section of keys and values"),
        ("sources.spine", ["spine", "spine"], "sources.spine: spine is listed twice"),
        ("similarity.datasets", ["chest", "chest"], "similarity.datasets: chest is listed twice"),
        ("finetune.end_to_end.budgets", [5, 5], "finetune.end_to_end.budgets: 5 is listed twice"),
        ("targets.spine.percents", [5], "'targets.spine.percents.0': write it in quotes; .* the number 5"),
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
        ("targets.spine.percents", ["1", "10", "1.0"], "is listed twice"),
        ("targets.natural", {"percents": ["10"], "limited": []}, "finetune.optimizers"),
        ("datasets.chest.store.size", 320, "sources.spine.chest: all its datasets need the same store.size"),
        ("run", "My run", "'run': a name has up to 63 characters a-z"),
        ("data", "../x", "'data': a name has"),
        ("run", 2024, "'run': write it in quotes; .* the number 2024"),
        ("run", date(2024, 1, 1), "'run': write it in quotes; .* the date 2024-01-01"),
        # YAML reads on, off, yes and no as truth values.
        (
            "datasets",
            {True: {}},
            "'datasets.True': write it in quotes; .* YAML reads on, yes and true as True",
        ),
        ("sources", {False: []}, "'sources.False': write it in quotes; .* off, no and false as False"),
        ("sources.chest", [True], "'sources.chest.0': write it in quotes"),
        ("sources", {None: []}, "'sources.None': write it in quotes; .* as null"),
        ("targets", {1: {}}, "'targets.1': write it in quotes; .* the number 1"),
        ("targets.spine.percents", [True], "write it in quotes; without them, YAML reads on"),
        (
            "finetune.optimizers.spine.lr",
            float("inf"),
            "'finetune.optimizers.spine.lr': Input should be a finite",
        ),
        ("evaluation.margin", float("nan"), "finite number"),
        ("moco.augment", [{"rotate": float("inf")}, {"crop": "random"}], "'moco.augment.0.rotate': .*finite"),
        ("datasets.spine.root", "$NO_SUCH_VARIABLE/x", "the environment has no variable .NO_SUCH_VARIABLE"),
        ("datasets.spine.root", "", "'datasets.spine.root': expected a path"),
        ("model.initial_weights.url", "weights.pth", "expected an address that begins with https://"),
        ("model.initial_weights.sha256", "A639", "expected up to 64 digits"),
        ("sources.natural", ["natural"], "sources.natural: MoCo's augmentations need grey images"),
        ("datasets.spine.split.validation", "official", "the shares add up"),
        ("datasets.spine.views", ["AP"], "this dataset names no views; set views to null"),
        ("datasets.chest.views", [], "'datasets.chest.views'"),
    ],
)
def test_a_wrong_key_or_value_is_named_in_one_line(path, value, message):
    with pytest.raises(UserError, match=message) as caught:
        check(changed(raw(), path, value))
    assert "\n" not in str(caught.value)


TABLE = {"adapter": "table", "root": "/own", "table": {"file": "a.csv", "path": "p", "labels": ["l"]}}


def origin(name: str, *overlays: dict) -> tuple[str, bool]:
    dataset = check(raw(*overlays)).datasets[name]
    return dataset.title, dataset.shareable


@pytest.mark.parametrize(
    ("name", "overlays", "expected"),
    [
        # what the shipped configurations say
        ("spine", [], ("VinDr-SpineXR", False)),
        ("spine", ["demo"], ("Spine phantoms", True)),
        ("chest", ["demo"], ("Chest phantoms", True)),
        ("natural", ["demo"], ("Natural phantoms", True)),
        ("natural", ["nih"], ("Natural phantoms", True)),
        ("chest", ["nih"], ("NIH ChestX-ray14", True)),
        ("chest", ["demo", "nih-sample"], ("NIH ChestX-ray14", True)),
        # a root over phantoms, phantoms over a root, another adapter over a release
        ("chest", ["demo", {"root": "/mimic"}], ("MIMIC-CXR", False)),
        ("chest", ["demo", {"root": "/mimic", "phantom": None}], ("MIMIC-CXR", False)),
        ("natural", ["nih", {"root": "/photos"}], ("ImageNet", False)),
        ("chest", ["demo", TABLE], ("chest", False)),
        ("chest", [TABLE], ("chest", False)),
        ("chest", ["demo", "nih-sample", TABLE], ("chest", False)),
        ("chest", [{"title": " "}], ("chest", False)),
        ("chest", ["nih", {**TABLE, "split": {"test": 0.125, "train": 0.75}}], ("chest", False)),
        ("natural", [{"root": None, "phantom": {"images": 9, "size": 40}}], ("Natural phantoms", True)),
        # what is said stands
        ("chest", ["demo", {"title": "Mine", "shareable": False}], ("Mine", False)),
        ("chest", ["demo", {**TABLE, "title": "Mine", "shareable": True}], ("Mine", True)),
    ],
)
def test_a_title_and_shareable_belong_to_the_images(name, overlays, expected):
    files = [overlay(each) if isinstance(each, str) else {"datasets": {name: each}} for each in overlays]
    assert origin(name, *files) == expected


def test_no_shipped_phantom_says_its_title_or_that_it_is_shareable():
    for file in ("demo", "nih", "nih-sample"):
        for dataset in overlay(file)["datasets"].values():
            assert not (dataset and "phantom" in dataset and {"title", "shareable"} & dataset.keys())


def test_an_official_split_needs_images_that_are_in_it():
    official = {"split": {"train": 1.0, "validation": "official", "test": "official"}}
    with pytest.raises(
        UserError, match=r"split.validation is 'official', but table.official_split names no column"
    ):
        check(raw({"datasets": {"chest": TABLE | official}}))
    with pytest.raises(UserError, match="this release has no official validation images"):
        check(raw({"datasets": {"spine": official}}))
    named = TABLE | {"table": {**TABLE["table"], "official_split": "s"}}
    check(raw({"datasets": {"chest": named | official}}))


def test_a_root_has_its_variables_replaced_unless_it_exists_as_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")

    def root(text):
        return check(raw({"datasets": {"spine": {"root": text}}})).datasets["spine"].root

    assert root("~/a b") == "/home/me/a b" and root("${HOME}/x") == root("$HOME/x") == "/home/me/x"
    assert root("/x/{y} <run> #%'\"") == "/x/{y} <run> #%'\""
    (tmp_path / "$HOME").mkdir()
    assert root("$HOME") == "$HOME"


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
