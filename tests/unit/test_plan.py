"""The plan of a run, against numbers worked out by hand, the networks themselves, and made-up files."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from made_up_settings import NETWORK
from snakemake.utils import update_config

from moco_transfer.config.composition import composed, read_config
from moco_transfer.config.experiment import check
from moco_transfer.costs import measured_speed
from moco_transfer.errors import UserError
from moco_transfer.image_counts import count_images
from moco_transfer.plan import (
    NETWORK_SIZES,
    plan,
    plan_text,
    planned_jobs,
    refuse_too_few,
)
from moco_transfer.training.log import MetricsLog

CONFIG = Path(__file__).parents[2] / "config"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def written(name: str, text: str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def sides(*overlays: Path) -> dict[str, tuple[int, int, int]]:
    """Return how many images of each dataset train, validate and test."""
    images = count_images(read_config(overlays))
    return {
        name: tuple(found.sides[s] for s in ("train", "validation", "test")) for name, found in images.items()
    }


def jobs_of(rule: str, *overlays: Path) -> list:
    rules = (rule, f"{rule}_kept")
    config = read_config(overlays)
    return [job for job in planned_jobs(config, count_images(config)) if job.rule in rules]


def text_of(*overlays: Path, speed: float | None = None) -> str:
    return plan_text(read_config(overlays), speed)


def hours(text: str) -> float:
    total = next(line for line in text.splitlines() if line.startswith("total "))
    return float(total.split()[-2].replace(",", ""))


def test_overlays_merge_among_themselves_before_they_meet_the_first_file():
    without = written("without.yaml", "n_subsets: 4\ntargets: {spine: null}")
    again = written("again.yaml", "n_subsets: 5\ntargets: {spine: {limited: []}}")
    config = read_config([without, again])
    # One after the other, spine would have come back without percents.
    assert config.n_subsets == 5 and config.targets["spine"].percents == ["1", "10", "100"]
    assert config.targets["spine"].limited == []
    assert "spine" not in read_config([again, without]).targets


def test_overlays_that_both_name_an_encoder_merge_as_snakemake_merges_them():
    first = {
        "model": {"initial_weights": {"encoder": "resnet18", "weights": "random", "trained_on": ["chest"]}}
    }
    second = {"model": {"initial_weights": {"encoder": "resnet50", "weights": "pretrained"}}}
    files = [written("first.yaml", yaml.safe_dump(first)), written("second.yaml", yaml.safe_dump(second))]
    update_config(first, second)
    assert read_config(files) == check(composed(first))
    assert read_config(files).model.initial_weights.trained_on == ["chest"]
    # The keys of the encoder of config.yaml belong to that encoder alone.
    assert read_config(files).model.initial_weights.sha256 is None


@pytest.mark.parametrize("text", [None, "just words", "a: [", "sede: 1"])
def test_a_wrong_file_is_one_line(text):
    path = Path("mine.yaml") if text is None else written("mine.yaml", text)
    with pytest.raises(UserError, match=r"^.*(mine\.yaml|did you mean 'seed').*\Z"):
        read_config([path])


def test_the_papers_datasets_without_any_file():
    assert sides() == {
        "spine": (5_872, 2_517, 2_077),
        "chest": (226_266, 75_422, 75_422),
        "natural": (2_000, 0, 0),
    }
    for line in text_of().splitlines()[3:6]:
        assert line.endswith((" data/vindr-spinexr/", " data/mimic-cxr-jpg/", " data/imagenet/"))


def test_the_papers_steps_and_images():
    spine, chest, both = jobs_of("pretrain")
    assert (spine.steps, spine.trained) == (500 * 91, 500 * 91 * 64)
    assert spine.forward == spine.trained  # the keys
    assert chest.steps == 100 * (226_266 // 256) and both.steps == 100 * ((5_872 + 226_266) // 256)
    assert sum(job.steps == 500 and job.forward == 500 * 58 for job in jobs_of("pretrain_subset")) == 3
    tuned = [job for job in jobs_of("end_to_end") if job.trained == 375 * 58]
    assert len(tuned) == 4 * 3
    assert {(job.steps, job.forward) for job in tuned} == {(375 * 4, 4 * (2_517 + 2_077))}
    # Of one subset, four networks of 7 million numbers are kept, and of each percentage one model.
    assert Counter(job.size > 4 * 4 * 7e6 for job in tuned) == {True: 4, False: 8}
    assert len(jobs_of("model")) == 3 + 4 and all(job.size > 4 * 7e6 for job in jobs_of("model"))
    # All 5,872 training images are in the subset of 100 per cent.
    assert Counter(job.forward for job in jobs_of("embed"))[10_466] == 4
    heads = Counter(job.steps for job in jobs_of("linear"))
    cells = {58: 5 * 3, 587: 5 * 3, 5_872: 4 * 3}
    assert all(heads[100 * math.ceil(n / 16)] >= count for n, count in cells.items())


def test_the_controls_take_as_many_steps_or_images_as_moco_on_all():
    controls = CONFIG / "controls.yaml"
    assert sum(job.steps == 500 * 91 for job in jobs_of("pretrain_subset", controls)) == 3
    longer = [job for job in jobs_of("end_to_end", controls) if job.forward == 2_517 + 2_077]
    assert len(longer) == 3
    assert all(0 <= job.trained - (200 * 58 + 500 * 5_872) < 58 for job in longer)
    # As many chest images as spine has, on spine's schedule and on chest's, three encoders each.
    assert [job.steps for job in jobs_of("pretrain_sample", controls)] == 3 * [500 * 91] + 3 * [100 * 22]
    assert len(jobs_of("pretrain", controls)) == 3 * 3
    # The encoders of three sources and two controls, and the one of the initial weights.
    assert len(jobs_of("linear_subsets", controls)) == 2 * (5 * 3 + 1)
    assert len(jobs_of("extra_subsets", controls)) == 2


def test_every_fold_has_its_own_jobs():
    folded = written("folds.yaml", "datasets: {chest: {split: {folds: 5}}}")
    # MoCo on spine alone does not see chest images, so one encoder serves all folds.
    assert [len(jobs_of("pretrain", *files)) for files in ((), (folded,))] == [3, 1 + 5 + 5]
    once, more = (Counter(job.size for job in jobs_of("linear", *files)) for files in ((), (folded,)))
    size = max(once)  # of predictions of chest images
    assert more == {each: count * (5 if each == size else 1) for each, count in once.items()}
    assert "fold 1" in text_of(folded) and "fold" not in text_of()


def test_embedded_images_are_the_union_of_subsets():
    draw = np.random.default_rng(0)
    n, largest, scored = 226_266, 22_626, 2 * 75_422
    seen = [len(np.unique([draw.choice(n, largest, replace=False) for _ in range(20)])) for _ in range(3)]
    embedded = max(job.forward for job in jobs_of("embed", written("more.yaml", "controls: {subsets: 20}")))
    assert embedded - scored == pytest.approx(np.mean(seen), rel=0.002)


def test_files_of_a_run_tell_more_than_releases():
    index = Path("results/data/paper/chest/index.parquet")
    index.parent.mkdir(parents=True)
    pd.DataFrame({"official_split": ["train"] * 7 + [None] * 3}).to_parquet(index)
    assert sides()["chest"] == (6, 2, 2)
    splits = Path("results/paper/splits/chest/fold1.parquet")
    splits.parent.mkdir(parents=True)
    pd.DataFrame({"split": ["train"] * 5 + ["validation"] * 2 + ["test"] * 2 + [None]}).to_parquet(splits)
    # One image is in no split, but packed.
    assert sides()["chest"] == (5, 2, 2)
    found = count_images(read_config([]))["chest"]
    assert found.sides.total() == 10 and found.basis == str(splits)


def test_files_of_a_part_of_a_release_are_counted():
    for n in range(1_000):
        written(f"data/nih-chestxray14/images_00{1 + n % 2}/images/{n}.png", "")
    written("data/nih-chestxray14/Data_Entry_2017_v2020.csv", "")
    train, validation, test = sides(CONFIG / "nih.yaml")["chest"]
    # 25,596 of 112,120 are the official test images.
    assert (train + validation + test, test) == (1_000, 228)


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
    with pytest.raises(UserError, match=r"mine/labels\.csv"):
        sides(written("mine.yaml", TABLE))
    rows = "".join(f"{n}.png,1,{'test' if n < 4 else 'train'}\n" for n in range(24))
    written("mine/labels.csv", f"file,sick,part\n{rows}")
    assert sides(Path("mine.yaml"))["chest"] == (15, 5, 4)


def test_an_official_split_that_the_release_lacks_is_an_error():
    overlay = "datasets: {spine: {split: {train: 1.0, validation: official, test: official}}}"
    with pytest.raises(UserError, match="no official validation images"):
        sides(written("mine.yaml", overlay))


def test_nothing_to_train_on_is_an_error():
    overlay = "datasets: {natural: {split: {train: 0.0, validation: 1.0}, store: {colour: false}}}\nsources: {chest: [natural]}"
    with pytest.raises(UserError, match="MoCo of chest"):
        jobs_of("pretrain", written("mine.yaml", overlay))


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        # 5,872 training images: 0.034% is one image, 0.035% two.
        ("targets: {spine: {percents: ['0.034'], limited: []}}", '0.034% of 5872 .* works is "0.0341"$'),
        ("datasets: {spine: {root: null, phantom: {images: 12, size: 64}}}", 'spine.percents: 1% of .* works is "28.6"$'),
        ("datasets: {spine: {root: null, phantom: {images: 2, size: 64}}}", "datasets.spine.split: test is .official., but there are no official test images"),
        (
            "controls: {size: {more: {dataset: spine, as_many_as: chest}}}\n"
            "pretraining: {schedules: {more: {epochs: 1, batch: 8, lr: 1, bn_groups: 1}}}",
            "config: controls.size.more: MoCo needs 226266 images of its dataset, which has 5872",
        ),
        ("pretraining: {ranks: 2}\ntargets: {spine: {limited: ['1'], percents: ['0.06', '1'], limited: ['0.06']}}",
         "limited spine 0.06% has 3 images, enough for 1 bn_groups"),
    ],
)  # fmt: skip
def test_too_few_images_are_known_from_the_configuration(overlay, message):
    config = read_config([written("mine.yaml", overlay)])
    with pytest.raises(UserError, match=message) as caught:
        refuse_too_few(config)
    assert "\n" not in str(caught.value)


def test_a_release_may_be_there_in_part_so_its_size_does_not_refuse_a_control():
    config = read_config([CONFIG / "demo.yaml", written("m.yaml", "datasets: {spine: {root: /part}}")])
    refuse_too_few(config)
    assert planned_jobs(config, count_images(config))


@pytest.mark.parametrize("files", [[], ["controls"], ["demo"], ["demo", "nih-sample"], ["nih"]], ids="+".join)
def test_the_configurations_of_the_repository_have_enough_images(files):
    refuse_too_few(read_config([*(CONFIG / f"{name}.yaml" for name in files)]))


@pytest.mark.parametrize("name", NETWORK_SIZES)
def test_the_size_of_a_network_is_that_of_the_network(name):
    import torch

    from moco_transfer.networks import build_network

    size = 518 if "dinov2" in name else 224
    with torch.device("meta"):
        network = build_network(NETWORK.model_copy(update={"name": name, "size": size}), 0)
    state = network.state_dict()
    numbers = sum(value.numel() for key, value in state.items() if not key.endswith("num_batches_tracked"))
    assert NETWORK_SIZES[name] == (network.width, numbers)


def test_disk():
    assert [job.size for job in jobs_of("join_shards")] == [256**2 * n for n in (10_466, 377_110, 3 * 2_000)]
    assert all(job.size == 4 * 1_024 * job.forward for job in jobs_of("embed"))
    assert jobs_of("pretrain")[0].size == pytest.approx(28.2e6, rel=0.01)
    assert jobs_of("import_encoder")[0].size == jobs_of("pretrain")[0].size
    assert "unknown" not in text_of(speed=1)


def test_every_source_has_the_size_of_its_own_network():
    sources = """
sources:
  resnet: {encoder: resnet50.a1_in1k, weights: pretrained}
  vit: {encoder: vit_little_patch16_reg4_gap_256, weights: random}
  learnt: {encoder: densenet_small, weights: {classes_of: natural, epochs: 3, batch: 100, lr: 0.1}}
"""
    own = written("own.yaml", sources)
    widths = {job.size / job.forward for job in jobs_of("embed", own)}
    assert widths == {4 * 1_024, 4 * 2_048, 0, 4 * 50}
    assert len(jobs_of("embed", own)) == 2 * (4 + 3)
    initial, resnet, vit = jobs_of("import_encoder", own)
    assert (initial.size, resnet.size, vit.size) == (4 * 7_037_504, 4 * 23_561_152, 0)
    (learnt,) = jobs_of("train_weights", own)
    assert (learnt.steps, learnt.trained, learnt.size) == (3 * 20, 3 * 2_000, 4 * 47_272)
    # MoCo starts from the initial weights.
    assert {job.size for job in jobs_of("pretrain", own)} == {initial.size}
    said = [line for line in text_of(own).splitlines() if "Not counted" in line]
    assert len(said) == 1 and "vit_little_patch16_reg4_gap_256" in said[0] and "resnet50" not in said[0]
    other = written("other.yaml", "model: {initial_weights: {encoder: resnet34, weights: random}}")
    assert jobs_of("pretrain", other)[0].size == 0 and "features of resnet34, whose" in text_of(other)


def test_hours_at_a_given_speed():
    config = read_config([])
    jobs = planned_jobs(config, count_images(config))
    # An image that only passes forward costs a third of one trained.
    images = sum(job.trained for job in jobs) + sum(job.forward for job in jobs) / 3
    assert hours(text_of(speed=500)) == pytest.approx(images / 500 / 3_600, abs=0.01)
    assert "GPU-hours" in text_of() and "GPU-hours" not in text_of(CONFIG / "demo.yaml")
    for wrong in (0, -1, math.nan):
        with pytest.raises(UserError, match="IMAGES_PER_SECOND"):
            plan(config=[], images_per_second=wrong)


def test_hours_at_the_speed_of_the_logs(capsys):
    two_ranks = written("ranks.yaml", "pretraining: {ranks: 2}")
    config = read_config([two_ranks])
    assert measured_speed(config) is None and "IMAGES_PER_SECOND" in text_of()

    def train(name: str, images: int, seconds: float) -> None:
        """Write the log of a training whose first attempt took ``seconds``."""
        log = MetricsLog(name, 2, images // 2)
        log.load_state({"rows": [{"epoch": 1}], "seen": 0, "seconds": seconds, "attempts": 1})
        log.epoch(epoch=2, loss=1.5)
        written(f"results/paper/logs/{name}.log", capsys.readouterr().err)

    train("pretrain/spine/replicate1", 54_000, 60)
    written("results/paper/logs/pretrain/chest/replicate1/fold1.log", "nothing to do\n")
    # Each of two devices takes 450 images per second, at four passes instead of three.
    assert measured_speed(config) == pytest.approx(450 * 4 / 3)
    train("finetune/spine/none/replicate1/end_to_end/1pct/fold1/subset1", 16_000, 40)
    # A linear head trains on features.
    train("finetune/spine/none/replicate1/linear/1pct/fold1/subset1", 10**6, 10)
    expected = (54_000 * 4 / 3 + 16_000) / (2 * 60 + 40)
    assert measured_speed(config) == pytest.approx(expected)
    assert hours(text_of(two_ranks)) == pytest.approx(hours(text_of(two_ranks, speed=expected)))


def test_the_command_runs_without_pytorch():
    command = (
        "import sys; from moco_transfer.cli import main; assert not main(); print('torch' in sys.modules)"
    )
    options = ["plan", "--config", str(CONFIG / "demo.yaml"), "--images-per-second", "1e3"]
    arguments = [sys.executable, "-c", command, *options]
    run = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert run.stdout.startswith("Plan of results/demo/") and run.stdout.endswith("False\n")
