"""Test labels reach nothing before the final score: whole small runs with true, permuted and zero ones.

Every stage from the labelled subset to the score runs as the workflow runs it, on indexes that differ in the labels of test
images alone. What they write must be equal, but for these labels and the score. A run with other validation labels shows
that labels which do have a say would be noticed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from small_trainings import OPTIMIZER, Job, small_trainings

from moco_transfer import cli

# A quarter of the 32 training images is labelled: eight, beside 16 validation images. Budgets are half of EPOCHS, and all.
EPOCHS, PERCENT = 6, "25"
CHECKPOINTS = ("last", "best")
MODES = ("linear", "end_to_end")
CELLS = [("noise", mode, PERCENT, 1) for mode in MODES]
EVALUATION = {"average": "weighted", "replicates": 20, "percentiles": [5, 95], "unit": "image"}
EVALUATION |= {"validation": "full", "margin": 0.02, "level": 0.05}
SCORES = ("estimates", "subsets", "classes", "replicates", "covariance")
# The split whose labels are not the true ones, and what they are instead. True ones alternate, so that in reverse order each
# becomes the other: whatever scores best by the ones scores worst by the others.
RUNS = {
    "true": ("test", lambda labels: labels),
    "permuted": ("test", np.flip),
    "zero": ("test", np.zeros_like),
    "inverted validation": ("validation", lambda labels: 1 - labels),
}


def stage(name: str, settings: dict, **options: str | Path | list[Path]) -> None:
    """Run a stage by its command line."""
    arguments = [name, "--settings", json.dumps(settings)]
    for option, value in options.items():
        arguments += [f"--{option}", *map(str, value if isinstance(value, list) else [value])]
    assert cli.main(arguments) == 0


def run(jobs: dict[str, Job], out: Path) -> None:
    """Run every stage on out/index.parquet, from the labelled subset on, and write to ``out``."""
    moco, whole = jobs["pretrain"], jobs["end-to-end"]
    common = {"uncertain": "zero", "average": "weighted", "seed": 1, "stream": ["test"]}
    images, splits, subset = whole.inputs["images"], whole.inputs["splits"], out / "subset.parquet"
    labelled = {"index": out / "index.parquet", "splits": splits, "subset": subset}
    stage("subset", common | {"percent": PERCENT, "subset": 1, "how": "stratified"}, **labelled)

    files = {"encoder": out / "encoder.safetensors", "metrics": out / "metrics.csv"}
    stage("pretrain", moco.settings, device="cpu", **moco.inputs | files | {"index": out / "index.parquet"})
    start = {"encoder": out / "encoder.safetensors", "images": images}
    cache = {"features": out / "features.npy", "rows": out / "rows.npy"}
    settings = whole.settings | {"views": 2}
    stage("embed", settings, device="cpu", splits=splits, subsets=subset, **start, **cache)

    for checkpoint in CHECKPOINTS:
        settings = common | {"optimizer": OPTIMIZER | {"batch": 4}, "checkpoint": checkpoint}
        linear, end_to_end = (out / checkpoint / mode for mode in MODES)
        for folder in (linear, end_to_end):
            folder.mkdir(parents=True)
        files = labelled | cache | written(linear)
        stage("linear", settings | {"epochs": EPOCHS}, **files)
        files = labelled | start | written(end_to_end)
        stage("end-to-end", whole.settings | settings, device="cpu", **files)

        predictions = [folder / "predictions.parquet" for folder in (linear, end_to_end)]
        settings = common | {"target": "noise", "percents": [PERCENT]}
        for images_of_choice in ("full", "matched"):
            choice = {"validation": images_of_choice, "cells": CELLS[1:]}
            budgets = out / checkpoint / f"{images_of_choice}.csv"
            files = {"predictions": predictions[1:], "subsets": subset, "budgets": budgets}
            stage("select-budgets", settings | choice, **files)
        files = {"predictions": predictions, "subsets": subset, "budgets": out / checkpoint / "full.csv"}
        files |= {name: out / checkpoint / f"score {name}.parquet" for name in SCORES}
        stage("evaluate", settings | {"evaluation": EVALUATION, "cells": CELLS}, **files)


def written(folder: Path) -> dict[str, Path]:
    return {"predictions": folder / "predictions.parquet", "metrics": folder / "metrics.csv"}


@pytest.fixture(scope="module")
def make(tmp_path_factory) -> Callable[[str], Path]:
    """A function that makes a run of RUNS and returns its folder."""
    folder = tmp_path_factory.mktemp("runs")
    jobs = small_trainings(folder / "inputs", EPOCHS)
    index, splits = (pd.read_parquet(jobs["end-to-end"].inputs[name]) for name in ("index", "splits"))

    def made(name: str) -> Path:
        split, change = RUNS[name]
        rows, labels = splits["split"] == split, index["abnormal"].to_numpy().copy()
        labels[rows] = change(labels[rows])
        (folder / name).mkdir()
        index.assign(abnormal=labels).to_parquet(folder / name / "index.parquet")
        run(jobs, folder / name)
        return folder / name

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield made
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def true(make) -> Path:
    return make("true")


@pytest.fixture(scope="module", params=["permuted", "zero"])
def other(make, request) -> Path:
    """A run with other test labels."""
    return make(request.param)


def before_the_score(run: Path) -> dict[str, bytes]:
    """Return the bytes of what a run wrote before its score, by path; without predictions, which hold test labels."""
    no_result = {"index.parquet", "predictions.parquet", *(f"score {name}.parquet" for name in SCORES)}
    paths = [path for path in run.rglob("*") if path.is_file() and "tensorboard" not in path.parts]
    return {str(path.relative_to(run)): path.read_bytes() for path in paths if path.name not in no_result}


def predictions(run: Path, checkpoint: str, mode: str) -> pd.DataFrame:
    return pd.read_parquet(run / checkpoint / mode / "predictions.parquet").set_index("split")


def test_every_file_before_the_score_is_equal_byte_by_byte(true, other):
    expected, found = before_the_score(true), before_the_score(other)
    assert {"subset.parquet", "encoder.safetensors", "metrics.csv", "features.npy"} < expected.keys()
    for checkpoint in CHECKPOINTS:
        names = ("linear/metrics.csv", "end_to_end/metrics.csv", "full.csv", "matched.csv")
        assert {f"{checkpoint}/{name}" for name in names} < expected.keys()
    assert expected.keys() == found.keys()
    assert [name for name in expected if expected[name] != found[name]] == []


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("checkpoint", CHECKPOINTS)
def test_predictions_differ_in_test_labels_alone(true, other, checkpoint, mode):
    expected, found = (predictions(run, checkpoint, mode) for run in (true, other))
    assert not expected.loc["test", "label_abnormal"].equals(found.loc["test", "label_abnormal"])
    assert expected.loc["validation"].equals(found.loc["validation"])
    assert expected.drop(columns="label_abnormal").equals(found.drop(columns="label_abnormal"))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("checkpoint", CHECKPOINTS)
def test_the_score_is_of_the_same_budgets_and_differs(true, other, checkpoint, mode):
    scores = [pd.read_parquet(run / checkpoint / "score estimates.parquet") for run in (true, other)]
    expected, found = (score[score["mode"] == mode] for score in scores)
    cell = ["source", "mode", "percent", "n_labeled", "epochs", "selected"]
    assert expected[cell].equals(found[cell])
    assert not expected.loc[expected["selected"], "auroc"].equals(found.loc[found["selected"], "auroc"])


def test_validation_labels_have_a_say_and_are_noticed(true, make):
    other = make("inverted validation")
    expected, found = before_the_score(true), before_the_score(other)
    budgets = {f"{checkpoint}/{images}.csv" for checkpoint in CHECKPOINTS for images in ("full", "matched")}
    probe = "metrics.csv"
    assert {name for name in expected if expected[name] != found[name]} == {probe, *budgets}
    for mode in MODES:
        for checkpoint in CHECKPOINTS:
            logits = [predictions(run, checkpoint, mode)["logit_abnormal"] for run in (true, other)]
            assert logits[0].equals(logits[1]) == (checkpoint == "last"), (mode, checkpoint)
