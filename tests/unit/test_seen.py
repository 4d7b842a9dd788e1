"""Which encoders may have seen a target's test images, and what that keeps out of evidence."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import controls as controls_script
import pandas as pd
import pytest
import yaml
from made_up_predictions import independent_aurocs

from moco_transfer.config.composition import composed, merge
from moco_transfer.config.experiment import Config, check
from moco_transfer.errors import UserError
from moco_transfer.experiment import (
    all_sources,
    has_ranked_sources,
    kept_models,
    may_have_seen,
    seen_tests,
    ways_to_advise,
)
from moco_transfer.report.names import weights_text
from moco_transfer.statistics.claims import claims_table
from moco_transfer.statistics.controls import Pretrainings, control_questions, controls_table
from moco_transfer.statistics.design import PAPER as PAPER_DESIGN
from moco_transfer.statistics.evidence import Evidence

PAPER = composed({})
CONTROLS = yaml.safe_load((Path(__file__).parents[2] / "config" / "controls.yaml").read_text())
TABLE = {"file": "labels.csv", "path": "file", "labels": ["sick"]}


def configured(*overlays: dict[str, Any]) -> Config:
    return check(composed(functools.reduce(merge, overlays, {})))


def encoder(*trained_on: str, **keys: Any) -> dict[str, Any]:
    return {"encoder": "resnet18", "weights": "random", "trained_on": list(trained_on)} | keys


def dataset(adapter: str, root: str, **keys: Any) -> dict[str, Any]:
    own = {"table": TABLE} if adapter == "table" else {}
    split = {"unit": "patient", "train": 0.6, "validation": 0.2, "test": 0.2}
    labels = {"uncertain": "zero", "unlabeled": "zero"}
    store = {"size": 256, "fit": "pad"}
    return {"adapter": adapter, "root": root, "store": store, "split": split, "labels": labels} | own | keys


def knee(name: str, other: dict[str, Any]) -> Config:
    """Return a run on the target knee, a table in /data/knee, with a source trained on ``name``, the dataset ``other``."""
    return configured(
        {
            "datasets": {"knee": dataset("table", "/data/knee", views=None), name: other},
            "targets": {"knee": {"percents": ["10"], "limited": []}},
            "finetune": {"optimizers": {"knee": PAPER["finetune"]["optimizers"]["spine"]}},
            "sources": {"theirs": encoder(name), name: [name]},
            "pretraining": {"schedules": {name: PAPER["pretraining"]["schedules"]["spine"]}},
        }
    )


def test_what_is_not_declared_has_seen_nothing():
    config = configured(CONTROLS, {"sources": {"lite0": encoder()}})
    assert seen_tests(config) == {}


@pytest.mark.parametrize("name", ["chest", "mimic_cxr_jpg"])
def test_an_encoder_has_seen_the_target_that_it_names_or_its_release(name):
    config = configured({"sources": {"xrv": encoder(name), "lite0": encoder("natural", "nih_chestxray14")}})
    reason = may_have_seen(config, "xrv", "chest")
    assert reason.startswith("its weights were trained on") and name in reason
    assert seen_tests(config) == {"chest": {"xrv": reason}}


def test_what_the_initial_weights_have_seen_every_source_from_there_has_seen():
    config = configured(
        CONTROLS,
        {
            "model": {"initial_weights": encoder("spine")},
            "sources": {"lite0": encoder(), "xrv": encoder("chest")},
        },
    )
    found = seen_tests(config)
    assert set(found["spine"]) == set(all_sources(config)) - {"lite0", "xrv"}
    assert {"none", "spine+chest", "limited", "chest-as-spine", "limited-steps", "none-longer"} < set(
        found["spine"]
    )
    assert set(found["chest"]) == {"xrv"}
    assert seen_tests(config, ["none", "xrv"]) == {
        "spine": {"none": found["spine"]["none"]},
        "chest": found["chest"],
    }
    assert seen_tests(config, ["lite0"]) == {}
    assert has_ranked_sources(config)
    assert not has_ranked_sources(configured({"model": {"initial_weights": encoder("spine", "chest")}}))


def test_where_every_way_is_left_out_no_model_is_advised():
    seen = {"model": {"initial_weights": encoder("spine")}}
    cells = [f"chest/{percent}pct" for percent in configured().targets["chest"].percents]
    assert kept_models(configured(seen)) == cells
    assert kept_models(configured(seen, {"sources": {"xrv": encoder()}})) == kept_models(configured())
    assert "spine/10pct/none/linear" in kept_models(configured(seen, {"models": "all"}))
    assert not kept_models(configured({"models": "none"}))


def test_nobody_is_advised_to_use_a_control():
    config = configured(CONTROLS, {"models": "all"})
    assert {"chest-as-spine", "limited-steps", "none-longer"} < set(all_sources(config))
    sources = {folder.split("/")[2] for folder in kept_models(config)}
    assert sources == {"none", "spine", "chest", "spine+chest", "limited"}
    assert {source for source, _ in ways_to_advise(config, "spine", "1")} == sources
    assert {source for source, _ in ways_to_advise(config, "spine", "100")} == sources - {"limited"}


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (dataset("table", "/data/knee"), True),
        (dataset("table", "/data/knee/../knee/"), True),
        (dataset("table", "/data", table=TABLE | {"file": "knee/labels.csv"}), True),
        (dataset("image_folder", "/data/knee"), True),
        (dataset("table", "/data/hip"), False),
        (dataset("mimic_cxr_jpg", "/data/mimic"), False),
        (dataset("mimic_cxr_jpg", "/data/knee"), True),
    ],
)
def test_another_name_for_the_same_images_is_noticed(other, same):
    """As trained_on of an encoder, and as a source of MoCo: its training split is another than the target's."""
    config = knee("joints", other)
    assert bool(may_have_seen(config, "theirs", "knee")) == same
    assert bool(may_have_seen(config, "joints", "knee")) == same


def test_two_datasets_of_one_release_are_the_same_images_unless_their_views_or_official_tests_say_no():
    def found(spine: dict[str, Any], chest: dict[str, Any]) -> str:
        both = {"chest": chest, "more": dataset("mimic_cxr_jpg", "/elsewhere") | spine}
        schedule = {"more": PAPER["pretraining"]["schedules"]["chest"]}
        more = {"datasets": both, "sources": {"more": ["more"]}, "pretraining": {"schedules": schedule}}
        return may_have_seen(configured(more), "more", "chest")

    assert "may hold images of chest" in found({}, {})
    assert "may hold images of chest" in found({"views": ["AP", "PA"]}, {"views": ["PA"]})
    assert not found({"views": ["AP"]}, {"views": ["PA"]})
    official = {"split": {"unit": "patient", "train": 1.0, "validation": "official", "test": "official"}}
    assert not found(official, official) and found(official, {})


@pytest.mark.parametrize(("column", "same"), [("fold", True), ("other_fold", False)])
def test_official_tests_of_tables_are_the_same_only_in_one_column(column, same):
    official = {"unit": "patient", "train": 0.8, "validation": 0.2, "test": "official"}
    tables = {
        name: dataset("table", "/data/knee", split=official, table=TABLE | {"official_split": each})
        for name, each in {"knee": "fold", "joints": column}.items()
    }
    config = knee("joints", tables["joints"])
    config.datasets["knee"] = configured({"datasets": {"knee": tables["knee"]}}).datasets["knee"]
    assert may_have_seen(config, "theirs", "knee")
    assert bool(may_have_seen(config, "joints", "knee")) != same


def test_a_dataset_with_the_name_of_a_release_does_not_hide_it():
    config = configured(
        {
            "datasets": {"mimic_cxr_jpg": dataset("table", "/data/hip")},
            "sources": {"xrv": encoder("mimic_cxr_jpg")},
        }
    )
    assert may_have_seen(config, "xrv", "chest")


def test_no_model_is_kept_where_every_way_may_have_seen_the_test_images():
    leak = {"model": {"initial_weights": encoder("spine")}}
    models = kept_models(configured(leak))
    assert models and not any(folder.startswith("spine/") for folder in models)
    assert "spine/1pct" in kept_models(configured(leak, {"sources": {"lite0": encoder()}}))
    assert "spine/1pct/none/linear" in kept_models(configured(leak, {"models": "all"}))


def test_no_encoder_learns_all_the_labels_of_a_target():
    config = knee("joints", dataset("table", "/data/joints")).model_dump(exclude_unset=True)
    weights = {"epochs": 1, "batch": 2, "lr": 0.1}
    config["sources"]["learnt"] = encoder(weights=weights | {"classes_of": "joints"})
    check(config)
    config["sources"]["learnt"] = encoder(weights=weights | {"classes_of": "knee"})
    with pytest.raises(UserError, match=r"sources.learnt.weights.classes_of: 'knee' is a target"):
        check(config)


def test_moco_on_the_target_itself_sees_its_training_split_only():
    assert not may_have_seen(configured(), "chest", "chest")
    assert not may_have_seen(configured(), "limited", "chest")


@pytest.mark.parametrize("name", ["none", "chest", "natural", "spine+chest"])
def test_an_encoder_needs_a_name_that_no_result_reads_as_another_source(name):
    with pytest.raises(UserError, match=r"sources\..*give the encoder another name"):
        configured({"sources": {name: encoder()}})


EVERY = {
    (target, source, mode, percent): [0.7, 0.71]
    for target, percents in (("spine", ("1", "10")), ("chest", ("1",)))
    for source in ("none", "spine", "chest", "spine+chest", "limited", "limited-steps")
    for mode in ("linear", "end_to_end")
    for percent in percents
}
SIMILARITY = pd.DataFrame(
    columns=["measure", "layer", "dataset_a", "dataset_b", "value", "value_lower", "value_upper", "null_lower", "null_upper"]
)  # fmt: skip


def test_claims_and_controls_leave_out_what_may_have_been_seen():
    evidence = independent_aurocs(EVERY, 1e-4)
    nothing = Evidence({}, {}, None)
    left = evidence.without({"spine": {"spine": "reason"}})
    claims = [
        claims_table(each, PAPER_DESIGN, SIMILARITY, nothing, 0.02, 0.05)
        .query("claim == '1'")["cell"]
        .tolist()
        for each in (evidence, left)
    ]
    assert any(cell.startswith("spine 1%") for cell in claims[0])
    assert claims[1] == [cell for cell in claims[0] if not cell.startswith("spine")]
    config = configured(CONTROLS)
    images = {"spine": 5_872, "chest": 225_720}
    schedules = {name: config.schedule(name) for name in ("spine", "chest", *config.controls.size)}
    pretrainings = Pretrainings(images, schedules, config.moco.queue)
    questions = control_questions(config.controls, {"spine": ["1"]}, {"spine": "spine"}, pretrainings, False)
    answers = [controls_table(questions, each, 0.05) for each in (evidence, left)]
    assert set(answers[0]["a"]) - set(answers[1]["a"]) == {"spine"}
    # If nothing is left, the table has its columns, because the advice reads them.
    empty = controls_table(
        questions, evidence.without({"spine": dict.fromkeys(all_sources(config), "")}), 0.05
    )
    assert empty.empty and {"target", "percent", "answer"} < set(empty.columns)
    assert list(controls_script.controls_summary(empty).columns) == controls_script.COLUMNS


@pytest.mark.parametrize(
    ("weights", "shown"),
    [
        ("/home/me/secret folder/xrv.pth", "xrv.pth"),
        ("https://me:word@host.org/a/b.pth?token=1#x", "https://host.org/a/b.pth"),
        ("hf-hub:org/name@abc", "hf-hub:org/name@abc"),
        ("random", "random"),
    ],
)
def test_results_name_weights_without_folders_and_secrets(weights, shown):
    assert (
        weights_text(configured({"sources": {"theirs": encoder(weights=weights)}}).sources["theirs"]) == shown
    )
