"""The whole configuration: which datasets are targets and sources, and that its parts fit together."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from moco_transfer.config.analysis import Evaluation, Similarity
from moco_transfer.config.datasets import Dataset
from moco_transfer.config.section import Name, Percent, Positive, Section
from moco_transfer.config.training import Finetune, Moco, Model, Pretraining


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


class Config(Section):
    run: Name = Field(description="results/<run>/ is what this configuration writes")
    data: Name = Field(description="results/data/<data>/ is what runs share")
    seed: Annotated[int, Field(ge=0)] = Field(description="the root of every random stream")
    seeds: Positive = Field(description="labelled subsets for each percentage")
    device: Literal["cpu", "cuda"] = Field(description="where networks run")
    datasets: dict[Name, Dataset]
    targets: dict[Name, Target] = Field(min_length=1, description="by dataset: what is finetuned and scored")
    sources: dict[Name, list[Name]] = Field(description="by name: the datasets MoCo sees")
    subsets: Literal["nested", "stratified"] = Field(description="how labelled subsets are drawn (#3)")
    model: Model
    moco: Moco
    pretraining: Pretraining
    finetune: Finetune
    evaluation: Evaluation
    similarity: Similarity
    resources: Resources

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Config:
        def known(where: str, names: list[str], among: Any, what: str) -> None:
            for name in names:
                if name not in among:
                    raise ValueError(f"{where}: '{name}' is not {what}; there are {', '.join(among)}")

        if "limited" in self.sources:
            raise ValueError("sources: 'limited' is built in, name yours otherwise")
        trained = [source for source, seen in self.sources.items() if seen]
        for source, seen in self.sources.items():
            known(f"sources.{source}", seen, self.datasets, "a dataset")
            if len({(self.datasets[name].store.size, self.datasets[name].store.colour) for name in seen}) > 1:
                raise ValueError(f"sources.{source}: its datasets need one store.size, and colour or none")
        known("targets", list(self.targets), self.datasets, "a dataset")
        known("similarity.datasets", self.similarity.datasets, self.datasets, "a dataset")
        known("similarity.network", [self.similarity.network], self.sources, "a source")
        known(
            "finetune.optimizers must have every target",
            list(self.targets),
            self.finetune.optimizers,
            "among them",
        )
        known(
            "pretraining.schedules must have every source", trained, self.pretraining.schedules, "among them"
        )
        for name, target in self.targets.items():
            if self.datasets[name].split.validation == 0 or self.datasets[name].split.test == 0:
                raise ValueError(f"datasets.{name}.split: a target needs validation and test images")
            if len(set(map(float, target.percents))) < len(target.percents):
                raise ValueError(f"targets.{name}.percents: one is there twice")
            known(f"targets.{name}.limited", target.limited, target.percents, "among its percents")
            if target.limited:
                known(
                    f"pretraining.schedules must have '{name}' for its limited runs",
                    [name],
                    self.pretraining.schedules,
                    "there",
                )
        for name, dataset in self.datasets.items():
            if dataset.store.size < self.model.input_size:
                raise ValueError(
                    f"datasets.{name}.store.size is smaller than model.input_size, which is cut out of it"
                )
        if self.model.initial_weights.dataset is not None:
            known(
                "model.initial_weights.dataset",
                [self.model.initial_weights.dataset],
                self.datasets,
                "a dataset",
            )
        return self
