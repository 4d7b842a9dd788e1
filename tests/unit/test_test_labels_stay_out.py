"""Test labels reach nothing before the final score: whole small runs with true, permuted and zero ones.

Every stage from the labelled subset to the score runs as the workflow runs it, on indexes that differ in the labels of test
images alone. What they write must be equal, but for these labels and the score. A run with other validation labels shows
that labels which do have a say would be noticed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up_settings import EMBED, LINEAR, changed
from small_trainings import Job, small_trainings

from moco_transfer import cli
from moco_transfer.config import Section, stages

pytestmark = pytest.mark.usefixtures("one_thread")
# A quarter of the 32 training images is labelled: eight, beside 16 validation images. Budgets are half of EPOCHS, and all.
EPOCHS, PERCENT = 6, "25"
CHECKPOINTS = ("last", "best")
MODES = ("linear", "end_to_end")
WEIGHTS = ("linear/head.safetensors", "end_to_end/networks.safetensors")
JOBS = [("noise", mode, PERCENT, 1, 1, 1) for mode in MODES]
EVALUATION = {"average": "weighted", "replicates": 20, "percentiles": [5, 95], "unit": "image"}
EVALUATION |= {"validation": "full", "margin": 0.02, "level": 0.05}
# The split whose labels are not the true ones, and what they are instead. True ones alternate, so that in reverse order each
# becomes the other: whatever scores best by the ones scores worst by the others.
RUNS = {
    "true": ("test", lambda labels: labels),
    "permuted": ("test", np.flip),
    "zero": ("test", np.zeros_like),
    "inverted validation": ("validation", lambda labels: 1 - labels),
}


def stage(name: str, settings: Section, **options: str | Path | list[Path]) -> None:
    """Run a stage by its command line."""
    arguments = [name, "--settings", settings.model_dump_json()]
    for option, value in options.items():
        arguments += [f"--{option}", *map(str, value if isinstance(value, list) else [value])]
    assert cli.main(arguments) == 0


def run(jobs: dict[str, Job], out: Path) -> None:
    """Run every stage on the store out/store, from the labelled subset on, and write to ``out``."""
    moco, whole = jobs["pretrain"], jobs["end-to-end"]
    store, splits, subset = out / "store", whole.inputs["splits"], out / "subset.parquet"
    labelled = {"index": store / "index.parquet", "splits": splits, "subset": subset}
    draw = stages.DrawSubset(uncertain="zero", percent=PERCENT, subset=1, sampling="stratified", seed=1)
    stage("subset", draw, **labelled)

    encoder = {"encoder": out / "encoder.safetensors"}
    files = moco.inputs | encoder | {"metrics": out / "metrics.csv", "stores": store}
    stage("pretrain", moco.settings, device="cpu", **files)
    cache = {"features": out / "features.npy", "rows": out / "rows.npy"}
    files = encoder | {"images": store / "images.npy", "splits": splits, "subsets": subset} | cache
    stage("embed", changed(EMBED, views=2), device="cpu", **files)

    for checkpoint in CHECKPOINTS:
        choice = {
            "checkpoint": checkpoint,
            "optimizer": whole.settings.optimizer.model_copy(update={"batch": 4}),
        }
        linear, end_to_end = (out / checkpoint / mode for mode in MODES)
        files = labelled | cache | written(linear, "head")
        stage("linear", changed(LINEAR, epochs=EPOCHS, **choice), **files)
        files = encoder | {"store": store, "splits": splits, "subset": subset}
        files |= written(end_to_end, "networks")
        stage("end-to-end", changed(whole.settings, **choice), device="cpu", **files)

        predictions = [folder / "predictions.parquet" for folder in (linear, end_to_end)]
        common = {"target": "noise", "percents": [PERCENT], "seed": 1}
        for images in ("full", "matched"):
            settings = stages.SelectBudgets(jobs=JOBS[1:], validation=images, average="weighted", **common)
            files = {"predictions": predictions[1:], "budgets": out / checkpoint / f"{images}.csv"}
            stage("select-budgets", settings, subsets=subset, **files)
        settings = stages.Evaluate(jobs=JOBS, evaluation=EVALUATION, **common)
        files = {"predictions": predictions, "budgets": out / checkpoint / "full.csv"}
        stage("evaluate", settings, subsets=subset, out=out / checkpoint / "score", **files)


def written(folder: Path, weights: str) -> dict[str, Path]:
    names = ("predictions.parquet", "metrics.csv", f"{weights}.safetensors")
    return {name.split(".")[0]: folder / name for name in names}


@pytest.fixture(scope="module")
def make(tmp_path_factory) -> Callable[[str], Path]:
    """A function that makes a run of RUNS and returns its folder."""
    folder = tmp_path_factory.mktemp("runs")
    jobs = small_trainings(folder / "inputs", EPOCHS)
    store, splits = (jobs["end-to-end"].inputs[name] for name in ("store", "splits"))
    index, splits = pd.read_parquet(store / "index.parquet"), pd.read_parquet(splits)

    def made(name: str) -> Path:
        split, change = RUNS[name]
        rows, labels = splits["split"] == split, index["abnormal"].to_numpy().copy()
        labels[rows] = change(labels[rows])
        shutil.copytree(store, folder / name / "store")
        index.assign(abnormal=labels).to_parquet(folder / name / "store" / "index.parquet")
        run(jobs, folder / name)
        return folder / name

    return made


@pytest.fixture(scope="module")
def true(make) -> Path:
    return make("true")


@pytest.fixture(scope="module", params=["permuted", "zero"])
def other(make, request) -> Path:
    """A run with other test labels."""
    return make(request.param)


def before_the_score(run: Path) -> dict[str, bytes]:
    """Return the bytes of what a run wrote before its score, by path.

    Left out are the store and the predictions, which hold test labels; TensorBoard's events, which hold times; and the
    fingerprints of inputs in the folders of states.
    """
    left_out = {"store", "predictions.parquet", "score", "tensorboard", "state"}
    paths = [path for path in run.rglob("*") if path.is_file() and not left_out & set(path.parts)]
    return {str(path.relative_to(run)): path.read_bytes() for path in paths}


def predictions(run: Path, checkpoint: str, mode: str) -> pd.DataFrame:
    return pd.read_parquet(run / checkpoint / mode / "predictions.parquet").set_index("split")


def test_every_file_before_the_score_is_equal_byte_by_byte(true, other):
    expected, found = before_the_score(true), before_the_score(other)
    assert {"subset.parquet", "encoder.safetensors", "metrics.csv", "features.npy"} < expected.keys()
    for checkpoint in CHECKPOINTS:
        names = ("linear/metrics.csv", "end_to_end/metrics.csv", "full.csv", "matched.csv", *WEIGHTS)
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
    scores = [pd.read_parquet(run / checkpoint / "score" / "estimates.parquet") for run in (true, other)]
    expected, found = (score[score["mode"] == mode] for score in scores)
    cell = ["source", "mode", "percent", "n_labeled", "epochs", "selected"]
    assert expected[cell].equals(found[cell])
    assert not expected.loc[expected["selected"], "auroc"].equals(found.loc[found["selected"], "auroc"])


def test_validation_labels_have_a_say_and_are_noticed(true, make):
    other = make("inverted validation")
    expected, found = before_the_score(true), before_the_score(other)
    budgets = {f"{checkpoint}/{images}.csv" for checkpoint in CHECKPOINTS for images in ("full", "matched")}
    probe = "metrics.csv"
    best = {f"best/{name}" for name in WEIGHTS}
    assert {name for name in expected if expected[name] != found[name]} == {probe, *budgets, *best}
    for mode in MODES:
        for checkpoint in CHECKPOINTS:
            logits = [predictions(run, checkpoint, mode)["logit_abnormal"] for run in (true, other)]
            assert logits[0].equals(logits[1]) == (checkpoint == "last"), (mode, checkpoint)
