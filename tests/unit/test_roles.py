"""Which role each source of a configuration has in the claims."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from claims import roles_text

from moco_transfer.config.composition import composed
from moco_transfer.config.experiment import Config, check
from moco_transfer.experiment import is_trained
from moco_transfer.roles import natural_datasets, source_roles
from moco_transfer.statistics.design import PAPER, Design

CONFIG = Path(__file__).parents[2] / "config"
SCHEDULE = {"epochs": 1, "batch": 8, "lr": 0.01, "bn_groups": 1}


def overlay(name: str) -> dict[str, Any]:
    return yaml.safe_load((CONFIG / name).read_text())


def own(adapter: str, **keys: Any) -> dict[str, Any]:
    layout = {
        "table": {"table": {"file": "labels.csv", "path": "file", "labels": ["sick"]}},
        "folders": {
            "folders": {
                "pattern": "{grade}/{image_id}.png",
                "labels": {"sick": {"from": "grade", "positive": ["1"]}},
            }
        },
    }.get(adapter, {})
    split = {"unit": "patient", "train": 0.6, "validation": 0.2, "test": 0.2}
    labels = {"uncertain": "zero", "unlabeled": "zero"}
    given = {
        "adapter": adapter,
        "root": f"/data/{adapter}",
        "store": {"fit": "pad"},
        "split": split,
        "labels": labels,
    }
    return given | layout | keys


def run_on(
    datasets: dict[str, dict], sources: dict[str, Any], targets: tuple[str, ...] = ("hips",), **keys: Any
) -> Config:
    """Return a run of one's own on a small computer."""
    return check(
        composed(
            {
                "uses": ["protocol.yaml", "size/cpu.yaml"],
                "run": "mine",
                "data": "mine",
                "datasets": datasets,
                "targets": {name: {"percents": ["10", "100"], "limited": []} for name in targets},
                "sources": sources,
                **keys,
            }
        )
    )


@pytest.mark.parametrize(
    "files", [{}, overlay("demo.yaml"), overlay("controls.yaml")], ids=["paper", "demo", "controls"]
)
def test_the_papers_sources_have_the_papers_roles(files):
    config = check(composed(files))
    assert source_roles(config) == PAPER.roles
    assert natural_datasets(config) == ["natural"]
    assert config.moco_sources == PAPER.datasets


def test_nih_alone_has_its_own_domain_and_no_other():
    roles = source_roles(check(composed(overlay("nih.yaml"))))
    assert roles == {"chest": {"none": "initial", "chest": "own", "limited": "limited"}}


@pytest.mark.parametrize("adapter", ["image_folder", "table", "folders"])
def test_a_target_is_its_own_domain_in_any_layout_and_another_ones_other(adapter):
    config = run_on(
        {"hips": own(adapter), "knees": own("table", root="/data/knees")},
        {
            "none": [],
            "ours": ["hips"],
            "theirs": ["knees"],
            "lite0": {"encoder": "resnet18", "weights": "random"},
        },
        targets=("hips", "knees"),
    )
    assert source_roles(config) == {
        "hips": {"none": "initial", "ours": "own", "theirs": "other"},
        "knees": {"none": "initial", "ours": "other", "theirs": "own"},
    }
    assert natural_datasets(config) == []


def test_natural_images_are_those_of_imagenets_layout_and_those_behind_the_initial_weights():
    datasets = {"hips": own("table")} | {
        name: own("table" if name == "flowers" else "image_folder", root=f"/data/{name}")
        for name in ("photos", "flowers")
    }
    datasets |= {"knees": own("table", root="/data/knees")}
    sources = {
        "none": [], "hips": ["hips"], "a": ["photos"], "b": ["photos", "flowers"], "c": ["hips", "photos"], "d": ["knees", "photos"],
        "e": ["knees", "flowers"], "f": ["knees", "hips"], "g": ["knees"],
    }  # fmt: skip
    common = {"none": "initial", "hips": "own", "a": "natural", "c": "mixture", "f": "mixture", "g": "other"}
    assert source_roles(run_on(datasets, sources))["hips"] == common | {"e": "other"}
    learnt = {"classes_of": "flowers", "epochs": 1, "batch": 8, "lr": 0.1}
    config = run_on(
        datasets, sources, model={"initial_weights": {"encoder": "densenet_small", "weights": learnt}}
    )
    assert source_roles(config)["hips"] == common | {"b": "natural"}
    assert set(natural_datasets(config)) == {"photos", "flowers"}
    # A dataset of radiographs that published weights have seen does not become one of natural images.
    seen = {"encoder": "resnet18", "weights": "/data/xrv.pth", "trained_on": ["knees"]}
    assert source_roles(run_on(datasets, sources, model={"initial_weights": seen}))["hips"]["g"] == "other"


def test_the_caption_says_which_source_has_which_role():
    design = Design(
        roles={
            "hips": {"none": "initial", "ours": "own", "all": "mixture", "limited": "limited"},
            "feet": {"none": "initial"},
        },
        datasets={},
        images={},
    )
    assert roles_text(design) == (
        "For hips, MoCo is on the target's own dataset (ours), a mixture (all). For feet, MoCo is on no dataset."
    )


def test_without_the_source_none_the_initial_weights_are_still_given():
    config = run_on({"hips": own("table")}, {"hips": ["hips"]})
    assert not is_trained(config, "none") and is_trained(config, "hips")
