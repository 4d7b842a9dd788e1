"""The plan beside Snakemake: the same jobs as a dry run's, and the steps, features and predictions of a finished run."""

import math
import os
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from running import ROOT, TINY, planned, snakemake

from moco_transfer.config.composition import read_config
from moco_transfer.plan import LOGIT_BYTES, NAME_BYTES, RESULTS, count_images, planned_jobs
from moco_transfer.tensors import read_tensors

pytestmark = pytest.mark.workflow
GRIDS = {
    "paper": [],
    "demo": ["config/demo.yaml"],
    "controls": ["config/controls.yaml"],
    "both modes": ["config/demo.yaml", "both.yaml"],
    "folds": ["config/demo.yaml", "folds.yaml"],
    "many targets": ["tests/workflow/tenfold.yaml", "few.yaml"],
}
BOTH_MODES = """
targets: {spine: {limited_modes: [linear, end_to_end]}, chest: null}
sources: {chest: null, spine+chest: null}
controls: {steps: {}, budget: {}, subsets: 0, size: {as-chest: {dataset: chest, as_many_as: natural}}}
pretraining: {schedules: {as-chest: {epochs: 1, batch: 8, lr: 0.1, bn_groups: 1}}}
similarity: {datasets: [spine, natural]}
models: all
"""


FOLDS = """
datasets: {spine: {split: {folds: 3, train: 0.4, validation: 0.27, test: 0.33}}}
controls: {size: {chest-as-spine: null}}
"""


@contextmanager
def inside(folder):
    """Work in ``folder``, where paths of a run begin."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def plan(folder, files):
    """Return the configuration of the Snakefile and ``files``, and the jobs of a run in ``folder``."""
    with inside(folder):
        config = read_config(files)
        return config, planned_jobs(config, count_images(config))


@pytest.mark.parametrize("grid", GRIDS)
def test_as_many_jobs_of_every_rule_as_in_a_dry_run(grid, empty_releases, tmp_path):
    (tmp_path / "both.yaml").write_text(BOTH_MODES)
    (tmp_path / "folds.yaml").write_text(FOLDS)
    (tmp_path / "few.yaml").write_text("n_subsets: 2\nmodels: none\n")
    files = [path for name in GRIDS[grid] for path in (ROOT / name, tmp_path / name) if path.is_file()]
    overlays = ["--configfile", *files] if files else []
    counts = planned(snakemake("-n", "--quiet", "rules", *overlays, directory=empty_releases).stdout)
    found = Counter(job.rule for job in plan(empty_releases, files)[1])
    assert found.total() == counts.pop("total")
    # Figures, tables and cards are one kind in the plan, and so is the target that asks for them.
    named = {rule: count for rule, count in counts.items() if rule in found}
    assert found.pop(RESULTS) == sum(counts.values()) - sum(named.values())
    assert found == named


def steps_of(path, initial):
    """Return the steps that a table of metrics tells of, by each budget's last learning rate in its cosine."""
    metrics = pd.read_csv(path)
    rates = metrics.groupby("budget")["lr"].last() if "budget" in metrics else metrics["lr"].tail(1)
    shares = (math.acos(2 * rate / initial - 1) / math.pi for rate in rates)
    return sum(round(1 / (1 - share)) for share in shares)


def test_as_many_steps_as_a_finished_run_took(finished):
    config, jobs = plan(finished, TINY[3:])
    run, taken = finished / "results/tiny", Counter()
    for path in run.glob("encoders/**/metrics.csv"):
        taken["train_weights"] += steps_of(path, config.model.initial_weights.weights.lr)
    for path in run.glob("pretrain/**/metrics.csv"):
        # A source, the replicate of its encoder, for some sources target and percentage, the fold, and for these the subset.
        source, _, *subset = path.relative_to(run / "pretrain").parent.parts
        subset = subset if len(subset) > 1 else []
        rule = "pretrain_subset" if subset else "pretrain"
        rule = "pretrain_sample" if source in config.controls.size else rule
        taken[rule] += steps_of(path, config.schedule(subset[0] if subset else source).lr)
    for path in run.glob("finetune/**/metrics.csv"):
        target, source, _, mode, *_ = path.relative_to(run / "finetune").parts
        # There is one labelled subset, and a control becomes no model.
        rule = "end_to_end_kept" if mode == "end_to_end" and source != "none-longer" else mode
        taken[rule] += steps_of(path, config.finetune.optimizer(target).lr)
    expected = Counter()
    for job in jobs:
        expected[job.rule] += job.steps
    assert set(taken) == {
        "train_weights",
        "pretrain",
        "pretrain_sample",
        "pretrain_subset",
        "linear",
        "end_to_end",
        "end_to_end_kept",
    }
    assert taken == {rule: expected[rule] for rule in taken}


def bytes_of(path):
    """Return the bytes of the tensors in a file of weights."""
    return sum(values.nbytes for values in read_tensors(path)[0].values())


def test_as_many_features_and_predictions_as_a_finished_run_wrote(finished):
    _, jobs = plan(finished, TINY[3:])
    run = finished / "results/tiny"
    sizes = Counter()
    for job in jobs:
        sizes[job.rule] += job.size
    predicted = 0
    for path in run.glob("finetune/**/predictions.parquet"):
        classes = 1 if path.relative_to(run / "finetune").parts[0] == "spine" else 14
        predicted += pq.read_metadata(path).num_rows * (LOGIT_BYTES * classes + NAME_BYTES)
    networks = sum(bytes_of(path) for path in run.glob("finetune/**/networks.safetensors"))
    # The plan leaves out what is small: the heads, and the counters of normalisation layers.
    written = sum(sizes[rule] for rule in ("linear", "end_to_end", "end_to_end_kept"))
    assert predicted + networks == pytest.approx(written, rel=0.02)
    assert sum(map(bytes_of, run.glob("models/*/*/model.safetensors"))) == pytest.approx(
        sizes["model"], rel=0.02
    )
    assert (
        sum(np.load(path).nbytes for path in run.glob("embed/limited*/**/features.npy"))
        == sizes["embed_subset"]
    )
    # Of several subsets only the expected union is known beforehand.
    found = sum(np.load(path).nbytes for path in run.glob("embed/*/*/*/fold1/features.npy"))
    assert found == pytest.approx(sizes["embed"], rel=0.1)
    packed = sum(
        np.load(path, mmap_mode="r").nbytes for path in finished.glob("results/data/*/*/store/images.npy")
    )
    assert packed == sizes["join_shards"]


WATCHED = """
import threading, time

def watch():
    global timers
    while True:
        timers = max(timers, sum(type(thread) is threading.Timer for thread in threading.enumerate()))
        time.sleep(0.05)

timers = 0
threading.Thread(target=watch, daemon=True).start()

include: "{}/Snakefile"

onsuccess:
    print("timers:", timers)
"""


@pytest.mark.parametrize(("limit", "some"), [([], False), (["--max-jobs-per-timespan", "50/1s"], True)])
def test_while_jobs_wait_snakemake_waits_too_unless_a_limit_is_given(limit, some, tmp_path):
    (tmp_path / "Snakefile").write_text(WATCHED.format(ROOT))
    places = [f"results/data/tiny/{name}/release" for name in ("spine", "natural")]
    run = snakemake(
        *places, "--snakefile", tmp_path / "Snakefile", *TINY, "--cores", "1", *limit, directory=tmp_path
    )
    assert ("timers: 0" not in run.stdout + run.stderr) == some
