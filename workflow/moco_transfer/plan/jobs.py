"""Every job of a run, by rule, with the optimiser steps it takes and the images that pass through its network.

One image trained is one that passes forward and backward. What only passes forward is counted apart: MoCo's second view
for the key encoder, the images of probes, those that a finetuned network predicts, and those that are embedded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from moco_transfer.config import Config, Schedule
from moco_transfer.config.experiment import LIMITED, LIMITED_STEPS, NONE_LONGER
from moco_transfer.data.split import subset_size
from moco_transfer.errors import UserError
from moco_transfer.grid import finetuning_jobs
from moco_transfer.plan.images import Images
from moco_transfer.results import (
    carded_datasets,
    compared_networks,
    extra_subsets,
    figure_names,
    stored_datasets,
    table_names,
)
from moco_transfer.training.schedule import all_batches, epochs_for_steps, full_steps, longer_budget

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
        yield from [Job("subset")] * len(target.percents) * config.seeds
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
            (source, percent, seed): None for source, _, percent, seed in finetuning_jobs(config, target)
        }
        for source, percent, seed in cells:
            if source not in (LIMITED, LIMITED_STEPS):
                continue
            n = _labelled_images(config, images, target, percent)
            schedule = config.pretraining.schedules[target]
            if source == LIMITED_STEPS:
                whole = _moco_images(config, images, target)
                epochs = epochs_for_steps(schedule.epochs, schedule.batch, whole, n)
                schedule = schedule.model_copy(update={"epochs": epochs})
            name = f"{source}-{target}-{percent}pct-seed{seed}"
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
        subsets, train = config.seeds + len(extra_subsets(config)), images[target].sides["train"]
        # Subsets are drawn apart: an image is in none of them with probability (1 - largest / train)^subsets.
        union = round(train * (1 - (1 - largest / train) ** subsets))
        for source in (*config.sources, *config.controls.size):
            yield _embed("embed", f"{source}-{target}", config, images[target], union)
        for source, _, percent, seed in finetuning_jobs(config, target, ["linear"]):
            if source in (LIMITED, LIMITED_STEPS):
                name = f"{source}-{target}-{percent}pct-seed{seed}"
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
        for source, mode, percent, seed in finetuning_jobs(config, target, ["end_to_end"]):
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
                f"finetune/{target}-{source}-{mode}-{percent}pct-seed{seed}",
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
