"""The disk and the hours of a plan: against the networks themselves, by hand, and from made-up benchmarks."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from made_up_plans import job, paper_plan, written

from moco_transfer.errors import UserError
from moco_transfer.plan import Job, densenet_size, disk_bytes, given_speed, measured_speed


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["densenet_small", "densenet121"])
def test_the_size_of_a_densenet_is_that_of_the_network(name):
    from moco_transfer.networks import build_backbone

    network = build_backbone(name, 0)
    numbers = sum(
        value.numel()
        for key, value in network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    )
    assert densenet_size(name) == (network.width, numbers)


def test_disk():
    config, images, jobs = paper_plan()
    disk = disk_bytes(config, images, jobs)
    assert disk["images"] == 256**2 * (10_466 + 377_110 + 3 * 2_000)
    assert disk["shards"] == 256**2 * (10_466 + 377_110)  # the pictures are packed in one part
    assert disk["features"] == 4 * 1_024 * sum(each.forward for each in jobs if each.rule.startswith("embed"))
    assert disk["encoders"] == pytest.approx(19 * 28.2e6, rel=0.01)
    disk = disk_bytes(*paper_plan(written("other.yaml", "model: {name: resnet18}")))
    assert disk["features"] is disk["encoders"] is None and disk["images"] > 0


def test_hours_at_a_given_speed():
    speed = given_speed(500)
    # An hour of 500 images trained a second is three hours' worth of images that only pass forward.
    assert speed.hours(Job("pretrain", trained=1_800_000)) == pytest.approx(1)
    assert speed.hours(Job("embed", forward=3 * 1_800_000)) == pytest.approx(1)
    for wrong in (0, -1, math.nan):
        with pytest.raises(UserError, match="IMAGES_PER_SECOND"):
            given_speed(wrong)


def benchmark(name: str, seconds: float) -> Path:
    return written(f"results/paper/benchmarks/{name}.tsv", f"s\th:m:s\n{seconds}\t0:00:00\n")


def test_hours_at_the_speed_of_finished_jobs():
    config, _, jobs = paper_plan(written("ranks.yaml", "pretraining: {ranks: 2}"))
    assert measured_speed(config, jobs) is None
    spine, chest = job(jobs, "pretrain/spine"), job(jobs, "pretrain/chest")
    benchmark("pretrain/spine", 1_000)
    speed = measured_speed(config, jobs)
    # Two ranks took 1,000 s each; MoCo's image costs four passes, three of the query and one of the key.
    assert speed.hours(spine) == pytest.approx(2_000 / 3_600)
    work = 4 * chest.trained + 100 // 10 * 2_000
    assert speed.hours(chest) == pytest.approx(
        2_000 / 3_600 * work / (4 * spine.trained + 50 * 2_000), rel=1e-9
    )
    tuned = job(jobs, "finetune/spine-none-end_to_end-1pct-subset1")
    by_moco = speed.hours(tuned)
    benchmark(tuned.benchmark, 36)
    assert measured_speed(config, jobs).hours(tuned) == pytest.approx(0.01) != by_moco


def test_a_job_that_trained_a_part_or_nothing_measures_nothing_and_a_broken_benchmark_is_named():
    config, _, jobs = paper_plan()
    benchmark("pretrain/spine", 10)
    log = written("results/paper/logs/pretrain/spine.log", "MoCo: epoch 500/500, 900 images/s (attempt 2)\n")
    assert measured_speed(config, jobs) is None
    log.write_text("nothing to do: the process waited for has finished this training\n")
    assert measured_speed(config, jobs) is None
    log.unlink()
    written("results/paper/benchmarks/pretrain/spine.tsv", "s\n")
    with pytest.raises(UserError, match=r"benchmarks/pretrain/spine\.tsv"):
        measured_speed(config, jobs)
