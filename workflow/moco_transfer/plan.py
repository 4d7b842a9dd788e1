"""The configuration as a run would have it: the files merged by Snakemake's own functions, then checked.

How many images each dataset has, and how many of them train, validate and test.

The best witness speaks: the splits of this run, else the packed or read index, else the phantoms that are asked for, the
user's own table, the folders of images, or the known size of the release. What a split by patient or study will give is
not known before, so the shares are then taken of the images.


Every job of a run, by rule, with the optimiser steps it takes and the images that pass through its network.

One image trained is one that passes forward and backward. What only passes forward is counted apart: MoCo's second view
for the key encoder, the images of probes, those that a finetuned network predicts, and those that are embedded.


The disk that a run fills: images, features, encoders, predictions. Releases, logs, figures and tables are not counted.


How long the networks will compute: passes of images over passes a second, given by the user or measured in this run.

A backward pass costs two forward ones, so that an image trained counts three passes and one embedded counts one.


The plan as text: the datasets, the work by stage, the disk, and what each number rests on.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from snakemake.common.configfile import load_configfile
from snakemake.utils import update_config
from snakemake_interface_common.exceptions import WorkflowError

from moco_transfer.config import Config, Schedule, Split, check
from moco_transfer.config.datasets import Dataset
from moco_transfer.config.experiment import LIMITED, LIMITED_STEPS, NONE_LONGER
from moco_transfer.config.networks import DENSENETS
from moco_transfer.data.labels import SPLITS
from moco_transfer.data.releases import RELEASES, describe_missing, find_tables
from moco_transfer.data.split import side_sizes, subset_size
from moco_transfer.errors import UserError
from moco_transfer.experiment import (
    carded_datasets,
    compared_networks,
    extra_subsets,
    figure_names,
    finetuning_jobs,
    stored_datasets,
    table_names,
)
from moco_transfer.files import read_columns
from moco_transfer.training.schedule import all_batches, epochs_for_steps, full_steps, longer_budget


def read_config(files: Sequence[Path]) -> Config:
    """Return the configuration of ``files``: the Snakefile's own first, then overlays in the order of --configfile.

    Raises UserError where a file is missing or no YAML, or the configuration is not right.
    """
    overlays: dict[str, Any] = {}
    base, *others = files
    # Snakemake merges the overlays first and the result into the Snakefile's configuration.
    for file in others:
        update_config(overlays, _read(file))
    config = dict(_read(base))
    update_config(config, overlays)
    return check(config)


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise UserError(f"{file}: no such file; name in CONFIG the files that --configfile would be given")
    try:
        return load_configfile(file)
    except (WorkflowError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{file}: keys and values in YAML were expected, found none ({reason}); mend the file"
        ) from None


# Shares of the phantoms' official splits: every fifth study of the spine, one patient in twenty of the chest.
PHANTOM_SPLITS = {
    "vindr_spinexr": {"train": Fraction(4, 5), "test": Fraction(1, 5)},
    "mimic_cxr_jpg": {"train": Fraction(18, 20), "validation": Fraction(1, 20), "test": Fraction(1, 20)},
}


@dataclass(frozen=True)
class Images:
    """The images of one dataset.

    Attributes
    ----------
    stored : how many are packed, unreadable ones not known of included
    sides : how many train, validate and test
    exact : whether ``sides`` are certain for that number of images
    basis : what the counts rest on, in words
    """

    stored: int
    sides: Mapping[str, int]
    exact: bool
    basis: str


def count_images(config: Config) -> dict[str, Images]:
    """Return the images of every dataset of a run; paths are relative to the folder that Snakemake is called in.

    Raises UserError where nothing tells the size of a dataset, or its split cannot be made.
    """
    return {name: _count(config, name) for name in stored_datasets(config)}


def _count(config: Config, name: str) -> Images:
    dataset = config.datasets[name]
    splits = Path("results", config.run, "splits", f"{name}.parquet")
    if splits.is_file():
        found = Counter(read_columns(splits, ["split"])["split"].to_pylist())
        # Splits of fewer or more phantoms than are asked for now are of an earlier configuration.
        if dataset.phantom is None or dataset.phantom.images == found.total():
            sides = {side: found[side] for side in SPLITS}
            return Images(found.total(), sides, True, f"the splits in {splits}")
    folder = Path("results", "data", config.data, name)
    indexes = [folder / "store/index.parquet", folder / "index.parquet"]
    known = [_of_index(index) for index in indexes if index.is_file() and dataset.phantom is None]
    count = known[0] if known else _expected(config, name, dataset)
    is_exact, basis = count.is_certain and dataset.split.unit == "image", count.basis
    if dataset.labels.unlabeled == "drop":
        is_exact, basis = False, f"{basis}, unlabeled ones not yet dropped"
    return Images(count.images, _sides(dataset.split, count.images, count.official), is_exact, basis)


@dataclass(frozen=True)
class _Found:
    """A number of images, those of each official split, what tells it, and whether it is certain."""

    images: int
    official: Mapping[str, int]
    basis: str
    is_certain: bool


def _of_index(index: Path) -> _Found:
    official = Counter(read_columns(index, ["official_split"])["official_split"].to_pylist())
    return _Found(official.total(), official, f"the images in {index}", True)


def _expected(config: Config, name: str, dataset: Dataset) -> _Found:
    """Return what is known of a dataset that has not been read yet."""
    if dataset.phantom:
        images = dataset.phantom.images
        shares = PHANTOM_SPLITS.get(dataset.adapter, {})
        official = {side: int(share * images) for side, share in shares.items()}
        asked = "official" in (dataset.split.validation, dataset.split.test)
        return _Found(images, official, "the configuration (phantoms)", not asked)
    found = _of_table(name, dataset) if dataset.adapter == "table" else _of_release(config, dataset)
    if dataset.views is None:
        return found
    return replace(found, basis=f"{found.basis}, of all views", is_certain=False)


def _of_table(name: str, dataset: Dataset) -> _Found:
    from moco_transfer.data.adapters.tables import read_table

    table = dataset.table
    if not find_tables("table", dataset.root, file=table.file)[0]:
        missing = describe_missing({name: ("table", dataset.root, dataset.labeler, table.file)})
        raise UserError(f"{missing.splitlines()[0]}, or nothing tells how many images there are")
    path = Path(dataset.root, table.file)
    rows = read_table(path, [table.official_split or table.path])
    official = Counter(rows[table.official_split]) if table.official_split else {}
    return _Found(len(rows), official, f"the rows of {path}", True)


def _of_release(config: Config, dataset: Dataset) -> _Found:
    """Return the images in the folders that the adapter lists, if there are any, or else those of the whole release."""
    from moco_transfer.data.adapters.image_folder import SUFFIXES

    release = RELEASES[dataset.adapter]
    whole = sum(release.images.values())
    folders = [Path(path) for path in find_tables(dataset.adapter, dataset.root, dataset.labeler)[0]]
    listed = (file for folder in folders if folder.is_dir() for file in folder.iterdir())
    there = sum(file.suffix.lower() in SUFFIXES for file in listed)
    if there and not whole:
        return _Found(there, {}, f"the files in {dataset.root}", True)
    if there and there < whole:
        official = {side: images * there // whole for side, images in release.images.items()}
        return _Found(there, official, f"the files in {dataset.root}", False)
    if whole:
        return _Found(whole, release.images, f"the known size of all of {release.name}", True)
    needed = config.similarity.images
    return _Found(needed, {}, f"what the similarity needs, as {dataset.root} holds no images", False)


def _sides(split: Split, images: int, official: Mapping[str, int]) -> dict[str, int]:
    """Return how many images train, validate and test, as ``data.split.assign_splits`` would cut images."""
    shares = {side: getattr(split, side) for side in SPLITS}
    taken = {side: official.get(side, 0) for side, share in shares.items() if share == "official"}
    for side, members in taken.items():
        if members == 0:
            raise UserError(
                f"split: {side} is 'official', but the release has no official {side} images; give a share"
            )
    cut = {side: Fraction(str(share)) for side, share in shares.items() if share != "official"}
    sides = taken | side_sizes(images - sum(taken.values()), "image", cut)
    return {side: sides.get(side, 0) for side in SPLITS}


# Rules that make figures, tables and cards, and the target that asks for them: one line of the plan.
RESULTS = "results"


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes
    ----------
    rule : the rule of the workflow; those of figures, tables and cards are all ``RESULTS``
    benchmark : its file under results/<run>/benchmarks without the suffix, for jobs that a network computes in
    steps : of the optimiser
    trained : images that pass forward and backward
    forward : images that only pass forward
    rows : of features or of predictions that it writes, of all budgets
    target : the dataset that it finetunes on
    """

    rule: str
    benchmark: str = ""
    steps: int = 0
    trained: int = 0
    forward: int = 0
    rows: int = 0
    target: str = ""


def planned_jobs(config: Config, images: Mapping[str, Images]) -> list[Job]:
    """Return every job that `snakemake` runs for ``config`` where nothing is there yet; ``images`` by dataset.

    Raises UserError where a target or MoCo has no images to train on.
    """
    return [
        *_data_jobs(config),
        _initial_job(config, images),
        *_source_jobs(config, images),
        *_limited_jobs(config, images),
        *_embedding_jobs(config, images),
        *_linear_jobs(config, images),
        *_end_to_end_jobs(config, images),
        *_analysis_jobs(config, images),
    ]


@cache
def _epoch_steps(images: int, batch: int) -> int:
    """Return the steps of an epoch in which every image is seen."""
    return len(all_batches(np.arange(images), batch))


def _labelled_images(config: Config, images: Mapping[str, Images], target: str, percent: str) -> int:
    """Return how many images a labelled subset of ``target`` holds."""
    train = images[target].sides["train"]
    if not train:
        raise UserError(f"datasets.{target}.split: a target needs training images, this split has none")
    return subset_size(percent, train)


def _data_jobs(config: Config) -> Iterator[Job]:
    for name in stored_datasets(config):
        dataset = config.datasets[name]
        rules = ["index", "pack", "split", *["pack_shard"] * dataset.store.shards]
        yield from map(Job, ["phantom", *rules] if dataset.phantom else rules)
    for target in config.targets.values():
        yield from [Job("subset")] * len(target.percents) * config.n_subsets
        if extra_subsets(config):
            yield Job("extra_subsets")
    yield from [Job("size_sample")] * len(config.controls.size)


def _initial_job(config: Config, images: Mapping[str, Images]) -> Job:
    weights = config.model.initial_weights
    if weights.kind != "supervised":
        return Job("fetch_weights")
    n = images[weights.dataset].sides["train"]
    steps = weights.epochs * _epoch_steps(n, weights.batch)
    return Job("train_weights", "initial_weights", steps, weights.epochs * n)


def _source_jobs(config: Config, images: Mapping[str, Images]) -> Iterator[Job]:
    """Yield MoCo on whole datasets, and on samples of one that are as large as another."""
    for source, seen in config.sources.items():
        if seen:
            schedule = config.pretraining.schedules[source]
            n = sum(_moco_images(config, images, each) for each in seen)
            probed = sum(_probed(config, images, each, images[each].sides["train"]) for each in seen)
            yield _moco("pretrain", source, config, schedule, n, probed)
    for source, control in config.controls.size.items():
        schedule, n = config.pretraining.schedules[source], _moco_images(config, images, control.as_many_as)
        probed = _probed(config, images, control.dataset, n)
        yield _moco("pretrain_size", source, config, schedule, n, probed)


def _limited_jobs(config: Config, images: Mapping[str, Images]) -> Iterator[Job]:
    """Yield MoCo on just the labelled images, once for all modes that start from it."""
    for target in config.targets:
        cells = {
            (source, percent, subset): None for source, _, percent, subset in finetuning_jobs(config, target)
        }
        for source, percent, subset in cells:
            if source not in (LIMITED, LIMITED_STEPS):
                continue
            n = _labelled_images(config, images, target, percent)
            schedule = config.pretraining.schedules[target]
            if source == LIMITED_STEPS:
                whole = _moco_images(config, images, target)
                epochs = epochs_for_steps(schedule.epochs, schedule.batch, whole, n)
                schedule = schedule.model_copy(update={"epochs": epochs})
            name = f"{source}-{target}-{percent}pct-subset{subset}"
            yield _moco("pretrain_limited", name, config, schedule, n, _probed(config, images, target, n))


def _moco_images(config: Config, images: Mapping[str, Images], dataset: str) -> int:
    """Return how many images of ``dataset`` MoCo sees."""
    return sum(images[dataset].sides[side] for side in config.pretraining.images.split("+"))


def _probed(config: Config, images: Mapping[str, Images], dataset: str, train: int) -> int:
    """Return the images that one probe passes through the encoder, where ``train`` images have labels."""
    probe, validation = config.pretraining.probe, images[dataset].sides["validation"]
    if probe is None or not validation:
        return 0
    return min(probe.images, train) + min(probe.images, validation)


def _moco(rule: str, name: str, config: Config, schedule: Schedule, images: int, probed: int) -> Job:
    if images < 2:
        raise UserError(
            f"MoCo of {name} needs at least two images, there would be {images}; raise the percentage, or give its "
            "dataset training images"
        )
    steps = schedule.epochs * full_steps(images, schedule.batch)
    trained = steps * min(schedule.batch, images)
    every = config.pretraining.probe.every if config.pretraining.probe else schedule.epochs
    probes = -(-schedule.epochs // every)  # the last epoch is always probed
    return Job(rule, f"pretrain/{name}", steps, trained, trained + probes * probed)


def _embedding_jobs(config: Config, images: Mapping[str, Images]) -> Iterator[Job]:
    """Yield the features of all subsets at once for each source, and of one subset where that made the source."""
    for target, chosen in config.targets.items():
        largest = max(_labelled_images(config, images, target, percent) for percent in chosen.percents)
        subsets, train = config.n_subsets + len(extra_subsets(config)), images[target].sides["train"]
        # Subsets are drawn apart: an image is in none of them with probability (1 - largest / train)^subsets.
        union = round(train * (1 - (1 - largest / train) ** subsets))
        for source in (*config.sources, *config.controls.size):
            yield _embed("embed", f"{source}-{target}", config, images[target], union)
        for source, _, percent, subset in finetuning_jobs(config, target, ["linear"]):
            if source in (LIMITED, LIMITED_STEPS):
                name = f"{source}-{target}-{percent}pct-subset{subset}"
                labelled = _labelled_images(config, images, target, percent)
                yield _embed("embed_limited", name, config, images[target], labelled)


def _embed(rule: str, name: str, config: Config, images: Images, labelled: int) -> Job:
    passes = _scored_images(images) + labelled * config.finetune.linear.views
    return Job(rule, f"embed/{name}", forward=passes, rows=passes)


def _scored_images(images: Images) -> int:
    """Return how many images a finetuned network predicts."""
    return images.sides["validation"] + images.sides["test"]


def _linear_jobs(config: Config, images: Mapping[str, Images]) -> Iterator[Job]:
    epochs = config.finetune.linear.epochs
    for target, chosen in config.targets.items():
        batch = config.finetune.optimizers[target].batch
        steps = {
            percent: epochs * _epoch_steps(_labelled_images(config, images, target, percent), batch)
            for percent in chosen.percents
        }
        for _, _, percent, _ in finetuning_jobs(config, target, ["linear"]):
            yield Job("linear", steps=steps[percent], rows=_scored_images(images[target]), target=target)
        if extra_subsets(config):
            of_all = sum(steps.values()) * len(extra_subsets(config))
            yield from [Job("linear_subsets", steps=of_all)] * len([*config.sources, *config.controls.size])


def _end_to_end_jobs(config: Config, images: Mapping[str, Images]) -> Iterator[Job]:
    for target in config.targets:
        batch, validation = config.finetune.optimizers[target].batch, images[target].sides["validation"]
        for source, mode, percent, subset in finetuning_jobs(config, target, ["end_to_end"]):
            n = _labelled_images(config, images, target, percent)
            budgets = config.finetune.end_to_end.budgets
            if source == NONE_LONGER:
                epochs = config.pretraining.schedules[target].epochs
                budgets = [longer_budget(budgets, epochs, _moco_images(config, images, target), n)]
            epochs = sum(budgets)
            predicted = len(budgets) * _scored_images(images[target])
            chosen = epochs * validation if config.finetune.checkpoint == "best" else 0
            yield Job(
                "end_to_end",
                f"finetune/{target}-{source}-{mode}-{percent}pct-subset{subset}",
                epochs * _epoch_steps(n, batch),
                epochs * n,
                predicted + chosen,
                predicted,
                target,
            )


def _analysis_jobs(config: Config, images: Mapping[str, Images]) -> Iterator[Job]:
    for _ in config.targets:
        yield from map(Job, ("select_budgets", "evaluate"))
    drawn = {name: min(config.similarity.images, images[name].stored) for name in stored_datasets(config)}
    yield Job("activations", forward=sum(drawn[name] for name in config.similarity.datasets))
    yield Job("compare_datasets")
    networks = compared_networks(config)
    if len(networks) > 1:
        compared = len(networks) * sum(drawn[target] for target in config.targets)
        yield Job("compare_networks", "networks", forward=compared)
    results = {*figure_names(config), *table_names(config)}
    yield from [Job(RESULTS)] * (len(results) + len(carded_datasets(config)) + 1)


ENCODER_RULES = ("fetch_weights", "train_weights", "pretrain", "pretrain_size", "pretrain_limited")
# Of a row of predictions as it was found in finished runs: a logit with its label, and the image's and patient's names.
LOGIT_BYTES, NAME_BYTES = 5, 16


def disk_bytes(config: Config, images: Mapping[str, Images], jobs: Sequence[Job]) -> dict[str, int | None]:
    """Return the bytes of each kind of file; None where the size of the network is known to torchvision alone.

    ``shards`` are there only until they are joined, and never where a dataset has but one.
    """
    stored = {name: _pixels(config.datasets[name]) * found.stored for name, found in images.items()}
    network = densenet_size(config.model.name)
    features = encoders = None
    if network is not None:
        width, numbers = network
        features = 4 * width * sum(job.rows for job in jobs if job.rule in ("embed", "embed_limited"))
        encoders = 4 * numbers * sum(job.rule in ENCODER_RULES for job in jobs)
    return {
        "images": sum(stored.values()),
        "shards": sum(size for name, size in stored.items() if config.datasets[name].store.shards > 1),
        "features": features,
        "encoders": encoders,
        "predictions": _predictions(config, jobs),
    }


def densenet_size(name: str) -> tuple[int, int] | None:
    """Return (width of the features, numbers in the weights file) of a DenseNet, or None for another network.

    Huang et al. 2017: a layer adds ``growth`` channels by a 1x1 convolution to 4 x growth and a 3x3 convolution; a
    transition halves the channels. Batch normalisation has four numbers a channel.
    """
    if name not in DENSENETS:
        return None
    growth, blocks, channels = DENSENETS[name]
    numbers = 3 * channels * 7 * 7 + 4 * channels
    for block, layers in enumerate(blocks, start=1):
        for _ in range(layers):
            numbers += 4 * channels + channels * 4 * growth + 4 * 4 * growth + 4 * growth * growth * 3 * 3
            channels += growth
        if block < len(blocks):
            numbers += 4 * channels + channels * (channels // 2)
            channels //= 2
    return channels, numbers + 4 * channels


def _pixels(dataset: Dataset) -> int:
    return dataset.store.size**2 * (3 if dataset.store.colour else 1)


def _predictions(config: Config, jobs: Sequence[Job]) -> int:
    row = {target: LOGIT_BYTES * _classes(config.datasets[target]) + NAME_BYTES for target in config.targets}
    return sum(job.rows * row[job.target] for job in jobs if job.rule in ("linear", "end_to_end"))


def _classes(dataset: Dataset) -> int:
    """Return how many labels a dataset has; a folder of classes that is not there counts as one."""
    if dataset.table:
        return len(dataset.table.labels)
    known = RELEASES[dataset.adapter].classes
    return known or max(1, sum(path.is_dir() for path in Path(dataset.root or "").glob("[!.]*")))


PASSES_OF_TRAINING = 3


@dataclass(frozen=True)
class Speed:
    """Passes a second on one device, in words where they come from; ``by_rule`` where that is known."""

    overall: float
    by_rule: Mapping[str, float]
    basis: str

    def hours(self, job: Job) -> float:
        """Return the hours that one device needs for ``job``."""
        return passes(job) / self.by_rule.get(job.rule, self.overall) / 3600


def passes(job: Job) -> int:
    """Return the forward passes that cost as much as the images of ``job``."""
    return PASSES_OF_TRAINING * job.trained + job.forward


def given_speed(images_per_second: float) -> Speed:
    """Return the speed of so many images trained a second; raises UserError for none or fewer."""
    if not images_per_second > 0:
        raise UserError(f"IMAGES_PER_SECOND: a number above 0 was expected, found {images_per_second:g}")
    return Speed(PASSES_OF_TRAINING * images_per_second, {}, f"{images_per_second:g} images/s, as given")


def measured_speed(config: Config, jobs: Sequence[Job]) -> Speed | None:
    """Return the speed of this run's finished jobs by their benchmarks, start-up included, or None without any.

    Left out are jobs that went on after an interruption: their benchmark times the last attempt alone. Raises UserError
    for a benchmark that cannot be read.
    """
    run = Path("results", config.run)
    work: dict[str, list[float]] = {}
    files = 0
    for job in jobs:
        benchmark = run / "benchmarks" / f"{job.benchmark}.tsv"
        if not job.benchmark or not passes(job) or not benchmark.is_file():
            continue
        if _tells_no_speed(run / "logs" / f"{job.benchmark}.log"):
            continue
        seconds = _seconds(benchmark) * devices(config, job)
        done = work.setdefault(job.rule, [0.0, 0.0])
        done[0], done[1] = done[0] + passes(job), done[1] + seconds
        files += 1
    if not files:
        return None
    by_rule = {rule: done / seconds for rule, (done, seconds) in work.items()}
    overall = sum(done for done, _ in work.values()) / sum(seconds for _, seconds in work.values())
    where = f"{files} benchmark{'s' if files > 1 else ''} of finished jobs in {run}/benchmarks"
    return Speed(overall, by_rule, f"{overall / PASSES_OF_TRAINING:.3g} images/s, by {where}")


def devices(config: Config, job: Job) -> int:
    """Return how many devices compute one job."""
    return config.pretraining.ranks if job.rule.startswith("pretrain") else 1


def _tells_no_speed(log: Path) -> bool:
    """Return whether its job trained a part alone, or nothing: it went on from a state, or another had trained for it."""
    if not log.is_file():
        return False
    words = log.read_text(encoding="utf-8", errors="replace")
    return "(attempt " in words or "nothing to do" in words


def _seconds(benchmark: Path) -> float:
    try:
        with benchmark.open(newline="", encoding="utf-8") as file:
            seconds = float(next(csv.DictReader(file, delimiter="\t"))["s"])
    except (StopIteration, KeyError, ValueError):
        seconds = 0.0
    if not seconds > 0:
        raise UserError(f"{benchmark}: its seconds in column 's' cannot be read; delete it and plan again")
    return seconds


STAGES = {
    "phantom releases": ("phantom",),
    "index": ("index",),
    "pack": ("pack_shard", "pack"),
    "splits and subsets": ("split", "subset", "size_sample", "extra_subsets"),
    "initial weights": ("fetch_weights", "train_weights"),
    "pretraining": ("pretrain", "pretrain_size"),
    "pretraining on the labelled images": ("pretrain_limited",),
    "embedding": ("embed", "embed_limited"),
    "linear heads": ("linear", "linear_subsets"),
    "end to end": ("end_to_end",),
    "evaluation": ("select_budgets", "evaluate"),
    "similarity": ("activations", "compare_datasets", "compare_networks"),
    "figures, tables, cards": (RESULTS,),
}
DISK = {
    "images": "packed images",
    "shards": "shards, until joined",
    "features": "features",
    "encoders": "encoders",
    "predictions": "predictions, about",
}


def plan_text(
    config: Config,
    images: Mapping[str, Images],
    jobs: Sequence[Job],
    disk: Mapping[str, int | None],
    speed: Speed | None,
) -> str:
    """Return the whole plan; '~' marks counts that the splits and subsets will change a little."""
    parts = [
        f"Plan of results/{config.run}/, from nothing: what is done already is counted too.",
        _datasets(images),
        _work(config, jobs, speed),
        _disk(config, disk),
    ]
    return "\n\n".join(parts) + "\n"


def _datasets(images: Mapping[str, Images]) -> str:
    rows = [["dataset", "images", "train", "validation", "test", "counted from"]]
    for name, found in images.items():
        mark = "" if found.exact else "~"
        sides = [f"{mark}{found.sides[side]:,}" for side in ("train", "validation", "test")]
        rows.append([name, f"{found.stored:,}", *sides, found.basis])
    return _aligned(rows, numbers=range(1, 5))


def _work(config: Config, jobs: Sequence[Job], speed: Speed | None) -> str:
    unit = "GPU-hours" if config.device == "cuda" else "hours"
    rows = [["stage", "jobs", "steps", "images trained", "forward only", unit]]
    for stage, rules in STAGES.items():
        found = [job for job in jobs if job.rule in rules]
        if found:
            rows.append([stage, *_sums(found, speed)])
    rows.append(["total", *_sums(jobs, speed)])
    notes = [
        "Trained: forward and backward. Forward only: keys of MoCo, probes, predictions, features. Heads train on features.",
        f"Speed: {_basis(config, speed)}",
    ]
    return "\n".join([_aligned(rows, numbers=range(1, 6)), *notes])


def _sums(jobs: Sequence[Job], speed: Speed | None) -> list[str]:
    sums = [sum(getattr(job, kind) for job in jobs) for kind in ("steps", "trained", "forward")]
    hours = sum(speed.hours(job) for job in jobs) if speed else 0.0
    return [
        f"{len(jobs):,}",
        *(f"{value:,}" if value else "" for value in sums),
        f"{hours:,.2f}" if hours else "",
    ]


def _basis(config: Config, speed: Speed | None) -> str:
    if speed is None:
        return (
            f"not known, as results/{config.run}/benchmarks has no finished training. Give what the log of "
            "an end-to-end training says: make plan IMAGES_PER_SECOND=..."
        )
    return f"{speed.basis}; an image trained costs three passes, one that only passes forward one."


def _disk(config: Config, disk: Mapping[str, int | None]) -> str:
    known = {DISK[name]: size for name, size in disk.items() if size is not None}
    known["total, at most"] = sum(known.values())
    unit, size_of_one = ("GB", 1e9) if known["total, at most"] >= 1e9 else ("MB", 1e6)
    rows = [["disk", unit], *([name, f"{size / size_of_one:,.2f}"] for name, size in known.items())]
    notes = ["Releases, states of unfinished trainings, logs, figures and tables come on top."]
    left_out = " and ".join(DISK[name] for name, size in disk.items() if size is None)
    if left_out:
        notes.insert(0, f"Not known before {config.model.name} is built, and not counted: {left_out}.")
    return "\n".join([_aligned(rows, numbers=[1]), *notes])


def _aligned(rows: Sequence[Sequence[str]], numbers: Sequence[int]) -> str:
    """Return ``rows`` as lines of columns, those in ``numbers`` set to the right, with a rule under the first."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if place in numbers else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])
