"""The configuration, typed: every key with its type, its bounds and what it means.

``config/config.yaml`` holds the values, these models hold the rules. ``check`` turns the merged mapping that Snakemake
hands over into a ``Config`` or stops with one line that names the key; ``config/README.md`` is generated from the
descriptions below (``python -m moco_transfer.config_reference``), and a test keeps it in step.
"""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from moco_transfer.errors import UserError

Percent = Annotated[str, Field(pattern=r"^(100|[1-9][0-9]?(\.[0-9]+)?|0\.[0-9]*[1-9])$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_+-]*$")]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors, and nothing changes after the check."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Phantom(Section):
    images: Positive = Field(description="how many images the generated release holds")
    size: Annotated[int, Field(ge=32)] = Field(description="longer side of the generated images, in pixels")


class Store(Section):
    size: Annotated[int, Field(ge=16)] = Field(description="side of the stored square images, in pixels")
    fit: Literal["stretch", "pad", "center_crop"] = Field(description="how an image becomes square (#6)")
    colour: bool = Field(False, description="keep three channels; MoCo's augmentations are for grey images")
    max_quarantined: Share = Field(0.01, description="share of unreadable images above which packing stops")
    max_pixels: Positive = Field(50_000_000, description="images with more pixels are refused")


class Split(Section):
    unit: Literal["image", "study", "patient"] = Field(
        description="what is never divided between splits (#1, #2)"
    )
    train: Share = Field(description="share of the units for training")
    validation: Share | Literal["official"] = Field(
        description="share of the units for validation, or `official`"
    )
    test: Share | Literal["official"] = Field(
        description="share of the units for testing, or `official`: the release's own; shares are of what remains"
    )

    @model_validator(mode="after")
    def _shares_add_up(self) -> Split:
        total = sum(share for share in (self.train, self.validation, self.test) if share != "official")
        if abs(total - 1) > 1e-9:
            raise ValueError(f"the shares add up to {total:g}, not to 1")
        return self


class Labels(Section):
    uncertain: Literal["zero", "one", "mask"] = Field(description="what a label of -1 counts as (#5)")
    unlabeled: Literal["zero", "drop"] = Field(description="images whose study has no label at all (#5)")


class Dataset(Section):
    title: str = Field(description="the name in figures and tables")
    adapter: Literal["vindr_spinexr", "mimic_cxr_jpg", "nih_chestxray14", "image_folder"] = Field(
        description="which release's layout `root` has"
    )
    root: str | None = Field(description="the folder the release unpacks to")
    shareable: bool = Field(description="whether its images and ids may enter figures and the report")
    phantom: Phantom | None = Field(None, description="generate the release instead of reading `root`")
    store: Store
    split: Split
    labels: Labels

    @model_validator(mode="after")
    def _has_an_origin(self) -> Dataset:
        if (self.root is None) == (self.phantom is None):
            raise ValueError("give either 'root' or 'phantom'; set the other to null")
        if self.phantom and self.adapter == "nih_chestxray14":
            raise ValueError("there are no phantoms in this layout; take mimic_cxr_jpg for chest phantoms")
        return self


class Target(Section):
    percents: list[Percent] = Field(
        min_length=1, description="percentages of the training labels, as strings"
    )
    limited: list[Percent] = Field(description="those of them with MoCo on just the labelled images (#14d)")
    limited_modes: list[Literal["linear", "end_to_end"]] = Field(
        ["linear"], description="how those are finetuned"
    )


class InitialWeights(Section):
    kind: Literal["download", "file", "supervised"] = Field(
        description="where the ImageNet weights come from"
    )
    url: str | None = Field(description="for `download`")
    sha256: str | None = Field(description="head of the file's SHA-256, for `download` and `file`")
    path: str | None = Field(description="for `file`: a torchvision state dict or safetensors")
    dataset: Name | None = Field(description="for `supervised`: the dataset whose classes are learnt")
    epochs: Positive | None = Field(description="for `supervised`")
    batch: Positive | None = Field(description="for `supervised`")
    lr: Rate | None = Field(description="for `supervised`")

    @model_validator(mode="after")
    def _kind_has_its_keys(self) -> InitialWeights:
        needed = {
            "download": ["url", "sha256"],
            "file": ["path"],
            "supervised": ["dataset", "epochs", "batch", "lr"],
        }
        for key in needed[self.kind]:
            if getattr(self, key) is None:
                raise ValueError(f"kind '{self.kind}' needs '{key}'")
        return self


class Model(Section):
    name: Literal["densenet121", "densenet161", "densenet169", "densenet201", "densenet_small"] = Field(
        description="the network; `densenet_small` is the demo's"
    )
    input_size: Annotated[int, Field(ge=32)] = Field(
        description="side of the network's input, a centre crop of the stored image, in pixels (#6)"
    )
    initial_weights: InitialWeights


class Schedule(Section):
    epochs: Positive = Field(description="passes over the source's training images")
    batch: Positive = Field(description="images a step")
    lr: Rate = Field(description="initial learning rate of the cosine")
    bn_groups: Positive = Field(description="groups of a batch that are normalised apart (#10)")

    @model_validator(mode="after")
    def _groups_have_two_images(self) -> Schedule:
        if self.batch < 2 * self.bn_groups:
            raise ValueError(
                f"a batch of {self.batch} in {self.bn_groups} bn_groups leaves groups of one image"
            )
        return self


class Moco(Section):
    dim: Positive = Field(description="width of the projection")
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(description="of the key encoder")
    temperature: Rate = Field(description="of the contrastive loss")
    queue: Positive = Field(description="keys kept as negatives (#8)")
    mask_own_keys: bool = Field(description="leave keys of the query's own image out of the negatives (#9)")
    augment: Literal["moco_cxr", "moco_v2"] = Field(description="the preset of augmentations (#7)")
    sgd_momentum: Annotated[float, Field(ge=0, lt=1)] = Field(description="of the optimiser")
    weight_decay: Annotated[float, Field(ge=0)] = Field(description="of the optimiser")


class Pretraining(Section):
    images: Literal["train", "train+validation"] = Field(
        description="which images of a source MoCo sees (#14c)"
    )
    schedules: dict[Name, Schedule] = Field(description="by source; `limited` takes its target's")


class Optimizer(Section):
    batch: Positive = Field(description="images a step")
    lr: Rate = Field(description="initial learning rate of the cosine")
    name: Literal["sgd", "adam"] = Field(description="the optimiser")
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = Field(description="for `sgd`")
    weight_decay: Annotated[float, Field(ge=0)] = Field(description="of the optimiser")


class Linear(Section):
    epochs: Positive = Field(description="passes over the labelled subset")


class EndToEnd(Section):
    budgets: list[Positive] = Field(min_length=1, description="numbers of epochs, each a training of its own")


class Finetune(Section):
    linear: Linear
    end_to_end: EndToEnd
    optimizers: dict[Name, Optimizer] = Field(description="by target")
    augment: Literal["none", "chexclusion"] = Field(description="of end-to-end training (#12)")
    checkpoint: Literal["last", "best"] = Field(
        description="the epoch that predicts: the last, or the best (#13)"
    )


class Evaluation(Section):
    average: Literal["weighted", "macro"] = Field(description="how classes are averaged (#17)")
    replicates: Annotated[int, Field(ge=2)] = Field(description="resamples of the test set")
    percentiles: Annotated[list[Annotated[float, Field(gt=0, lt=100)]], Field(min_length=2, max_length=2)] = (
        Field(description="ends of the interval (#15)")
    )
    unit: Literal["image", "patient"] = Field(description="what is resampled (#16)")
    validation: Literal["full", "matched"] = Field(description="the images that budgets are chosen on (#14a)")
    margin: Annotated[float, Field(gt=0, lt=0.5)] = Field(description="of equivalence, in AUROC")
    level: Annotated[float, Field(gt=0, lt=0.5)] = Field(description="of the tests in the claims table")

    @model_validator(mode="after")
    def _percentiles_ascend(self) -> Evaluation:
        if self.percentiles[0] >= self.percentiles[1]:
            raise ValueError(f"percentiles {self.percentiles} must ascend")
        return self


class Similarity(Section):
    datasets: list[Name] = Field(min_length=2, description="compared pairwise")
    images: Annotated[int, Field(ge=10)] = Field(description="drawn from each dataset")
    network: Name = Field(
        description="the source whose encoder is used; `none` is the ImageNet network (#18)"
    )
    variance: Annotated[float, Field(gt=0, le=1)] = Field(description="share of the variance that SVD keeps")
    directions: Positive = Field(description="k of the measures on shared channels")
    null_draws: Positive = Field(description="draws of each null distribution")
    split_halves: Positive = Field(description="splits of a dataset against itself, the ceiling")


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


def check(raw: dict[str, Any]) -> Config:
    """Return the typed configuration of the merged mapping ``raw``.

    An entry that an overlay sets to null in one of the mappings by name is taken as absent. Raises UserError with one
    line that names the key, what was found there and, for an unknown key, the nearest one.
    """
    raw = {
        key: _present(value) if key in ("datasets", "targets", "sources") else value
        for key, value in raw.items()
    }
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UserError(_one_line(first)) from None


def _present(entries: Any) -> Any:
    return {k: v for k, v in entries.items() if v is not None} if isinstance(entries, dict) else entries


def _one_line(error: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in error["loc"]) or "the configuration"
    if error["type"] == "extra_forbidden":
        keys = {name for section in Section.__subclasses__() for name in section.model_fields}
        near = difflib.get_close_matches(str(error["loc"][-1]), sorted(keys), n=1)
        hint = f"; did you mean '{near[0]}'?" if near else "; config/README.md lists the keys"
        return f"config: unknown key '{where}'{hint}"
    if error["type"] == "missing":
        return f"config: '{where}' is missing; config/README.md says what it is"
    found = "" if isinstance(error["input"], dict) else f" (found {error['input']!r})"
    return f"config: '{where}': {error['msg'].removeprefix('Value error, ')}{found}"
