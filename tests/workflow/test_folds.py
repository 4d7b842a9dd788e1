"""A cross-validation of a user's own folders: every image is tested once, by networks that have not seen its patient."""

import re

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from running import TINY, snakemake
from sklearn.metrics import roc_auc_score

pytestmark = pytest.mark.workflow
KNEES = {
    "title": "Knees",
    "adapter": "folders",
    "folders": {
        "pattern": "{grade}/{patient_id,[0-9]+}{side,[LR]}.png",
        "labels": {"osteoarthritis": {"from": "grade", "positive": [2, 3, 4]}},
    },
    "store": {"size": 40, "fit": "pad"},
    "split": {"unit": "patient", "train": 0.25, "validation": 0.25, "test": 0.5, "folds": 2},
    "labels": {"uncertain": "zero", "unlabeled": "zero"},
}
EVALUATED = "results/tiny/evaluate/knees/estimates.parquet"


@pytest.fixture
def config(tmp_path):
    """The overlay of a run with a target of 30 patients in two folds, beside the tiny phantoms of the spine."""
    draw = np.random.default_rng(0)
    for patient in range(30):
        for side in "LR":
            path = tmp_path / "knees" / str(patient % 5) / f"{patient:02d}{side}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw.integers(0, 256, (48, 48), dtype=np.uint8)).save(path)
    overlay = {
        "datasets": {"knees": KNEES | {"root": str(tmp_path / "knees")}},
        "targets": {"knees": {"percents": ["100"], "limited": []}, "spine": None, "chest": None},
        "sources": {"knees": ["knees"], "spine+knees": ["spine", "knees"], "chest": None, "spine+chest": None, "grey": None},
        "controls": {"size": {"chest-as-spine": None}, "steps": {"spine": None}, "budget": {"spine": None}, "subsets": 0},
        "finetune": {"end_to_end": {"budgets": [1]}},
        "pretraining": {"replicates": 1},
        "model": {"initial_weights": {"weights": "random"}},
    }  # fmt: skip
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(overlay))
    return path


def test_no_network_of_a_fold_starts_from_an_encoder_of_another(config, tmp_path):
    shown = snakemake("-n", "-p", EVALUATED, *TINY, config, directory=tmp_path).stdout
    commands = [line for line in shown.splitlines() if "-m moco_transfer" in line]
    seen = {"knees": set(), "spine+knees": set(), "spine": set(), "none": set()}
    for command in commands:
        folds = set(re.findall(r"splits/knees/fold(\d)\.parquet", command))
        assert len(folds) <= 1
        for source, fold in re.findall(r"pretrain/([a-z+]+)/replicate1/fold(\d)/", command):
            if "knees" in source:
                assert {fold} == folds, command
        for source in seen:
            if f"finetune/knees/{source}/" in command and " end-to-end " in command:
                seen[source] |= set(re.findall(r"--encoder (\S+)", command))
    assert {source: len(encoders) for source, encoders in seen.items()} == {
        "knees": 2,
        "spine+knees": 2,
        "spine": 1,
        "none": 1,
    }


def test_every_image_is_tested_once_out_of_fold(config, tmp_path):
    # Fewer trainings than above: without MoCo on the spine.
    more = tmp_path / "more.yaml"
    more.write_text(yaml.safe_dump({"sources": {"spine": None, "spine+knees": None}}))
    card, again = (
        "results/tiny/cards/knees.md",
        "results/tiny/recipes/linear/knees/none/replicate1/fold2.parquet",
    )
    snakemake(EVALUATED, card, again, *TINY, config, more, directory=tmp_path)
    run = tmp_path / "results/tiny"
    folds = {fold: pd.read_parquet(run / f"splits/knees/fold{fold}.parquet") for fold in (1, 2)}
    tested = pd.concat([split[split["split"] == "test"] for split in folds.values()])
    assert len(tested) == 60 and tested["image_id"].is_unique
    for split in folds.values():
        assert split.groupby("patient_id")["split"].nunique().eq(1).all()
    files = sorted(run.glob("finetune/knees/*/replicate1/*/100pct/fold*/subset1/predictions.parquet"))
    assert len(files) == 2 * 2 * 2  # sources, modes, folds
    for path in files:
        fold = int(path.parent.parent.name.removeprefix("fold"))
        predictions = pd.read_parquet(path)
        found = set(predictions.loc[predictions["split"] == "test", "image_id"])
        assert found == set(folds[fold].loc[folds[fold]["split"] == "test", "image_id"])
    estimates = pd.read_parquet(tmp_path / EVALUATED)
    assert sorted(zip(estimates["source"], estimates["mode"], strict=True)) == [
        (source, mode) for source in ("knees", "none") for mode in ("end_to_end", "linear")
    ]
    assert estimates["auroc"].between(0, 1).all() and estimates["se_test"].between(0.02, 0.2).all()
    assert "fold 1 of 2" in (tmp_path / card).read_text()
    # The heads that are compared by recipe are trained again, with the same random draws.
    head = pd.read_parquet(
        run / "finetune/knees/none/replicate1/linear/100pct/fold2/subset1/predictions.parquet"
    )
    head = head[head["split"] == "test"]
    found = pd.read_parquet(tmp_path / again).set_index("recipe")["auroc"]
    assert found["paper"] == roc_auc_score(head["label_osteoarthritis"], head["logit_osteoarthritis"])
