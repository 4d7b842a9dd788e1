"""The configuration: its errors in one line, its reference, and the grid of trainings that it asks for."""

from __future__ import annotations

import copy
import functools
import subprocess
import sys
from collections import Counter
from datetime import date
from pathlib import Path

import pytest
import yaml

from moco_transfer.config.composition import composed, merge, read_config, read_yaml
from moco_transfer.config.encoders import architectures
from moco_transfer.config.experiment import check
from moco_transfer.config.reference import reference
from moco_transfer.errors import UserError
from moco_transfer.experiment import (
    all_sources,
    carded_datasets,
    encoder_fold,
    figure_names,
    finetuning_jobs,
    initial_datasets,
    pretrainings,
    training_datasets,
)
from moco_transfer.training.schedule import epochs_for_steps

CONFIG = Path(__file__).parents[2] / "config"


def overlay(name: str) -> dict:
    return yaml.safe_load((CONFIG / f"{name}.yaml").read_text())


def raw(*overlays: dict) -> dict:
    """Return the paper's configuration with ``overlays``, merged as Snakemake merges them."""
    return composed(functools.reduce(merge, overlays, {}))


@pytest.mark.parametrize("overlays", [[], ["nih"], ["demo"], ["demo", "nih-sample"]], ids="+".join)
def test_every_configuration_of_the_repository_is_valid(overlays):
    check(raw(*map(overlay, overlays)))


def test_the_catalogues_test_is_the_smallest_run():
    assert read_config([CONFIG.parent / ".test/config/config.yaml"]) == read_config(
        [CONFIG / "demo.yaml", CONFIG.parent / "tests/workflow/tiny.yaml"]
    )


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
        ("targets.spine.end_to_end", ["2"], "targets.spine.end_to_end: '2' is not in targets.spine.percents"),
        ("targets.spine.end_to_end", [], "'targets.spine.end_to_end'"),
        ("datasets.spine.split.train", 0.5, "add up to 0.8, not 1"),
        ("sources.hip", ["hip"], "sources.hip: 'hip' is not a dataset"),
        ("sources.limited", ["spine"], "'limited' is built in"),
        ("sources.none", ["spine"], "sources.none: this name stands for the initial weights"),
        ("datasets.spine.root", None, "either 'root' or 'phantom'"),
        ("model.crop", 300, "store.size .or model.stored. must be at least model.crop"),
        ("evaluation.percentiles", [5], "evaluation.percentiles"),
        ("evaluation.percentiles", [95, 5], "smaller percentile must come first"),
        ("pretraining.schedules.chest.bn_groups", 200, "too small for 200 bn_groups"),
        ("targets.spine.percents", ["1", "10", "1.0"], "is listed twice"),
        ("finetune.optimizers.default", KeyError, "'default' is missing"),
        ("pretraining.schedules.default", KeyError, "'default' is missing"),
        ("sources.default", ["chest"], "'default' stands for"),
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
        ("model.initial_weights", ["chest"], "'model.initial_weights': expected a section"),
        ("model.initial_weights.encoder", "densenet999", "'model.initial_weights.encoder': .*did you mean"),
        ("model.initial_weights.trained_on", ["hip"], "model.initial_weights.trained_on: 'hip' is not"),
        ("model.initial_weights.sha256", "A639", "expected up to 64 digits"),
        ("datasets.spine.split.validation", "official", "the shares add up"),
        ("datasets.spine.views", ["AP"], "this dataset names no views; set views to null"),
        ("datasets.chest.views", [], "'datasets.chest.views'"),
        (
            "datasets.chest.split.folds",
            4,
            "'datasets.chest.split': with folds: 4, test must be 0.25, .*it is 0.2",
        ),
        ("datasets.chest.split.folds", 0, "datasets.chest.split.folds"),
        ("datasets.spine.split.folds", 5, "need shares, not 'official'"),
        (
            "datasets.natural.split",
            {"unit": "image", "train": 0.6, "validation": 0.2, "test": 0.2, "folds": 5},
            "datasets.natural.split.folds: only a target has folds",
        ),
    ],
)
def test_a_wrong_key_or_value_is_named_in_one_line(path, value, message):
    with pytest.raises(UserError, match=message) as caught:
        check(changed(raw(), path, value))
    assert "\n" not in str(caught.value)


def test_encoders_that_see_a_target_are_trained_in_each_of_its_folds_and_others_once():
    split = {"unit": "patient", "train": 0.6, "validation": 0.2, "test": 0.2, "folds": 5}
    config = check(changed(raw(), "datasets.chest.split", split))
    trained = Counter(each.source for each in pretrainings(config))
    assert trained == {"spine": 1, "chest": 5, "spine+chest": 5}
    folds = [1, 2, 3, 4, 5]
    assert {job.fold for job in finetuning_jobs(config, "chest")} == set(folds)
    assert {job.fold for job in finetuning_jobs(config, "spine")} == {1}
    for source, starts in (("chest", folds), ("spine+chest", folds), ("spine", [1] * 5), ("none", [1] * 5)):
        assert [encoder_fold(config, source, "chest", fold) for fold in folds] == starts
    size = {"few": {"dataset": "chest", "as_many_as": "spine"}}
    with pytest.raises(UserError, match=r"controls\.size\.few: chest has split\.folds"):
        check(raw({"datasets": {"chest": {"split": split}}, "controls": {"size": size}}))


def test_colour_datasets_are_sources_targets_and_controls_alone_and_with_grey_ones():
    schedule = {"epochs": 1, "batch": 64, "lr": 0.1, "bn_groups": 1}
    photos = raw()["datasets"]["natural"] | {"split": raw()["datasets"]["chest"]["split"]}
    colour = {
        "datasets": {"photos": photos},
        "targets": {"photos": {"percents": ["10"], "limited": ["10"]}},
        "sources": {"natural": ["natural"], "chest+natural": ["chest", "natural"]},
        "moco": {"augment": "moco_v2"},
        "pretraining": {"schedules": dict.fromkeys(["natural", "chest+natural", "photos", "few"], schedule)},
        "finetune": {"optimizers": {"photos": raw()["finetune"]["optimizers"]["chest"]}},
        "controls": {
            "size": {"few": {"dataset": "natural", "as_many_as": "spine"}},
            "steps": {"photos": ["10"]},
        },
    }
    config = check(raw(colour))
    assert config.datasets["natural"].store.colour and config.moco_sources["natural"] == ["natural"]
    with pytest.raises(
        UserError, match=r"sources\.chest\+natural: all its datasets need the same store\.size"
    ):
        check(changed(raw(colour), "datasets.natural.store.size", 320))


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
        ("natural", ["nih", {"root": "/photos"}], ("natural", False)),
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
    for file in ("demo", "nih-sample", "data/natural-phantoms"):
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


LEARNT = {"classes_of": "natural", "epochs": 1, "batch": 2, "lr": 0.1}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"encoder": "resnet51"}, "'sources.x.encoder': timm has no network of this name; did you mean .*resnet50"),
        ({"encoder": "zzzz"}, "'sources.x.encoder': timm has no network of this name; .*list_models"),
        ({"encoder": "densenet_small", "weights": "pretrained"}, "'sources.x': nobody publishes weights of densenet_small"),
        ({"weights": "hf-hub:org/name"}, "'sources.x.weights': expected hf-hub:ORG/NAME@REVISION"),
        ({"weights": 5}, "'sources.x.weights': write it in quotes"),
        ({"weights": ["a.pth"]}, "'sources.x.weights': .*string"),
        ({"weights": None}, "'sources.x.weights': .*string"),
        ({"weights": ""}, "'sources.x.weights': expected a path"),
        ({"weights": {"classes_of": "natural"}}, "'sources.x.weights.epochs' is missing"),
        ({"weights": LEARNT | {"epoch": 2}}, "unknown key 'sources.x.weights.epoch'; did you mean 'epochs'"),
        ({"encoder": "densenet_small.a1_in1k"}, "sources.x.encoder"),
        ({"input": {"mean": 127.5}}, "sources.x.input.mean"),
        ({"input": {"std": 58}}, "sources.x.input.std"),
        ({"weights": LEARNT | {"classes_of": "hip"}}, "sources.x.weights.classes_of: 'hip' is not a dataset"),
        ({"weights": LEARNT | {"classes_of": "chest"}}, "sources.x.weights.classes_of: .*exactly one class"),
        ({"sha256": "a639"}, "'sources.x': 'sha256' has no meaning for these weights"),
        ({"file": "model.bin"}, "'sources.x': 'file' has no meaning for these weights"),
        ({"weights": "a.pth", "sha256": "A639"}, "'sources.x.sha256': expected up to 64 digits"),
        ({"trained_on": ["hip"]}, "sources.x.trained_on: 'hip' is not a dataset or an adapter; .*nih_chestxray14"),
        ({"trained_on": ["image_folder"]}, "sources.x.trained_on: 'image_folder' is not"),
        ({"chanels": 1}, "unknown key 'sources.x.chanels'; did you mean 'channels'"),
        ({"input": {"sise": 224}}, "unknown key 'sources.x.input.sise'; did you mean 'size'"),
        ({"input": 224}, "'sources.x.input': expected a section"),
        ({"input": {"size": 16}}, "'sources.x.input.size': .*32"),
        ({"input": {"std": 0}}, "'sources.x.input.std.0': .*greater than 0"),
        ({"channels": 1, "input": {"mean": [0, 0, 0]}}, "'sources.x': input.mean has 3 values for 1 channels"),
        ({"channels": 2}, "'sources.x.channels': .*1 or 3"),
        ({"match": "names"}, "'sources.x.match'"),
    ],
)  # fmt: skip
def test_a_mistake_in_an_encoder_is_named_in_one_line(change, message):
    encoder = {"encoder": "resnet50", "weights": "random"} | change
    with pytest.raises(UserError, match=message) as caught:
        check(raw({"sources": {"x": encoder}}))
    assert "\n" not in str(caught.value) and "<" not in str(caught.value)


@pytest.mark.parametrize(
    "sources, message",
    [
        ({"initial": {"encoder": "resnet50", "weights": "random"}}, "'initial' is built in"),
        ({"initial": []}, "'initial' is built in"),
        ({"x": "chest"}, "'sources.x': .*list"),
        ({"x": [{"encoder": "resnet50"}]}, "'sources.x.0': "),
        ({"x": {"weights": "random"}}, "'sources.x.encoder' is missing"),
        ({"x": {"encoder": "resnet50"}}, "'sources.x.weights' is missing"),
    ],
)
def test_a_source_is_a_list_of_datasets_or_an_encoder(sources, message):
    with pytest.raises(UserError, match=message) as caught:
        check(raw({"sources": sources}))
    assert "\n" not in str(caught.value) and "<" not in str(caught.value)


def test_sources_are_encoders_beside_lists_of_datasets():
    given = {
        "vit": {"encoder": "vit_tiny_patch16_224", "weights": "random", "input": {"mean": 0.5}},
        "hub": {
            "encoder": "resnet50.a1_in1k",
            "weights": "hf-hub:timm/resnet50.a1_in1k@0a1b",
            "file": "a.bin",
        },
        "file": {"encoder": "densenet121", "weights": "~/w.pth", "trained_on": ["chest", "nih_chestxray14"]},
        "web": {"encoder": "densenet121", "weights": "https://host/w.pth", "sha256": "a639"},
        "timm": {"encoder": "densenet121.tv_in1k", "weights": "pretrained"},
        "learnt": {"encoder": "densenet_small", "weights": LEARNT},
    }
    config = check(raw({"sources": given}))
    assert list(config.moco_sources) == ["none", "spine", "chest", "spine+chest"]
    assert {name: encoder.kind for name, encoder in config.encoders.items()} == {
        "initial": "address",
        "vit": "random",
        "hub": "hub",
        "file": "file",
        "web": "address",
        "timm": "pretrained",
        "learnt": "supervised",
    }
    assert list(all_sources(config)) == ["none", *given, "spine", "chest", "spine+chest", "limited"]
    assert config.sources["vit"].input.mean == [0.5]
    assert not config.sources["file"].weights.startswith("~")
    assert check(config.model_dump()) == config


def test_an_overlay_that_names_an_encoder_replaces_the_whole_entry():
    url = raw()["model"]["initial_weights"]
    assert {"weights", "sha256"} <= url.keys()
    other = {"encoder": "resnet50", "weights": "random"}
    assert raw({"model": {"initial_weights": other}})["model"]["initial_weights"] == other
    # Without its name, the others of its keys stay.
    changed = raw({"model": {"initial_weights": {"weights": "w.pth"}}})["model"]["initial_weights"]
    assert changed == url | {"weights": "w.pth"}
    sources = {"chest": other}, {"chest": {"input": {"size": 64}}}, {"chest": ["chest"]}
    found = [raw(*({"sources": each} for each in sources[:n]))["sources"]["chest"] for n in range(4)]
    assert found == [["chest"], other, other | {"input": {"size": 64}}, ["chest"]]


def test_the_architectures_are_timms_and_are_known_without_importing_it():
    import timm

    assert set(architectures()) == {"densenet_small", *timm.list_models()}
    script = (
        "import sys; from moco_transfer.config.encoders import architectures; "
        "print('resnet50' in architectures(), {'torch', 'timm', 'torchvision'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert found == "True set()\n"


@pytest.fixture(scope="module")
def controls():
    return overlay("controls")


def counts(config):
    return Counter(job[1] for target in config.targets for job in finetuning_jobs(config, target))


def test_the_papers_grid_has_99_linear_and_84_end_to_end_jobs():
    assert counts(check(raw())) == {"linear": 99, "end_to_end": 84}


@pytest.mark.parametrize(
    ("overlays", "of_networks"),
    [((), ["knee", "child-chest"]), (("open-small",), ["knee", "child-chest", "natural"])],
)
def test_generated_images_are_behind_a_network_only_if_they_trained_one(overlays, of_networks):
    images = {"datasets": {"knee": {"root": "."}, "child-chest": {"root": "."}}}
    config = check(raw(*map(overlay, ("open-cpu", *overlays)), images))
    assert sorted(training_datasets(config)) == sorted(of_networks)
    assert set(carded_datasets(config)) == {"knee", "child-chest", "natural"}


def test_a_target_may_be_finetuned_end_to_end_at_some_percentages_only():
    fewer = raw({"targets": {"spine": {"end_to_end": ["1", "10"]}}})
    # Without the 100% of four sources, three seeds each.
    assert counts(check(fewer)) == {"linear": 99, "end_to_end": 84 - 3 * 4}
    fewer["controls"]["budget"] = {"spine": ["100"]}
    with pytest.raises(
        UserError, match=r"controls.budget\.spine: '100' is not in targets\.spine\.end_to_end"
    ):
        check(fewer)


def test_the_order_of_sources_is_not_that_of_their_keys(controls):
    added = {
        "all": ["natural", "spine", "chest"],
        "chest+natural": ["natural", "chest"],
        "natural": ["natural"],
        "vit": {"encoder": "vit_tiny_patch16_224", "weights": "random"},
    }
    small = {"spine-small": {"dataset": "spine", "as_many_as": "chest"}}
    given = raw(controls, {"sources": added, "controls": {"size": small}})
    turned = copy.deepcopy(given)
    turned["sources"] = dict(reversed(turned["sources"].items()))
    turned["controls"]["size"] = dict(reversed(turned["controls"]["size"].items()))
    for each in (given, turned):
        assert list(all_sources(check(each))) == [
            *["none", "vit", "spine", "chest", "natural", "spine+chest", "chest+natural", "all", "limited"],
            *["spine-small", "chest-as-spine", "chest-few", "limited-steps", "none-longer"],
        ]


def test_controls_add_their_cells_and_their_sources(controls):
    config = check(raw(controls))
    # chest-as-spine and chest-few in 7 cells each, limited-steps in 2, none-longer in 2; three seeds each.
    assert counts(config) == {"linear": 99 + 3 * (7 + 7 + 2), "end_to_end": 84 + 3 * 2}
    assert list(all_sources(config)) == [
        *["none", "spine", "chest", "spine+chest", "limited", "chest-as-spine", "chest-few"],
        *["limited-steps", "none-longer"],
    ]
    # Three encoders of each of three sources and two controls, without more finetuning.
    assert Counter(each.source for each in pretrainings(config)) == dict.fromkeys(
        ["spine", "chest", "spine+chest", "chest-as-spine", "chest-few"], 3
    )
    # Only the domain of chest-as-spine differs from that of spine, unless it has a schedule of its own.
    assert config.schedule("chest-as-spine") == config.schedule("spine") != config.schedule("new")
    # Only the number of images of chest-few differs from that of chest.
    assert config.schedule("chest-few") == config.schedule("chest") != config.schedule("spine")
    named = raw(controls, {"sources": {"spine": None, "ours": ["spine"]}})
    named["pretraining"]["schedules"]["ours"] = {"epochs": 9, "batch": 8, "lr": 1, "bn_groups": 1}
    assert check(named).schedule("chest-as-spine").epochs == 9
    named["pretraining"]["schedules"]["chest-as-spine"] = {"epochs": 7, "batch": 8, "lr": 1, "bn_groups": 1}
    assert check(named).schedule("chest-as-spine").epochs == 7
    jobs = finetuning_jobs(config, "spine", ["end_to_end"])
    assert ("none-longer", "end_to_end", "1", 3, 1, 1) in jobs
    assert not [job for job in jobs if job[0] in ("chest-as-spine", "limited-steps")]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"controls": {"steps": {"spine": ["7"]}}}, "controls.steps.spine: '7' is not in targets.spine.percents"),
        ({"controls": {"budget": {"knee": ["1"]}}}, "controls.budget: 'knee' is not a target"),
        ({"controls": {"size": {"small": {"dataset": "chest", "as_many_as": "knee"}}}, "pretraining": {"schedules": {"small": {"epochs": 1, "batch": 8, "lr": 1, "bn_groups": 1}}}}, "'knee' is not a dataset"),
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


def test_a_new_dataset_needs_no_line_for_its_schedule_optimizer_and_size():
    dataset = TABLE | {
        "root": "/hips",
        "store": {"fit": "pad"},
        "labels": {"uncertain": "zero", "unlabeled": "drop"},
    }
    dataset["split"] = {"unit": "patient", "train": 0.6, "validation": 0.2, "test": 0.2}
    mine = {
        "uses": ["protocol.yaml", "size/cpu.yaml"],
        "run": "mine",
        "data": "mine",
        "datasets": {"hip": dataset},
        "targets": {"hip": {"percents": ["10"], "limited": ["10"]}},
        "sources": {"none": [], "hip": ["hip"]},
    }
    config = check(composed(mine))
    assert list(config.datasets) == list(config.targets) == ["hip"] and config.similarity.datasets is None
    assert config.datasets["hip"].store.size == config.model.stored == 112
    assert config.pretraining.schedule("hip") == config.pretraining.schedules["default"]
    assert config.finetune.optimizer("hip") == config.finetune.optimizers["default"]
    own = {"pretraining": {"schedules": {"hip": {"epochs": 3, "batch": 8, "lr": 1, "bn_groups": 1}}}}
    assert check(composed(merge(mine, own))).pretraining.schedule("hip").epochs == 3
    # 'limited' and the source 'none' may be left out; without 'none', its network still compares datasets.
    bare = check(composed(mine | {"targets": {"hip": {"percents": ["10"]}}, "sources": {"hip": ["hip"]}}))
    assert bare.targets["hip"].limited == [] and bare.similarity.network == "none"
    # The tag of the encoder says that its weights are ImageNet's.
    assert initial_datasets(config) == ["ImageNet"]
    # Two datasets can be compared; one cannot.
    assert "figure3" not in figure_names(config)
    both = {"uses": [*mine["uses"], "data/natural-phantoms.yaml"], "sources": {"natural": ["natural"]}}
    both["datasets"] = {"natural": {"store": {"colour": False}}}
    assert "figure3" in figure_names(check(composed(merge(mine, both))))


def test_every_size_goes_with_every_dataset():
    for size in sorted((CONFIG / "size").glob("*.yaml")):
        for data in sorted((CONFIG / "data").glob("*.yaml")):
            (name,) = read_yaml(data)["datasets"]
            parts = ["protocol.yaml", f"size/{size.name}", f"data/{data.name}"]
            split = {"train": 0.6, "validation": 0.2, "test": 0.2}
            own = {"datasets": {name: {"store": {"colour": False}, "split": split}}, "run": "a", "data": "a"}
            own |= {
                "targets": {name: {"percents": ["10"], "limited": ["10"]}},
                "sources": {"none": [], name: [name]},
            }
            check(composed({"uses": parts} | own))


def test_parts_of_different_kinds_set_different_keys_so_that_their_order_does_not_matter():
    def keys(part, above=""):
        for key, value in part.items():
            yield from keys(value, f"{above}{key}.") if isinstance(value, dict) else [above + key]

    protocol = set(keys(read_yaml(CONFIG / "protocol.yaml")))
    sizes = set().union(*(keys(read_yaml(path)) for path in CONFIG.glob("size/*.yaml")))
    data = set().union(*(keys(read_yaml(path)) for path in CONFIG.glob("data/*.yaml")))
    assert not protocol & sizes and not (protocol | sizes) & data
    assert all(
        set(keys({"moco": read_yaml(path)["moco"]})) == {"moco.momentum", "moco.queue"}
        for path in CONFIG.glob("size/*.yaml")
    )


@pytest.mark.parametrize(
    "uses, message",
    [
        ("size/cpu.yaml", "expected a list of files"),
        ([1], "expected a list of files"),
        (["size/cpuu.yaml"], "there is no file size/cpuu.yaml in .*choose from config.yaml, .*size/cpu.yaml"),
        (["{folder}/wrong.yaml"], "wrong.yaml: expected keys and values in YAML"),
        (["{folder}/itself.yaml"], "itself.yaml uses itself"),
        (["~nobody-of-this-name/own.yaml"], "there is no file ~nobody-of-this-name/own.yaml"),
        (["size"], "there is no file size"),
    ],
)
def test_parts_that_cannot_be_used_are_one_line(tmp_path, uses, message):
    (tmp_path / "wrong.yaml").write_text("a: [")
    (tmp_path / "itself.yaml").write_text(f"uses: [{tmp_path}/itself.yaml]")
    uses = (
        [str(each).format(folder=tmp_path) if isinstance(each, str) else each for each in uses]
        if isinstance(uses, list)
        else uses
    )
    with pytest.raises(UserError, match=message) as caught:
        composed({"uses": uses})
    assert "\n" not in str(caught.value)


def test_weights_of_an_installed_package_are_a_file():
    encoder = check(raw({"model": read_yaml(CONFIG / "size" / "cpu.yaml")["model"]})).model.initial_weights
    assert encoder.kind == "file" and Path(encoder.weights).is_file()
    with pytest.raises(UserError, match="no Python package nowhere is installed"):
        check(
            raw({"model": {"initial_weights": {"encoder": "resnet18", "weights": "package:nowhere/a.pth"}}})
        )


def test_an_overlay_may_replace_a_table_by_folders():
    folders = {
        "adapter": "folders",
        "folders": {"pattern": "{grade}/{image}.png", "classes": {"from": "grade", "values": [0, 1]}},
    }
    chest = check(raw({"datasets": {"chest": merge(TABLE, folders)}})).datasets["chest"]
    assert chest.table is None and chest.folders.label_names == ["grade 0", "grade 1"]
    again = merge(merge(TABLE, folders), {"adapter": "table"})
    assert check(raw({"datasets": {"chest": again}})).datasets["chest"].folders is None
    with pytest.raises(UserError, match="section 'table'"):
        check(raw({"datasets": {"chest": TABLE | {"adapter": "nih_chestxray14"}}}))
