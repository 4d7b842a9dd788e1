"""The whole configuration: which datasets are targets and sources, and that its parts fit together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, model_validator

from moco_transfer.config.analysis import Evaluation, Similarity
from moco_transfer.config.controls import Controls
from moco_transfer.config.datasets import Dataset
from moco_transfer.config.section import Name, Percent, Positive, Section
from moco_transfer.config.training import Finetune, Moco, Model, Pretraining

# MoCo on just the labelled images; the same with as many steps as on all images; none, with more supervised epochs.
BUILT_IN_SOURCES = (LIMITED, LIMITED_STEPS, NONE_LONGER) = ("limited", "limited-steps", "none-longer")


class Target(Section):
    percents: list[Percent] = Field(
        min_length=1, description="percentages of the training labels, as strings"
    )
    limited: list[Percent] = Field(description="those of them with MoCo on just the labelled images (#14d)")
    limited_modes: list[Literal["linear", "end_to_end"]] = Field(
        ["linear"], description="how those are finetuned"
    )


class Resources(Section):
    gpus: Annotated[int, Field(ge=0)] = Field(description="of a training job; 0 where there is none")
    threads: Positive = Field(description="of a training job")
    mem_mb: Positive = Field(description="of a training job")
    max_mem_mb: Positive = Field(description="the most that a retried job asks for")
    max_runtime: Positive = Field(description="minutes; the most that a cluster gives a job")


class Config(Section):
    run: Name = Field(description="results/<run>/ is what this configuration writes")
    data: Name = Field(description="results/data/<data>/ is what runs share")
    seed: Annotated[int, Field(ge=0)] = Field(description="the root of every random stream")
    seeds: Positive = Field(description="labelled subsets for each percentage")
    device: Literal["cpu", "cuda"] = Field(description="where networks run")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        description="of training steps; `auto` is bfloat16 (autocast) on GPUs that have it and float32 elsewhere"
    )
    compile: bool = Field(
        description="train networks that torch.compile has compiled; the first step takes minutes"
    )
    datasets: dict[Name, Dataset]
    targets: dict[Name, Target] = Field(min_length=1, description="by dataset: what is finetuned and scored")
    sources: dict[Name, list[Name]] = Field(description="by name: the datasets MoCo sees")
    subsets: Literal["nested", "stratified"] = Field(description="how labelled subsets are drawn (#3)")
    model: Model
    moco: Moco
    pretraining: Pretraining
    finetune: Finetune
    controls: Controls
    evaluation: Evaluation
    similarity: Similarity
    resources: Resources

    @model_validator(mode="after")
    def _sources_fit(self) -> Config:
        trained = [source for source, seen in self.sources.items() if seen]
        for name in (*self.sources, *self.controls.size):
            if name in BUILT_IN_SOURCES:
                raise ValueError(f"sources: '{name}' is built in, name yours otherwise")
        for source, seen in self.sources.items():
            _require(f"sources.{source}", seen, self.datasets, "a dataset")
            if len({(self.datasets[name].store.size, self.datasets[name].store.colour) for name in seen}) > 1:
                raise ValueError(f"sources.{source}: its datasets need one store.size, and colour or none")
        schedules, what = self.pretraining.schedules, "among them"
        _require(
            "pretraining.schedules must have every source", [*trained, *self.controls.size], schedules, what
        )
        for source, schedule in schedules.items():
            if schedule.bn_groups % self.pretraining.ranks:
                raise ValueError(
                    f"pretraining.schedules.{source}.bn_groups is {schedule.bn_groups}, not a multiple of "
                    f"pretraining.ranks, {self.pretraining.ranks}"
                )
        return self

    @model_validator(mode="after")
    def _targets_fit(self) -> Config:
        _require("targets", list(self.targets), self.datasets, "a dataset")
        optimizers, what = self.finetune.optimizers, "among them"
        _require("finetune.optimizers must have every target", list(self.targets), optimizers, what)
        for name, target in self.targets.items():
            if self.datasets[name].split.validation == 0 or self.datasets[name].split.test == 0:
                raise ValueError(f"datasets.{name}.split: a target needs validation and test images")
            if len(set(map(float, target.percents))) < len(target.percents):
                raise ValueError(f"targets.{name}.percents: one is there twice")
            _require(f"targets.{name}.limited", target.limited, target.percents, "among its percents")
            if target.limited:
                self._require_schedule(name, "for its limited runs")
        return self

    @model_validator(mode="after")
    def _controls_fit(self) -> Config:
        for name, control in self.controls.size.items():
            where = f"controls.size.{name}"
            if name in self.sources:
                raise ValueError(f"{where}: a source has this name, choose another")
            _require(where, [control.dataset, control.as_many_as], self.datasets, "a dataset")
        for kind in ("steps", "budget"):
            for target, percents in getattr(self.controls, kind).items():
                _require(f"controls.{kind}", [target], self.targets, "a target")
                where, those = f"controls.{kind}.{target}", self.targets[target].percents
                _require(where, percents, those, f"among targets.{target}.percents")
                self._require_schedule(target, f"for controls.{kind}")
        return self

    @model_validator(mode="after")
    def _images_fit(self) -> Config:
        _require("similarity.datasets", self.similarity.datasets, self.datasets, "a dataset")
        _require("similarity.network", [self.similarity.network], self.sources, "a source")
        for name, dataset in self.datasets.items():
            if dataset.store.size < self.model.input_size:
                raise ValueError(
                    f"datasets.{name}.store.size is smaller than model.input_size, which is cut out of it"
                )
        if self.model.initial_weights.dataset is not None:
            named = [self.model.initial_weights.dataset]
            _require("model.initial_weights.dataset", named, self.datasets, "a dataset")
        return self

    def _require_schedule(self, target: str, why: str) -> None:
        where = f"pretraining.schedules must have '{target}' {why}"
        _require(where, [target], self.pretraining.schedules, "there")


def _require(where: str, names: list[str], among: Iterable[str], what: str) -> None:
    for name in names:
        if name not in among:
            raise ValueError(f"{where}: '{name}' is not {what}; there are {', '.join(among)}")
