"""The whole configuration: targets, sources and resources, and the check that its parts fit together.

``check`` turns the merged mapping from Snakemake into a ``Config``, or stops with one line that names the wrong key.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import date
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Discriminator, Field, Tag, ValidationError, model_validator

from moco_transfer.config import (
    LinearRecipe,
    Name,
    Percent,
    Positive,
    Precision,
    Sampling,
    Section,
    Task,
    section_or,
)
from moco_transfer.config.analysis import Controls, Evaluation, Similarity
from moco_transfer.config.datasets import Dataset, implied
from moco_transfer.config.encoders import Encoder
from moco_transfer.config.order import ordered_controls, ordered_sources, places
from moco_transfer.config.training import DEFAULT, Finetune, Moco, Model, Pretraining, Schedule
from moco_transfer.data.releases import OWN_LAYOUTS, RELEASES
from moco_transfer.errors import UserError

# MoCo on only the labelled images; the same for as many steps as on all images; no MoCo, but more supervised epochs.
LIMITED, LIMITED_STEPS, NONE_LONGER = "limited", "limited-steps", "none-longer"
# The name of the encoder of the initial weights in paths.
INITIAL = "initial"
BUILT_IN_SOURCES = (LIMITED, LIMITED_STEPS, NONE_LONGER, INITIAL)

Source = Annotated[
    Annotated[list[Name], Tag("<list>")] | Annotated[Encoder, Tag("<section>")],
    Discriminator(section_or("<list>")),
]


def _known_task(value: Any) -> Any:
    if value not in get_args(Task):
        raise ValueError(
            "expected multilabel or multiclass; a number, such as a grade or an age, is no target: make classes of it in the "
            "dataset's labels, one from a number on (at_least) or one for each value (classes)"
        )
    return value


class Target(Section):
    task: Annotated[Task, BeforeValidator(_known_task)] = Field(
        "multilabel",
        description="`multilabel`: each class is present or absent by itself, as in the paper (one output per class, binary cross "
        "entropy). `multiclass`: each image has exactly one of the classes (softmax). AUROCs compare each class with all others (#17).",
    )
    percents: list[Percent] = Field(
        min_length=1, description="Percentages of the training labels, as strings."
    )
    end_to_end: Annotated[list[Percent], Field(min_length=1)] | None = Field(
        None, description="The percentages at which networks are also finetuned end to end. If null, all."
    )
    limited: list[Percent] = Field(
        [],
        description="The percentages at which MoCo is also trained on only the labelled images (#14d).",
    )
    limited_modes: list[Literal["linear", "end_to_end"]] = Field(
        ["linear"], description="The finetuning modes of `limited`."
    )

    def percents_of(self, mode: str) -> list[Percent]:
        """Return the percentages at which networks are finetuned in ``mode``."""
        return self.percents if mode == "linear" or self.end_to_end is None else self.end_to_end


class Resources(Section):
    gpus: Annotated[int, Field(ge=0)] = Field(description="GPUs of a training job; 0 if there is none.")
    threads: Positive = Field(description="Threads of a training job.")
    mem_mb: Positive = Field(description="Memory of a training job, in MB.")
    max_mem_mb: Positive = Field(description="The most memory that a retried job asks for, in MB.")
    max_runtime: Positive = Field(description="The longest time that the cluster gives a job, in minutes.")


class Config(Section):
    run: Name = Field(description="The results of this configuration go to `results/<run>/`.")
    data: Name = Field(description="Runs with the same value share `results/data/<data>/`.")
    seed: Annotated[int, Field(ge=0)] = Field(description="The root of every random stream.")
    n_subsets: Positive = Field(description="Number of labelled subsets per percentage.")
    device: Literal["cpu", "cuda"] = Field(description="The device on which networks run.")
    precision: Precision = Field(
        description="Precision of training steps. `auto` is bfloat16 (autocast) on GPUs that support it and float32 elsewhere."
    )
    compile: bool = Field(
        description="Compile networks with torch.compile before training. The first step then takes minutes."
    )
    datasets: dict[Name, Dataset]
    targets: dict[Name, Target] = Field(
        min_length=1, description="The datasets on which networks are finetuned and scored."
    )
    sources: dict[Name, Source] = Field(
        min_length=1,
        description="What finetuning starts from. For each source: the datasets that MoCo sees (none: the initial weights), or an encoder.",
    )
    subset_sampling: Sampling = Field(description="How labelled subsets are drawn (#3).")
    model: Model
    moco: Moco
    pretraining: Pretraining
    finetune: Finetune
    controls: Controls
    evaluation: Evaluation
    models: Literal["advised", "all", "none"] = Field(
        description="The finetuned models that are kept, of labelled subset 1, each with a model card: for each target and percentage that of the "
        "way to train that the advice names (there is no model if every encoder may have seen the test images), or those of all ways, or none. With `none`, the networks of end-to-end finetuning are thrown away."
    )
    similarity: Similarity
    resources: Resources

    @property
    def moco_sources(self) -> dict[str, list[str]]:
        """The datasets of the sources that MoCo trains, and none for those that start from the initial weights."""
        return {name: seen for name, seen in self.sources.items() if isinstance(seen, list)}

    @property
    def encoders(self) -> dict[str, Encoder]:
        """The encoders that are not trained by MoCo: the initial weights (``initial``), and sources of their own."""
        given = {name: seen for name, seen in self.sources.items() if isinstance(seen, Encoder)}
        return {INITIAL: self.model.initial_weights, **given}

    @property
    def architectures(self) -> list[str]:
        """The architectures of all encoders, in order."""
        return list(dict.fromkeys(each.architecture for each in self.encoders.values()))

    @property
    def linear_recipe(self) -> LinearRecipe:
        """The recipe of linear finetuning; without a choice, the paper's, unless the encoders have several architectures."""
        return self.finetune.linear.recipe or ("paper" if len(self.architectures) == 1 else "logistic")

    @property
    def compared_recipes(self) -> list[LinearRecipe]:
        """The other recipes of linear finetuning with which ``linear_recipe`` is compared."""
        return [each for each in dict.fromkeys(self.finetune.linear.compared) if each != self.linear_recipe]

    def schedule(self, source: str) -> Schedule:
        """Return the schedule of MoCo on ``source``, which may be a size control.

        Without a line of its own, a control has that of MoCo on the dataset that sets its size (only the domain differs), or on
        the whole dataset from which its images are drawn (only their number differs).
        """
        if source in self.controls.size and source not in self.pretraining.schedules:
            control = self.controls.size[source]
            dataset = control.as_many_as if control.schedule == "size" else control.dataset
            alone = [name for name, seen in self.moco_sources.items() if seen == [dataset]]
            source = (alone or [dataset])[0]
        return self.pretraining.schedule(source)

    @model_validator(mode="before")
    @classmethod
    def _say_what_is_implied(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or not isinstance(raw.get("datasets"), dict):
            return raw
        model = raw.get("model")
        stored = model.get("stored") if isinstance(model, dict) else None
        datasets = {
            name: implied(str(name), dataset, stored) if isinstance(dataset, dict) else dataset
            for name, dataset in raw["datasets"].items()
        }
        return raw | {"datasets": datasets}

    @model_validator(mode="after")
    def _sources_fit(self) -> Config:
        for name in (*self.sources, *self.controls.size):
            if name in BUILT_IN_SOURCES:
                raise ValueError(f"sources: '{name}' is built in; choose another name")
        for name in (*self.datasets, *self.sources, *self.controls.size):
            if name == DEFAULT:
                raise ValueError(f"'{name}' stands for all schedules and optimizers; choose another name")
        if self.moco_sources.get("none"):
            raise ValueError(
                "sources.none: this name stands for the initial weights; leave its list empty, and give MoCo on datasets another name"
            )
        named = {"none", "spine", "chest", *self.datasets}
        for name in self.encoders:
            if set(name.split("+")) <= named:
                what = "the initial weights" if name == "none" else "MoCo on datasets"
                raise ValueError(
                    f"sources.{name}: this name stands for {what}; give the encoder another name"
                )
        for source, seen in self.moco_sources.items():
            _require_once(f"sources.{source}", seen)
            _require(f"sources.{source}", seen, self.datasets, "a dataset")
            if len({self.datasets[name].store.size for name in seen}) > 1:
                raise ValueError(f"sources.{source}: all its datasets need the same store.size")
        for source, schedule in self.pretraining.schedules.items():
            if schedule.bn_groups % self.pretraining.ranks:
                raise ValueError(
                    f"pretraining.schedules.{source}.bn_groups is {schedule.bn_groups}, not a multiple of "
                    f"pretraining.ranks, {self.pretraining.ranks}"
                )
        return self

    @model_validator(mode="after")
    def _targets_fit(self) -> Config:
        _require("targets", self.targets, self.datasets, "a dataset")
        for name, target in self.targets.items():
            split = self.datasets[name].split
            if 0 in (split.train, split.validation, split.test):
                raise ValueError(
                    f"datasets.{name}.split: a target needs training, validation and test images"
                )
            _require_once(f"targets.{name}.percents", [float(percent) for percent in target.percents])
            for key, chosen in (("limited", target.limited), ("end_to_end", target.end_to_end or [])):
                _require(f"targets.{name}.{key}", chosen, target.percents, f"in targets.{name}.percents")
            if target.task == "multiclass":
                self._require_one_class(name)
        return self

    @model_validator(mode="after")
    def _replicates_and_folds_fit(self) -> Config:
        if self.pretraining.replicates > self.n_subsets:
            raise ValueError(
                f"pretraining.replicates is {self.pretraining.replicates}, but each labelled subset meets one encoder, so n_subsets, "
                f"{self.n_subsets}, would leave some unused; set replicates to {self.n_subsets} or less, or n_subsets to "
                f"{self.pretraining.replicates} or more"
            )
        folded = [name for name, dataset in self.datasets.items() if dataset.split.folds > 1]
        for name in folded:
            if name not in self.targets:
                raise ValueError(f"datasets.{name}.split.folds: only a target has folds; set it to 1")
        for name, control in self.controls.size.items():
            for dataset in {control.dataset, control.as_many_as} & set(folded):
                raise ValueError(
                    f"controls.size.{name}: {dataset} has split.folds, and one sample of its images cannot leave out the test images of "
                    "every fold; set its folds to 1, or remove the control"
                )
        return self

    @model_validator(mode="after")
    def _controls_fit(self) -> Config:
        for name, control in self.controls.size.items():
            where = f"controls.size.{name}"
            if name in self.sources:
                raise ValueError(f"{where}: a source already has this name; choose another")
            _require(where, [control.dataset, control.as_many_as], self.datasets, "a dataset")
        for kind in ("steps", "budget"):
            for target, percents in getattr(self.controls, kind).items():
                _require(f"controls.{kind}", [target], self.targets, "a target")
                # none-longer is finetuned end to end.
                only = self.targets[target].end_to_end if kind == "budget" else None
                known, key = (only, "end_to_end") if only else (self.targets[target].percents, "percents")
                _require(f"controls.{kind}.{target}", percents, known, f"in targets.{target}.{key}")
        return self

    @model_validator(mode="after")
    def _images_fit(self) -> Config:
        compared = self.similarity.datasets or []
        _require("similarity.datasets", compared, self.datasets, "a dataset")
        _require_once("similarity.datasets", compared)
        _require_once("finetune.end_to_end.budgets", self.finetune.end_to_end.budgets)
        # The encoder with the initial weights is there even if nothing is finetuned from it.
        _require("similarity.network", [self.similarity.network], {"none": [], **self.sources}, "a source")
        for name, dataset in self.datasets.items():
            if dataset.store.size < self.model.crop:
                raise ValueError(
                    f"datasets.{name}.store.size (or model.stored) must be at least model.crop, the side of the crop from it"
                )
        return self

    @model_validator(mode="after")
    def _encoders_fit(self) -> Config:
        for source, encoder in self.encoders.items():
            where = "model.initial_weights" if source == INITIAL else f"sources.{source}"
            known = [*self.datasets, *(name for name in RELEASES if name not in OWN_LAYOUTS)]
            _require(f"{where}.trained_on", encoder.trained_on, known, "a dataset or an adapter")
            if isinstance(encoder.weights, str):
                continue
            where, name = f"{where}.weights.classes_of", encoder.weights.classes_of
            _require(where, [name], self.datasets, "a dataset")
            if self.datasets[name].adapter not in OWN_LAYOUTS:
                raise ValueError(
                    f"{where}: the images of '{name}' do not have exactly one class each; "
                    f"name a dataset with the adapter {' or '.join(OWN_LAYOUTS)}"
                )
            if name in self.targets:
                raise ValueError(
                    f"{where}: '{name}' is a target, and would be learnt with all its training labels whatever their percentage; "
                    "name another dataset"
                )
            if self.datasets[name].split.train == 0:
                raise ValueError(f"{where}: datasets.{name}.split leaves no image for training")
        return self

    def _require_one_class(self, name: str) -> None:
        """Refuse the dataset ``name`` if its images cannot have exactly one class each; the labels themselves are checked later."""
        where, dataset = f"targets.{name}.task", self.datasets[name]
        if dataset.adapter not in OWN_LAYOUTS:
            raise ValueError(
                f"{where}: an image of this release may have several classes; set it to multilabel"
            )
        listing = dataset.table or dataset.folders
        if listing and len(listing.label_names) == 1:
            raise ValueError(f"{where}: multiclass needs several classes; set it to multilabel for one label")
        if dataset.labels.uncertain != "zero":
            raise ValueError(
                f"{where}: with multiclass, no class is uncertain; set datasets.{name}.labels.uncertain to zero"
            )


def _require(where: str, names: Iterable[str], among: Collection[str], what: str) -> None:
    for name in names:
        if name not in among:
            raise ValueError(f"{where}: '{name}' is not {what}; choose from {', '.join(among)}")


def _require_once(where: str, values: Sequence[Any]) -> None:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise ValueError(f"{where}: {twice[0]} is listed twice; remove one")


def check(raw: dict[str, Any]) -> Config:
    """Return the typed configuration of the merged mapping ``raw``, with its sources in the order of ``config/order.py``.

    If an overlay sets a dataset, target, source or control to null, it counts as absent. Raises UserError with one line that
    names the key, the value found there and, for an unknown key, the nearest known one.
    """
    raw = raw | {key: _present(raw.get(key)) for key in ("datasets", "targets", "sources") if key in raw}
    if isinstance(raw.get("controls"), dict):
        raw["controls"] = {key: _present(value) for key, value in raw["controls"].items()}
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        # A misspelt key is also a missing one.
        unknown = [each for each in errors if each["type"] == "extra_forbidden"]
        raise UserError(_one_line((unknown or errors)[0])) from None
    place = places(config.targets, config.datasets)
    size = ordered_controls(config.controls.size, place)
    controls = config.controls.model_copy(update={"size": size})
    return config.model_copy(update={"sources": ordered_sources(config.sources, place), "controls": controls})


def _present(entries: Any) -> Any:
    return {k: v for k, v in entries.items() if v is not None} if isinstance(entries, dict) else entries


def _one_line(error: dict[str, Any]) -> str:
    found, path = error["input"], [part for part in error["loc"] if not re.fullmatch("<.*>", str(part))]
    is_name = path[-1:] == ["[key]"] or error["type"] == "invalid_key"
    if is_name:  # pydantic calls the name True 1
        path[-2 if path[-1] == "[key]" else -1 :] = [found]
    where = ".".join(map(str, path))
    key = f"'{where}': " if where else ""
    if error["type"] == "extra_forbidden":
        keys = {field.alias or name for each in _sections() for name, field in each.model_fields.items()}
        if len(path) == 1:
            keys = set(Config.model_fields)
        near = difflib.get_close_matches(str(path[-1]), sorted(keys - {path[-1]}), n=1)
        hint = f"; did you mean '{near[0]}'?" if near else "; config/README.md lists the keys"
        return f"config: unknown key '{where}'{hint}"
    if error["type"] == "missing":
        return f"config: '{where}' is missing; config/README.md explains it"
    is_text = error["type"] in ("string_type", "invalid_key") and (is_name or found is not None)
    if is_text and (quote := _how_to_quote(found)):
        return f"config: {key}{quote}"
    shown = "" if isinstance(found, dict) else f" (found {found!r})"
    wanted = error["msg"].removeprefix("Value error, ")
    if error["type"] in ("model_type", "dict_type"):
        wanted = "expected a section of keys and values"
    if path[:1] == ["sources"] and len(path) == 2 and error["type"] == "list_type":
        wanted = "expected a list of datasets, or a section that names an encoder"
    return f"config: {key}{wanted}{shown}"


def _sections(above: type[Section] = Section) -> list[type[Section]]:
    """Return all kinds of sections."""
    return [each for below in above.__subclasses__() for each in (below, *_sections(below))]


def _how_to_quote(found: Any) -> str:
    """Return what to do if YAML has read text without quotes as something else, or nothing."""
    if isinstance(found, bool):
        words = "on, yes and true" if found else "off, no and false"
        return f"write it in quotes; without them, YAML reads {words} as {found}"
    if isinstance(found, int | float | date | None):
        kind = "null" if found is None else f"the {'date' if isinstance(found, date) else 'number'} {found}"
        return f"write it in quotes; without them, YAML reads it as {kind}"
    return ""
