"""The keys of networks and their training: initial weights, MoCo, pretraining, finetuning."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from moco_transfer.config.augmentation import Augmentation, OptionalAugmentation
from moco_transfer.config.networks import DENSENETS, torchvision_names, unknown_network
from moco_transfer.config.section import Name, Positive, Rate, Section


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


TapName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+-]*$")]


class Model(Section):
    name: Name = Field(
        description="the network: `densenet121`, `densenet161`, `densenet169`, `densenet201`, the demo's "
        "`densenet_small`, or any classification model of torchvision, such as `resnet50`"
    )
    input_size: Annotated[int, Field(ge=32)] = Field(
        description="side of the network's input, a centre crop of the stored image, in pixels (#6)"
    )
    taps: Annotated[dict[TapName, str], Field(min_length=1)] | None = Field(
        description="layers whose outputs are compared (figure 3), name to path in the network; null for the first "
        "convolution and the last block at each resolution, CV1 and DB1 to DB4 of a DenseNet (#18)"
    )
    initial_weights: InitialWeights

    @field_validator("name")
    @classmethod
    def _network_exists(cls, name: str) -> str:
        if name not in DENSENETS and name not in torchvision_names():
            raise ValueError(unknown_network(name))
        return name


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
    augment: Augmentation = Field(description="a preset, or operations in order (#7)")
    sgd_momentum: Annotated[float, Field(ge=0, lt=1)] = Field(description="of the optimiser")
    weight_decay: Annotated[float, Field(ge=0)] = Field(description="of the optimiser")


class Probe(Section):
    every: Positive = Field(description="epochs between two probes; the last epoch is always probed")
    images: Positive = Field(
        description="labelled training images that the probe is fitted to, and validation images that score it, at most"
    )


class Pretraining(Section):
    images: Literal["train", "train+validation"] = Field(
        description="which images of a source MoCo sees (#14c)"
    )
    ranks: Positive = Field(
        description="processes, and GPUs where `resources.gpus` is above 0, that share one pretraining"
    )
    probe: Probe | None = Field(
        description="a linear classifier on frozen features, for `metrics.csv` alone; null for none"
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
    views: Positive = Field(
        description="cached views of each labelled image, which the epochs take in turn: the image as it is, then "
        "`views - 1` augmented ones as `finetune.augment` says"
    )


class EndToEnd(Section):
    budgets: list[Positive] = Field(min_length=1, description="numbers of epochs, each a training of its own")


class Finetune(Section):
    linear: Linear
    end_to_end: EndToEnd
    optimizers: dict[Name, Optimizer] = Field(description="by target")
    augment: OptionalAugmentation = Field(
        description="of end-to-end training, and of `linear.views` after the first; a list is as that of `moco.augment` (#12)"
    )
    checkpoint: Literal["last", "best"] = Field(
        description="the epoch that predicts: the last, or the best (#13)"
    )

    @model_validator(mode="after")
    def _views_are_augmented(self) -> Finetune:
        if self.linear.views > 1 and self.augment == "none":
            raise ValueError(
                f"linear.views is {self.linear.views} and augment is none: all views would be the same; "
                "set finetune.augment, or linear.views: 1"
            )
        return self
