"""Estimate what a run will cost before anything is computed (``make plan``).

The plan reads the configuration as Snakemake does, counts the images of each dataset, and lists every job of
a run that starts from scratch, with its work and the size of what it writes. The text adds them up by rule, and says
which differences the run will leave undecided (``plan_power``).
The numbers of jobs are exact: the grid comes from ``experiment``, which the rules use too, and a test
compares the plan with a dry run. Images, hours and disk are estimates. PyTorch is not imported, so the plan
runs on a login node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from moco_transfer.config.composition import read_config
from moco_transfer.config.experiment import INITIAL, LIMITED, LIMITED_STEPS, NONE_LONGER, Config
from moco_transfer.config.training import Schedule
from moco_transfer.costs import NETWORK_SIZES, TRAINING_PASSES, measured_speed, network_size
from moco_transfer.data.counts import (
    LEAST_IMAGES,
    check_moco_images,
    check_percents,
    check_sample,
    subset_size,
)
from moco_transfer.data.labels import SPLITS
from moco_transfer.data.releases import RELEASES
from moco_transfer.errors import UserError
from moco_transfer.experiment import (
    carded_datasets,
    compared_networks,
    control_sources,
    extra_subsets,
    figure_names,
    finetuning_jobs,
    folds,
    kept_models,
    pretrainings,
    recipe_remark,
    replicate_of,
    replicates,
    similar_datasets,
    stored_datasets,
    table_names,
)
from moco_transfer.image_counts import Images, configured_images, count_images
from moco_transfer.plan_power import undecided_lines
from moco_transfer.training.schedule import all_batches, epochs_for_steps, full_steps, longer_budget

# The plan counts the rules that make figures, tables, cards and the report, and the target that asks for them, as one
# kind of job.
RESULTS = "figures, tables, cards"
# Stands for the number of images of a dataset that the configuration does not tell.
UNKNOWN = 10**12
# Bytes per row of predictions, measured in finished runs: for a logit and its label, and for the names of
# image and patient.
LOGIT_BYTES, NAME_BYTES = 5, 16


def plan(*, config: list[Path] | None = None, images_per_second: float | None = None) -> None:
    """Print jobs, steps, images, disk and hours of a run before anything is computed, and what it will leave undecided.

    Parameters
    ----------
    config : the files that Snakemake gets as --configfile, in order; if not given, the paper's experiment is planned
    images_per_second : images that end-to-end training processes on one of your GPUs per second, as its log prints it; if not
        given, the logs of this run tell, if there are any
    """
    if images_per_second is not None and not images_per_second > 0:
        raise UserError(f"IMAGES_PER_SECOND: a number above 0 was expected, found {images_per_second:g}")
    print(plan_text(read_config(config or []), images_per_second), end="")


@dataclass(frozen=True)
class Job:
    """One job of a rule (or of ``RESULTS``), its work, and the size in bytes of the large files it writes."""

    rule: str
    steps: int = 0  # of the optimiser
    trained: int = 0  # images that pass forward and backward
    forward: int = 0  # images that only pass forward
    size: int = 0


def refuse_too_few(config: Config) -> None:
    """Raise UserError if the configuration alone tells that a dataset is too small for its split or a training.

    It tells the size of phantoms and of whole releases. Nothing is read, so this can be asked at every start of Snakemake.
    """
    unknown = dict.fromkeys(
        stored_datasets(config), Images(Counter(train=UNKNOWN), "unknown", may_be_fewer=True)
    )
    jobs = _Jobs(config, unknown | configured_images(config))
    for name, target in config.targets.items():
        for percent in target.percents:
            jobs.labelled(name, percent)
    list(jobs.pretraining())


def planned_jobs(config: Config, images: Mapping[str, Images]) -> list[Job]:
    """Return every job that Snakemake runs for ``config`` from scratch; ``images`` are listed by dataset.

    Raises UserError if a training has too few images.
    """
    return list(_Jobs(config, images).all())


class _Jobs:
    def __init__(self, config: Config, images: Mapping[str, Images]) -> None:
        self.config, self.images = config, images
        # Encoders that are the same for every labelled subset.
        self.shared_encoders = [*config.sources, *config.controls.size]
        self.initial_bytes = 4 * network_size(config, INITIAL)[1]

    def all(self) -> Iterator[Job]:
        yield from self.data()
        yield from self.encoders()
        yield from self.pretraining()
        for target in self.config.targets:
            yield from self.features(target)
            yield from self.linear(target)
            yield from self.end_to_end(target)
            yield from map(Job, ("select_budgets", "evaluate"))
        yield from self.analysis()

    def data(self) -> Iterator[Job]:
        for name in stored_datasets(self.config):
            dataset = self.config.datasets[name]
            pixels = dataset.store.size**2 * (3 if dataset.store.colour else 1)
            yield from map(Job, ["phantom", "index"] if dataset.phantom else ["index"])
            yield Job("check_data")
            yield from [Job("pack")] * dataset.store.shards
            yield Job("join_shards", size=pixels * self.images[name].sides.total())
            yield from [Job("split")] * len(folds(self.config, name))
        for name, target in self.config.targets.items():
            drawn = len(target.percents) * self.config.n_subsets
            for _ in folds(self.config, name):
                yield from [Job("subset")] * drawn
                yield from [Job("extra_subsets")] * bool(extra_subsets(self.config))
                yield from [Job("own_subsets")] * bool(self.config.compared_recipes)
        yield from [Job("size_sample")] * len(self.config.controls.size)

    def encoders(self) -> Iterator[Job]:
        """Yield the encoders that MoCo does not train."""
        for name, encoder in self.config.encoders.items():
            weights, size = encoder.weights, 4 * network_size(self.config, name)[1]
            if isinstance(weights, str):
                yield from [Job("import_encoder", size=size)] * len(replicates(self.config, name))
                continue
            n = self.images[weights.classes_of].sides["train"]
            steps = weights.epochs * _epoch_steps(n, weights.batch)
            training = Job("train_weights", steps, weights.epochs * n, size=size)
            yield from [training] * len(replicates(self.config, name))

    def pretraining(self) -> Iterator[Job]:
        """Yield MoCo on whole datasets, on samples as large as another dataset, and on labelled images."""
        schedule = self.config.schedule
        jobs = Counter(each.source for each in pretrainings(self.config))
        for source, seen in self.config.moco_sources.items():
            if seen:
                job = self.moco("pretrain", source, schedule(source), sum(map(self.moco_images, seen)))
                yield from [job] * jobs[source]
        for source, control in self.config.controls.size.items():
            there, needed = map(self.moco_images, (control.dataset, control.as_many_as))
            drawn_from, as_many_as = self.images[control.dataset], self.images[control.as_many_as]
            # A part of a release needs fewer images of phantoms or of a table, whose number is known.
            comparable = drawn_from.may_be_fewer or not as_many_as.may_be_fewer
            if needed < UNKNOWN and comparable and self.are_few(control.dataset, there, needed):
                check_sample(f"config: controls.size.{source}", needed, there)
            yield from [self.moco("pretrain_sample", source, schedule(source), needed)] * jobs[source]
        for target in self.config.targets:
            jobs = finetuning_jobs(self.config, target)
            # Linear and end-to-end jobs of one subset share their pretraining.
            subsets = {
                (job.source, job.percent, job.subset, job.fold)
                for job in jobs
                if job.source in (LIMITED, LIMITED_STEPS)
            }
            for source, percent, _, _ in sorted(subsets):
                n, own = self.labelled(target, percent), schedule(target)
                if source == LIMITED_STEPS:
                    whole = self.moco_images(target)
                    epochs = epochs_for_steps(own.epochs, own.batch, whole, n)
                    own = own.model_copy(update={"epochs": epochs})
                yield self.moco("pretrain_subset", f"{source} {target} {percent}%", own, n)

    def moco(self, rule: str, name: str, schedule: Schedule, images: int) -> Job:
        check_moco_images(name, images)
        groups = min(schedule.bn_groups, min(schedule.batch, images) // 2)
        if groups % self.config.pretraining.ranks:
            raise UserError(
                f"config: MoCo of {name} has {images} images, enough for {groups} bn_groups, which is not a multiple of "
                f"pretraining.ranks, {self.config.pretraining.ranks}; set it to 1"
            )
        steps = schedule.epochs * full_steps(images, schedule.batch)
        seen = steps * min(schedule.batch, images)
        return Job(rule, steps, trained=seen, forward=seen, size=self.initial_bytes)  # keys only pass forward

    def features(self, target: str) -> Iterator[Job]:
        """Yield the features of all subsets at once, and those of each subset by its own encoder."""
        train = self.images[target].sides["train"]
        subsets = self.config.n_subsets + len(extra_subsets(self.config))
        largest = max(self.labelled(target, percent) for percent in self.config.targets[target].percents)
        # Subsets are drawn independently: an image is in none of them with probability (1 - largest /
        # train)^subsets.
        union = round(train * (1 - (1 - largest / train) ** subsets))
        labelled = [
            ("embed", source, union)
            for source in self.shared_encoders
            for _ in replicates(self.config, source)
            for _ in folds(self.config, target)
        ] + [
            ("embed_subset", job.source, self.labelled(target, job.percent))
            for job in finetuning_jobs(self.config, target, ["linear"])
            if job.source in (LIMITED, LIMITED_STEPS)
        ]
        for rule, source, images in labelled:
            rows = self.scored(target) + images * self.config.finetune.linear.views
            yield Job(rule, forward=rows, size=4 * rows * network_size(self.config, source)[0])

    def linear(self, target: str) -> Iterator[Job]:
        config = self.config
        epochs, batch = config.finetune.linear.epochs, config.finetune.optimizer(target).batch
        steps = {
            percent: epochs * _epoch_steps(self.labelled(target, percent), batch)
            for percent in config.targets[target].percents
        }
        # A logistic regression takes no steps.
        trained, *compared = (
            recipe != "logistic" for recipe in (config.linear_recipe, *config.compared_recipes)
        )
        for job in finetuning_jobs(config, target, ["linear"]):
            yield Job("linear", trained * steps[job.percent], size=self.prediction_bytes(target))
        on_subsets = {"linear_subsets": (self.shared_encoders, extra_subsets(config), trained)}
        if compared:
            own = range(1, config.n_subsets + 1)
            on_subsets["linear_recipes"] = (config.sources, own, sum([trained, *compared]))
        for rule, (sources, subsets, heads) in on_subsets.items():
            for source in sources:
                met = Counter(replicate_of(config, source, subset) for subset in subsets)
                for count in met.values():
                    job = Job(rule, heads * count * sum(steps.values()))
                    yield from [job] * len(folds(config, target))

    def end_to_end(self, target: str) -> Iterator[Job]:
        settings, batch = self.config.finetune, self.config.finetune.optimizer(target).batch
        for source, _, percent, subset, _, fold in finetuning_jobs(self.config, target, ["end_to_end"]):
            n, budgets = self.labelled(target, percent), settings.end_to_end.budgets
            if source == NONE_LONGER:
                epochs = self.config.schedule(target).epochs
                budgets = [longer_budget(budgets, epochs, self.moco_images(target), n)]
            epochs = sum(budgets)
            forward = len(budgets) * self.scored(target)
            if settings.checkpoint == "best":
                forward += epochs * self.images[target].sides["validation"]
            size = len(budgets) * self.prediction_bytes(target)
            rule = "end_to_end"
            may_be_kept = subset == fold == 1 and source not in control_sources(self.config)
            if may_be_kept and self.config.models != "none":
                rule, size = "end_to_end_kept", size + len(budgets) * 4 * network_size(self.config, source)[1]
            yield Job(rule, epochs * _epoch_steps(n, batch), epochs * n, forward, size)

    def analysis(self) -> Iterator[Job]:
        config = self.config
        most = config.similarity.images
        drawn = {name: min(most, found.sides.total()) for name, found in self.images.items()}
        if similar := similar_datasets(config):
            yield Job("activations", forward=sum(drawn[name] for name in similar))
            yield Job("compare_datasets")
        networks = compared_networks(config)
        if len(networks) > 1:
            yield Job("compare_networks", forward=len(networks) * sum(drawn[name] for name in config.targets))
        for _, _, *way in (folder.split("/") for folder in kept_models(config)):
            if way:
                yield Job("model_of_way", size=4 * network_size(config, way[0])[1])
            else:  # only data can tell which source is the best
                yield Job("model", size=self.initial_bytes)
        # A figure and a table of one name come from one job; the report and the target that asks for all are jobs too.
        results = {*figure_names(config), *table_names(config)}
        yield from [Job(RESULTS)] * (len(results) + len(carded_datasets(config)) + 2)

    def labelled(self, target: str, percent: str) -> int:
        """Return how many images a labelled subset holds. Raises UserError if there are too few to train on."""
        images = self.images[target].sides["train"]
        if self.are_few(target, Fraction(percent) * images / 100, LEAST_IMAGES):
            check_percents(f"config: targets.{target}.percents", [percent], images)
        return max(LEAST_IMAGES, subset_size(percent, images))

    def are_few(self, dataset: str, images: Fraction | int, needed: int) -> bool:
        """Return whether ``images`` of a dataset are surely fewer than ``needed``.

        Counts are estimates if patients or studies stay together. The job ``check_data`` decides the doubtful cases.
        """
        doubtful = self.config.datasets[dataset].split.unit != "image"
        return images < (needed / 2 if doubtful else needed)

    def moco_images(self, dataset: str) -> int:
        """Return how many images of a whole dataset MoCo sees."""
        return sum(self.images[dataset].sides[side] for side in self.config.pretraining.images.split("+"))

    def scored(self, target: str) -> int:
        """Return how many images a finetuned network predicts."""
        return self.images[target].sides["validation"] + self.images[target].sides["test"]

    def prediction_bytes(self, target: str) -> int:
        """Return the size of one training's predictions; one class is assumed if the classes are unknown."""
        dataset = self.config.datasets[target]
        classes = (
            len(dataset.listing.label_names) if dataset.listing else RELEASES[dataset.adapter].classes or 1
        )
        return self.scored(target) * (LOGIT_BYTES * classes + NAME_BYTES)


def _epoch_steps(images: int, batch: int) -> int:
    """Return the steps of an epoch in which every image is seen."""
    return len(all_batches(np.arange(images), batch))


def plan_text(config: Config, images_per_second: float | None = None) -> str:
    """Return the whole plan; without ``images_per_second``, the hours come from this run's logs."""
    images = count_images(config)
    jobs = planned_jobs(config, images)
    logs = f"results/{config.run}/logs"
    speed = images_per_second or measured_speed(config)
    lines = [
        f"Plan of results/{config.run}/ from scratch: finished jobs are counted too.\n",
        f"{'dataset':<20}{'images':>14}{'train':>14}{'validation':>14}{'test':>14}  counted from",
    ]
    for name, found in images.items():
        counts = (found.sides.total(), *(found.sides[side] for side in SPLITS))
        lines.append(f"{name:<20}" + "".join(f"{count:>14,}" for count in counts) + f"  {found.basis}")
    hours = "GPU-hours" if config.device == "cuda" else "hours"
    headings = ("jobs", "steps", "images trained", "forward only", hours, "GB of disk")
    lines.append(f"\n{'rule':<24}" + "".join(f"{heading:>16}" for heading in headings))
    for rule in dict.fromkeys(job.rule for job in jobs):
        lines.append(_row(rule, [job for job in jobs if job.rule == rule], speed))
    lines += [_row("total", jobs, speed), ""]
    if speed:
        where = "given" if images_per_second else f"from {logs}"
        lines.append(f"Speed: {speed:.4g} images trained per second and device, {where}.")
    else:
        lines.append(
            f"Speed: unknown, because no training has written to {logs}. Give the images/s that the log of "
            "an end-to-end training shows: make plan IMAGES_PER_SECOND=..."
        )
    if any(dataset.split.folds > 1 for dataset in config.datasets.values()):
        lines.append(
            "Folds: the splits are those of fold 1, and every fold has jobs of its own (split.folds)."
        )
    lines += [
        "Images: before a dataset is split, the numbers ignore that images are selected by view, that some "
        "are unreadable or unlabelled, and that the images of a patient or study stay together.",
        "Forward only: MoCo's keys, predictions and features, but not the linear probes during MoCo.",
        "Disk: joining the shards of a dataset temporarily takes twice its space. Releases, logs, figures "
        "and the states of unfinished trainings come on top.",
    ]
    if remark := recipe_remark(config):
        lines.append(remark)
    networks = set(config.architectures)
    if len(networks) > 1:
        lines.append(f"Hours: one speed stands for all networks ({', '.join(sorted(networks))}).")
    if unknown := networks - NETWORK_SIZES.keys():
        lines.append(
            f"Not counted: encoder files and features of {', '.join(sorted(unknown))}, whose size is unknown."
        )
    lines += undecided_lines(config, images)
    return "\n".join(lines) + "\n"


def _row(name: str, jobs: Sequence[Job], speed: float | None) -> str:
    steps, trained, forward, size = (
        sum(getattr(job, kind) for job in jobs) for kind in ("steps", "trained", "forward", "size")
    )
    hours = (trained + forward / TRAINING_PASSES) / speed / 3600 if speed else 0
    cells = [f"{count:,}" if count else "" for count in (len(jobs), steps, trained, forward)]
    cells += [f"{number:,.2f}" if number else "" for number in (hours, size / 1e9)]
    return f"{name:<24}" + "".join(f"{cell:>16}" for cell in cells)
