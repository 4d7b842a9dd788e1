"""The plan of a run: what is counted against numbers worked out by hand, the networks themselves, and made-up files."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up_plans import CONFIG, PAPER, job, paper_plan, written

from moco_transfer.errors import UserError
from moco_transfer.plan import STAGES, Images, count_images, disk_bytes, given_speed, plan_text, read_config


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_overlays_merge_among_themselves_before_they_meet_the_first_file():
    without = written("without.yaml", "n_subsets: 4\ntargets: {spine: null}")
    again = written("again.yaml", "n_subsets: 5\ntargets: {spine: {limited: []}}")
    config = read_config([PAPER, without, again])
    # One after the other, spine would have come back without percents.
    assert config.n_subsets == 5 and config.targets["spine"].percents == ["1", "10", "100"]
    assert config.targets["spine"].limited == []
    assert "spine" not in read_config([PAPER, again, without]).targets


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file"),
        ("just words", "keys and values in YAML"),
        ("a: [", "keys and values in YAML"),
        ("sede: 1", "did you mean 'seed'"),
    ],
)
def test_a_wrong_file_is_one_line(text, message):
    path = Path("mine.yaml") if text is None else written("mine.yaml", text)
    with pytest.raises(UserError, match=rf"^.*{message}.*\Z"):
        read_config([PAPER, path])


def test_the_papers_datasets_without_any_file():
    images = count_images(read_config([PAPER]))
    assert images["spine"] == Images(
        10_466,
        {"train": 5_872, "validation": 2_517, "test": 2_077},
        True,
        "the known size of all of VinDr-SpineXR 1.0.0",
    )
    assert images["chest"].stored == 377_110 and not images["chest"].exact
    assert images["chest"].sides == {"train": 226_266, "validation": 75_422, "test": 75_422}
    assert images["natural"].stored == 2_000 and "similarity" in images["natural"].basis


def test_the_papers_steps_and_images():
    _, _, jobs = paper_plan()
    spine = job(jobs, "pretrain/spine")
    assert (spine.steps, spine.trained) == (500 * 91, 500 * 91 * 64)
    # Keys pass forward as often; a probe every 10 epochs takes 1,000 images of training and of validation.
    assert spine.forward == spine.trained + 50 * 2_000
    assert job(jobs, "pretrain/spine+chest").steps == 100 * ((5_872 + 226_266) // 256)
    limited = job(jobs, "pretrain/limited-spine-1pct-subset1")
    assert (limited.steps, limited.forward) == (500, 500 * 58 + 50 * (58 + 1_000))
    tuned = job(jobs, "finetune/spine-none-end_to_end-1pct-subset3")
    assert (tuned.steps, tuned.trained) == (375 * 4, 375 * 58)
    assert tuned.forward == tuned.rows == 4 * (2_517 + 2_077)
    # All 5,872 training images are in the subset of 100 per cent.
    assert job(jobs, "embed/chest-spine").forward == 10_466
    heads = [each.steps for each in jobs if each.rule == "linear" and each.target == "spine"]
    cells = {58: 5 * 3, 587: 5 * 3, 5_872: 4 * 3}
    assert sum(heads) == sum(100 * math.ceil(n / 16) * count for n, count in cells.items())


def test_the_controls_take_as_many_steps_or_images_as_moco_on_all():
    _, _, jobs = paper_plan(CONFIG / "controls.yaml")
    assert job(jobs, "pretrain/limited-steps-spine-1pct-subset1").steps == 500 * 91
    longer = job(jobs, "finetune/spine-none-longer-end_to_end-1pct-subset1")
    assert 0 <= longer.trained - (200 * 58 + 500 * 5_872) < 58
    assert longer.rows == 2_517 + 2_077
    # as many chest images as spine has, on spine's schedule
    assert job(jobs, "pretrain/chest-as-spine").steps == job(jobs, "pretrain/spine").steps
    by_rule = Counter(each.rule for each in jobs)
    assert by_rule["linear_subsets"] == 2 * 5 and by_rule["extra_subsets"] == 2


def test_embedded_images_are_the_union_of_subsets():
    _, images, jobs = paper_plan(written("more.yaml", "controls: {subsets: 20}"))
    draw = np.random.default_rng(0)
    n, largest = images["chest"].sides["train"], 22_626
    seen = [len(np.unique([draw.choice(n, largest, replace=False) for _ in range(20)])) for _ in range(3)]
    scored = images["chest"].sides["validation"] + images["chest"].sides["test"]
    assert job(jobs, "embed/none-chest").forward - scored == pytest.approx(np.mean(seen), rel=0.002)


def test_every_rule_has_a_stage():
    _, _, jobs = paper_plan(CONFIG / "demo.yaml")
    assert {each.rule for each in jobs} | {"fetch_weights"} == {
        rule for stage in STAGES.values() for rule in stage
    }


def test_files_of_a_run_tell_more_than_releases():
    config = read_config([PAPER])
    store = Path("results/data/paper/chest/store/index.parquet")
    store.parent.mkdir(parents=True)
    pd.DataFrame({"official_split": ["train"] * 7 + [None] * 3}).to_parquet(store)
    found = count_images(config)["chest"]
    assert (found.stored, found.exact, str(store) in found.basis) == (10, False, True)
    assert found.sides == {"train": 6, "validation": 2, "test": 2}
    splits = Path("results/paper/splits/chest.parquet")
    splits.parent.mkdir(parents=True)
    pd.DataFrame({"split": ["train"] * 5 + ["validation"] * 2 + ["test"] * 2 + [None]}).to_parquet(splits)
    found = count_images(config)["chest"]
    assert (found.stored, found.exact, str(splits) in found.basis) == (10, True, True)
    assert found.sides == {"train": 5, "validation": 2, "test": 2}


def test_splits_of_other_phantoms_are_not_taken():
    splits = Path("results/demo/splits/spine.parquet")
    splits.parent.mkdir(parents=True)
    pd.DataFrame({"split": ["train"] * 5}).to_parquet(splits)
    found = count_images(read_config([PAPER, CONFIG / "demo.yaml"]))["spine"]
    assert (found.stored, found.exact) == (1_200, False)
    assert found.sides == {"train": 672, "validation": 288, "test": 240}


def test_files_of_a_part_of_a_release_are_counted():
    for n in range(1_000):
        written(f"data/nih-chestxray14/images_00{1 + n % 2}/images/{n}.png", "")
    written("data/nih-chestxray14/Data_Entry_2017_v2020.csv", "")
    found = count_images(read_config([PAPER, CONFIG / "nih.yaml"]))["chest"]
    # 25,596 of 112,120 are the official test images; a tenth of the rest or so validates.
    assert (found.stored, found.exact, found.sides["test"]) == (1_000, False, 228)


TABLE = """
targets: {chest: {percents: ["20"], limited: []}}
datasets:
  chest:
    adapter: table
    root: mine
    table: {file: labels.csv, path: file, labels: [sick], official_split: part}
    split: {unit: image, train: 0.75, validation: 0.25, test: official}
"""


def test_the_rows_of_a_table_are_counted():
    rows = "".join(f"{n}.png,1,{'test' if n < 4 else 'train'}\n" for n in range(24))
    written("mine/labels.csv", f"file,sick,part\n{rows}")
    config, images, jobs = paper_plan(written("mine.yaml", TABLE))
    assert images["chest"].sides == {"train": 15, "validation": 5, "test": 4} and images["chest"].exact
    assert config.datasets["chest"].store.shards == Counter(each.rule for each in jobs)["pack_shard"] - 9


def test_a_table_that_is_not_there_cannot_be_planned():
    with pytest.raises(UserError, match=r"dataset 'chest'.*no labels\.csv in mine/"):
        count_images(read_config([PAPER, written("mine.yaml", TABLE)]))


def test_an_official_split_that_the_release_lacks_is_an_error():
    overlay = written(
        "mine.yaml", "datasets: {spine: {split: {train: 1.0, validation: official, test: official}}}"
    )
    with pytest.raises(UserError, match="no official validation images"):
        count_images(read_config([PAPER, overlay]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "datasets: {spine: {split: {train: 0.0, validation: 1.0}}}\nsources: {spine: null, spine+chest: null}",
            "datasets.spine.split: a target needs training images",
        ),
        (
            "datasets: {natural: {split: {train: 0.0, validation: 1.0}}}\nsources: {chest: [natural]}",
            "MoCo of chest",
        ),
    ],
)
def test_nothing_to_train_on_is_an_error(text, message):
    with pytest.raises(UserError, match=message):
        paper_plan(written("mine.yaml", text))


def test_the_text_says_what_is_known_and_what_is_not():
    config, images, jobs = paper_plan()
    disk = disk_bytes(config, images, jobs)
    lines = plan_text(config, images, jobs, disk, None).splitlines()
    rows = {line.split("  ")[0]: line.split()[-5:] for line in lines if line}
    assert rows["end to end"][1] == "84" and "GPU-hours" in "".join(lines)
    for start, part in (
        ("Speed: not known", "IMAGES_PER_SECOND"),
        ("chest", "~226,266"),
        ("spine", " 5,872"),
    ):
        assert any(line.startswith(start) and part in line for line in lines)
    trained, forward = sum(each.trained for each in jobs), sum(each.forward for each in jobs)
    text = plan_text(config, images, jobs, disk, given_speed(1_000))
    total = next(line for line in text.splitlines() if line.startswith("total "))
    assert f"{trained:,}" in total
    assert total.split()[-1] == f"{(3 * trained + forward) / 3_000 / 3_600:,.2f}"
    assert "1000 images/s, as given" in text


def test_the_command_runs_without_pytorch():
    command = "import sys; from moco_transfer.cli import main; status = main(); print('torch' in sys.modules); sys.exit(status)"
    options = ["plan", "--config", str(PAPER), str(CONFIG / "demo.yaml"), "--images-per-second", "1e3"]
    arguments = [sys.executable, "-c", command, *options]
    run = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert run.stdout.startswith("Plan of results/demo/") and run.stdout.endswith("False\n")
