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

from moco_transfer.plan import RESULTS, count_images, measured_speed, planned_jobs, read_config

pytestmark = pytest.mark.workflow
PAPER = ROOT / "config/config.yaml"
GRIDS = {
    "paper": [],
    "demo": ["config/demo.yaml"],
    "controls": ["config/controls.yaml"],
    "both modes": ["config/demo.yaml", "both.yaml"],
    "ten times": ["tests/workflow/tenfold.yaml"],
}
BOTH_MODES = """
targets: {spine: {limited_modes: [linear, end_to_end]}, chest: null}
sources: {chest: null, spine+chest: null}
controls: {steps: {}, budget: {}, subsets: 0, size: {as-chest: {dataset: chest, as_many_as: natural}}}
pretraining: {schedules: {as-chest: {epochs: 1, batch: 8, lr: 0.1, bn_groups: 1}}}
similarity: {datasets: [spine, natural]}
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
        config = read_config([PAPER, *files])
        return config, planned_jobs(config, count_images(config))


@pytest.mark.parametrize("grid", GRIDS)
def test_as_many_jobs_of_every_rule_as_in_a_dry_run(grid, empty_releases, tmp_path):
    (tmp_path / "both.yaml").write_text(BOTH_MODES)
    files = [path for name in GRIDS[grid] for path in (ROOT / name, tmp_path / name) if path.is_file()]
    overlays = ["--configfile", *files] if files else []
    counts = planned(snakemake("-n", "--quiet", "rules", *overlays, directory=empty_releases).stdout)
    found = Counter(job.rule for job in plan(empty_releases, files)[1])
    assert found.total() == counts.pop("total")
    # Figures, tables and cards are one kind in the plan, and so is the target that asks for them.
    named = {rule: count for rule, count in counts.items() if rule in found}
    assert found.pop(RESULTS) == sum(counts.values()) - sum(named.values())
    assert found == named


def steps_of(metrics, initial):
    """Return the steps of a training by its last learning rate, the cosine of the step before the last."""
    share = math.acos(2 * metrics["lr"].iloc[-1] / initial - 1) / math.pi
    return round(1 / (1 - share))


def trained(finished, pattern, rate):
    """Return the steps that the tables ``pattern`` tell of, where ``rate`` gives each table's initial learning rate."""
    total = 0
    for path in sorted((finished / "results/tiny").glob(pattern)):
        table = pd.read_csv(path)
        budgets = table.groupby("budget") if "budget" in table else [(None, table)]
        total += sum(
            steps_of(metrics, rate(path.relative_to(finished / "results/tiny"))) for _, metrics in budgets
        )
    return total


def test_as_many_steps_as_a_finished_run_took(finished):
    config, jobs = plan(finished, TINY[3:])
    schedules, optimizers = config.pretraining.schedules, config.finetune.optimizers
    rates = {
        "train_weights": ("initial_weights/*.csv", lambda path: config.model.initial_weights.lr),
        "pretrain_limited": ("pretrain/limited*/**/metrics.csv", lambda path: schedules[path.parts[2]].lr),
        "linear": ("finetune/*/*/linear/**/metrics.csv", lambda path: optimizers[path.parts[1]].lr),
        "end_to_end": ("finetune/*/*/end_to_end/**/metrics.csv", lambda path: optimizers[path.parts[1]].lr),
    }
    for rule, (pattern, rate) in rates.items():
        taken = trained(finished, pattern, rate)
        assert taken == sum(job.steps for job in jobs if job.rule == rule) > 0, rule
    for job in jobs:
        if job.rule in ("pretrain", "pretrain_size"):
            source = job.benchmark.removeprefix("pretrain/")
            metrics = f"{job.benchmark}/metrics.csv"
            assert trained(finished, metrics, lambda path: schedules[path.parts[1]].lr) == job.steps, source


def test_as_many_features_and_predictions_as_a_finished_run_wrote(finished):
    _, jobs = plan(finished, TINY[3:])
    run = finished / "results/tiny"
    predicted = sum(pq.read_metadata(path).num_rows for path in run.glob("finetune/**/predictions.parquet"))
    assert predicted == sum(job.rows for job in jobs if job.rule in ("linear", "end_to_end"))
    limited = sum(len(np.load(path)) for path in run.glob("embed/limited*/**/rows.npy"))
    assert limited == sum(job.rows for job in jobs if job.rule == "embed_limited")
    for job in jobs:
        if job.rule == "embed":
            source, target = job.benchmark.removeprefix("embed/").rsplit("-", 1)
            rows = len(np.load(run / "embed" / source / target / "rows.npy"))
            # Of several subsets of a third of the images only the expected union is known beforehand.
            assert rows == job.rows if target == "spine" else rows == pytest.approx(job.rows, rel=0.1)


def test_a_finished_run_measures_the_hours(finished):
    config, jobs = plan(finished, TINY[3:])
    with inside(finished):
        speed = measured_speed(config, jobs)
    timed = [job for job in jobs if job.benchmark]
    benchmarks = list((finished / "results/tiny/benchmarks").glob("**/*.tsv"))
    taken = sum(
        float(pd.read_csv(path, sep="\t")["s"].iloc[0])
        for path in benchmarks
        if str(path.relative_to(finished / "results/tiny/benchmarks"))[:-4]
        in {job.benchmark for job in timed}
    )
    assert sum(speed.hours(job) for job in timed) * 3600 == pytest.approx(taken, rel=1e-6)
