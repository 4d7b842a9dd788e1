"""Augmentation as the configuration writes it: a list of operations, or the name of a preset, which is such a list.

A list holds its geometry first, as all of it becomes one warp: turns, flips, and exactly one crop, which makes the view as
large as the network's input. Brightness, contrast and blur follow. Of MoCo v2's colour operations a grey image feels
brightness and contrast alone: saturation, hue and grayscale would leave it as it is, so a list cannot name them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    model_serializer,
    model_validator,
)

from moco_transfer.config.section import Section, Share
from moco_transfer.errors import UserError

GEOMETRY = ("rotate", "flip", "crop", "resized_crop")
WITHOUT_EFFECT = ("saturation", "hue", "grayscale")


def _ascending(bounds: list[float]) -> list[float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"the smaller bound comes first, as [{bounds[1]:g}, {bounds[0]:g}]")
    return bounds


Area = Annotated[float, Field(gt=0, le=1)]
Sigma = Annotated[float, Field(gt=0, le=10)]


class Jitter(Section):
    brightness: Share = Field(0.0, description="the factor is drawn from 1 - this to 1 + this")
    contrast: Share = Field(0.0, description="likewise, about the image's mean; the two come in random order")
    p: Share = Field(1.0, description="probability that an image is changed")


class Blur(Section):
    sigma: Annotated[list[Sigma], AfterValidator(_ascending)] = Field(
        min_length=2,
        max_length=2,
        description="bounds of the Gaussian's deviation, in pixels of a view 224 wide; smaller views get less",
    )
    p: Share = Field(1.0, description="probability that an image is changed")


class Operation(Section):
    """One step of an augmentation: exactly one of the keys is given."""

    rotate: Annotated[float, Field(ge=0, le=180)] | None = Field(
        None, description="turn about the centre by up to so many degrees either way"
    )
    flip: Share | None = Field(None, description="left to right, with this probability")
    crop: Literal["random", "centre"] | None = Field(
        None, description="cut out a view of `model.input_size`: anywhere, or from the middle"
    )
    resized_crop: (
        Annotated[list[Area], Field(min_length=2, max_length=2), AfterValidator(_ascending)] | None
    ) = Field(
        None,
        description="bounds of the share of the area that is cut out, its sides 3:4 to 4:3, and resized to "
        "`model.input_size`",
    )
    jitter: Jitter | None = Field(None, description="brightness and contrast")
    blur: Blur | None = Field(None, description="a Gaussian blur")

    @model_validator(mode="before")
    @classmethod
    def _is_felt_by_grey_images(cls, value: Any) -> Any:
        if isinstance(value, dict):
            jitter = value.get("jitter")
            for name in [*value, *(jitter if isinstance(jitter, dict) else [])]:
                if name in WITHOUT_EFFECT:
                    raise ValueError(f"'{name}' changes nothing in a grey image; leave it out")
        return value

    @model_validator(mode="after")
    def _is_one(self) -> Operation:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"an item of the list is one operation, this one names {' and '.join(given) or 'none'}"
            )
        return self

    @model_serializer(mode="wrap")
    def _as_written(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {self.name: dump(self)[self.name]}

    @property
    def name(self) -> str:
        """Which operation it is: the one key that is given."""
        return next(name for name in type(self).model_fields if getattr(self, name) is not None)


def _in_order(operations: list[Operation]) -> list[Operation]:
    names = [operation.name for operation in operations]
    if sum(name in ("crop", "resized_crop") for name in names) != 1:
        raise ValueError(
            "one crop or resized_crop was expected: it makes the view as large as the network's input"
        )
    geometry = [name in GEOMETRY for name in names]
    if geometry != sorted(geometry, reverse=True):
        raise ValueError("rotate, flip and crops were expected before jitter and blur: they become one warp")
    return operations


_LIST = TypeAdapter(Annotated[list[Operation], AfterValidator(_in_order)])

PRESETS: dict[str, list[Operation]] = {
    # Sowrirajan et al. 2021
    "moco_cxr": _LIST.validate_python([{"rotate": 10}, {"crop": "random"}, {"flip": 0.5}]),
    # Chen et al. 2020
    "moco_v2": _LIST.validate_python(
        [
            {"resized_crop": [0.2, 1.0]},
            {"flip": 0.5},
            {"jitter": {"brightness": 0.4, "contrast": 0.4, "p": 0.8}},
            {"blur": {"sigma": [0.1, 2.0], "p": 0.5}},
        ]
    ),
    # Seyyed-Kalantari et al. 2020, for finetuning
    "chexclusion": _LIST.validate_python([{"rotate": 15}, {"crop": "centre"}, {"flip": 0.5}]),
}


def _preset_or_list(*others: str) -> BeforeValidator:
    """Return what tells names from lists, so that an error names the item of a list and not a branch of a union."""
    names = (*others, *PRESETS)

    def check(value: Any) -> Any:
        if isinstance(value, list):
            return _LIST.validate_python(value)
        if value not in names:
            raise ValueError(f"{', '.join(names)} or a list of operations was expected")
        return value

    return BeforeValidator(check)


Preset = Literal["moco_cxr", "moco_v2", "chexclusion"]
Augmentation = Annotated[Preset | list[Operation], _preset_or_list()]
OptionalAugmentation = Annotated[Literal["none"] | Preset | list[Operation], _preset_or_list("none")]
_AUGMENTATION = TypeAdapter(Augmentation)


def operations_of(augmentation: str | Sequence[Operation | dict[str, Any]]) -> list[Operation]:
    """Return the operations of a preset, or of a list as the configuration or its JSON writes it.

    Raises UserError where it is neither.
    """
    try:
        checked = _AUGMENTATION.validate_python(augmentation)
    except ValidationError as error:
        raise UserError(f"augmentation: {error.errors(include_url=False)[0]['msg']}") from None
    return PRESETS[checked] if isinstance(checked, str) else checked
