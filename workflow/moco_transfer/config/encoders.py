"""The keys of an encoder, and what the files of encoders and finetuned models say about themselves.

PyTorch and timm are not imported here, because importing them takes seconds and Snakemake reads this module at every start.
"""

from __future__ import annotations

import difflib
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from moco_transfer.config import Name, Positive, Rate, Section, Task, Text, expanded, section_or
from moco_transfer.config.datasets import Store

SMALL = "densenet_small"
"""The demo's network. It is defined here, because importing timm takes longer than most of the demo's jobs."""
IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

Side = Annotated[int, Field(ge=32)]
TapName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+-]*$")]
Taps = Annotated[dict[TapName, str], Field(min_length=1)] | None
Channels = Literal[1, 3]


class Network(Section):
    """What must be known to build a network and to feed it; it is stored in the file of every encoder.

    Attributes
    ----------
    name : a name of timm, or ``densenet_small``
    size : side of the square input, in pixels
    mean, std : one value per channel, for values from 0 to 1
    """

    name: str
    channels: Channels
    size: Side
    mean: list[float]
    std: list[float]


class Made(Section):
    """Which training made a model: the names of the results' paths."""

    run: str
    target: str
    source: str
    mode: str
    percent: str
    subset: int
    epochs: int


class About(Section):
    """What must be known to use a model.

    Attributes
    ----------
    network : the encoder, how it is built and fed
    crop : side of the middle of a stored image that it sees, in pixels
    store : how an image file becomes a stored image
    task : whether an image may have several of the classes, or has exactly one
    classes : names of the outputs, in order
    thresholds : for each class, the logit from which an image counts as positive, chosen on validation images; None if unknown
    made : which training made it
    """

    network: Network
    crop: int
    store: Store
    task: Task = "multilabel"  # files from before there was another do not say it
    classes: list[str]
    thresholds: list[float | None]
    made: Made


class Classes(Section):
    classes_of: Name = Field(description="The dataset whose classes the network learns.")
    epochs: Positive = Field(description="Passes over its training images.")
    batch: Annotated[int, Field(ge=2)] = Field(description="Images per step.")
    lr: Rate = Field(description="Learning rate at the start; it then follows a cosine.")


def _as_list(value: object) -> object:
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else value


# In units of 0 to 255, such as 127.5, they would make all images equal.
Mean = Annotated[float, Field(ge=0, le=1)]
Deviation = Annotated[float, Field(gt=0, le=1)]
PerChannel = Annotated[
    list[Mean],
    BeforeValidator(_as_list, json_schema_input_type=Mean | list[Mean]),
    Field(min_length=1, max_length=3),
]
Deviations = Annotated[
    list[Deviation],
    BeforeValidator(_as_list, json_schema_input_type=Deviation | list[Deviation]),
    Field(min_length=1, max_length=3),
]


class Input(Section):
    size: Side | None = Field(
        None,
        description="Side of its input in pixels. If null, `model.crop`, or for a network that takes only one size, that size.",
    )
    mean: PerChannel | None = Field(
        None,
        description="Mean of each channel (or one for all), for values from 0 to 1. If null, that of timm's published weights for the "
        "name, in most cases ImageNet's (#19).",
    )
    std: Deviations | None = Field(None, description="Standard deviation, in the same way.")


def _digest(digits: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{1,64}", digits):
        raise ValueError("expected up to 64 digits 0-9 and a-f")
    return digits


def _place(weights: str) -> str:
    """Return where weights come from; ``~``, variables and packages in a path are replaced."""
    if weights in ("random", "pretrained") or re.match(r"(https?|ftp)://.", weights):
        return weights
    if weights.startswith("hf-hub:"):
        if not re.fullmatch(r"hf-hub:[\w.-]+/[\w.-]+@[\w.-]+", weights):
            raise ValueError(
                "expected hf-hub:ORG/NAME@REVISION; the revision is the commit that the page 'Files' of the model shows, so that "
                "the weights stay the same"
            )
        return weights
    if weights.startswith("package:"):
        package, _, file = weights.removeprefix("package:").partition("/")
        found = find_spec(package) if package.isidentifier() else None
        if found is None or not found.submodule_search_locations:
            raise ValueError(
                f"expected package:NAME/FILE, and no Python package {package} is installed; run make install"
            )
        return str(Path(found.submodule_search_locations[0], file))
    return expanded(weights)


def _architecture(name: str) -> str:
    known = architectures()
    if name.startswith(f"{SMALL}."):
        raise ValueError(f"{SMALL} has no tags; write {SMALL}")
    if known and name.split(".")[0] not in known:
        near = difflib.get_close_matches(name.split(".")[0], known, n=3)
        hint = (
            f"did you mean {' or '.join(near)}?"
            if near
            else "python -c 'import timm; print(timm.list_models())' lists them"
        )
        raise ValueError(f"timm has no network of this name; {hint}")
    return name


class Encoder(Section):
    encoder: Annotated[Text, AfterValidator(_architecture)] = Field(
        description="The architecture: a name of timm, such as `densenet121`, `resnet50` or `vit_base_patch14_dinov2.lvd142m`, or "
        "`densenet_small` of the demo."
    )
    weights: Annotated[
        Annotated[Text, AfterValidator(_place), Tag("<text>")] | Annotated[Classes, Tag("<section>")],
        Discriminator(section_or("<text>")),
    ] = Field(
        description="A file, an address (https://), `hf-hub:ORG/NAME@REVISION`, `package:NAME/FILE` for a file of an installed Python package, `pretrained` for those that timm publishes for the name, "
        "`random`, or a section `{classes_of: DATASET, epochs, batch, lr}` to train them on the classes of a dataset."
    )
    file: Text | None = Field(
        None, description="For `hf-hub:`: the file in the repository. If null, the usual ones are tried."
    )
    sha256: Annotated[str, AfterValidator(_digest)] | None = Field(
        None,
        description="The first characters of the file's SHA-256, which is compared when the encoder is imported.",
    )
    match: Literal["name", "order"] = Field(
        "name",
        description="How tensors of the file find their places: by name, or by order and shape for a file with other names.",
    )
    channels: Channels = Field(
        3,
        description="Channels of its input. Grey images are repeated to three channels. If the first layer of the weights has another "
        "number, it is converted.",
    )
    input: Input = Input()
    taps: Taps = Field(
        None,
        description="The layers whose outputs are compared (figure 3): a name and a path in the network for each. If null, "
        "the first convolution and the last block at each resolution, which are CV1 and DB1 to DB4 of a DenseNet (#18).",
    )
    trained_on: list[Name] = Field(
        [],
        description="The datasets of this configuration, or the adapters of releases, whose images the weights have seen. If a target is "
        "among them, its results are marked and the advice leaves them out.",
    )

    @property
    def kind(self) -> Literal["random", "pretrained", "hub", "address", "file", "supervised"]:
        """Where the weights come from."""
        if isinstance(self.weights, Classes):
            return "supervised"
        if self.weights in ("random", "pretrained"):
            return self.weights
        if self.weights.startswith("hf-hub:"):
            return "hub"
        return "address" if "://" in self.weights else "file"

    @property
    def architecture(self) -> str:
        """The name of the network, without the tag of the weights that timm publishes for it."""
        return self.encoder.split(".")[0]

    @model_validator(mode="after")
    def _keys_fit(self) -> Encoder:
        if self.kind == "pretrained" and self.encoder == SMALL:
            raise ValueError(f"nobody publishes weights of {SMALL}; give weights another value")
        for key, kinds in {"file": ("hub",), "sha256": ("hub", "address", "file", "pretrained")}.items():
            if getattr(self, key) is not None and self.kind not in kinds:
                raise ValueError(f"'{key}' has no meaning for these weights; remove it")
        for key in ("mean", "std"):
            values = getattr(self.input, key)
            if values is not None and len(values) not in (1, self.channels):
                raise ValueError(f"input.{key} has {len(values)} values for {self.channels} channels")
        return self


@cache
def architectures() -> tuple[str, ...]:
    """Return the sorted names of the networks that can be built; nothing if timm is not installed.

    They are read from the text of timm's modules, because importing timm would take seconds at every start of Snakemake.
    """
    package = find_spec("timm")
    if package is None or not package.submodule_search_locations:
        return ()
    registered = re.compile(r"^@register_model\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)
    modules = Path(package.submodule_search_locations[0], "models").glob("*.py")
    names = {name for module in modules for name in registered.findall(module.read_text(encoding="utf-8"))}
    return tuple(sorted({SMALL, *names}))
