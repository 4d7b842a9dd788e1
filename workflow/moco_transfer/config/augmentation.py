"""Augmentations in the configuration: a list of operations, or the name of a preset, which stands for such a list.

Geometric operations come first, because they are combined into one warp: rotations, flips, and exactly one crop, which
gives the view the size of the network's input. What changes intensities and colours follows: jitter, grayscale and blur.
Saturation, hue and grayscale are not drawn for grey images, which they would not change.
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

from moco_transfer.config import Section, Share
from moco_transfer.errors import UserError

GEOMETRY = ("rotate", "flip", "crop", "resized_crop")


def _ascending(bounds: list[float]) -> list[float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"the smaller bound must come first: [{bounds[1]:g}, {bounds[0]:g}]")
    return bounds


Area = Annotated[float, Field(gt=0, le=1)]
Sigma = Annotated[float, Field(gt=0, le=10)]


class Jitter(Section):
    brightness: Share = Field(0.0, description="The factor is drawn between 1 minus this and 1 plus this.")
    contrast: Share = Field(
        0.0,
        description="The same for contrast, about the mean of the image in grey. All changes are made in random order.",
    )
    saturation: Share = Field(
        0.0,
        description="The same for saturation, between the image in grey and the image in colour. No effect on grey images.",
    )
    hue: Annotated[float, Field(ge=0, le=0.5)] = Field(
        0.0,
        description="Hues are turned by up to this share of a full turn in either direction. No effect on grey images.",
    )
    p: Share = Field(1.0, description="Probability that an image is changed.")

    @model_serializer(mode="wrap")
    def _without_unused_colour(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Settings without saturation and hue stay as they were before these existed, so that nothing runs again.
        return {
            name: value for name, value in dump(self).items() if value or name not in ("saturation", "hue")
        }


class Blur(Section):
    sigma: Annotated[list[Sigma], AfterValidator(_ascending)] = Field(
        min_length=2,
        max_length=2,
        description="Bounds of the Gaussian's standard deviation, in pixels of a view 224 pixels wide. Smaller views get less blur.",
    )
    p: Share = Field(1.0, description="Probability that an image is changed.")


class Operation(Section):
    """One operation of an augmentation. Exactly one key is given."""

    rotate: Annotated[float, Field(ge=0, le=180)] | None = Field(
        None, description="Rotate about the centre, by up to this number of degrees in either direction."
    )
    flip: Share | None = Field(None, description="Flip left to right with this probability.")
    crop: Literal["random", "centre"] | None = Field(
        None, description="Crop to `model.crop`, at a random position or in the centre."
    )
    resized_crop: (
        Annotated[list[Area], Field(min_length=2, max_length=2), AfterValidator(_ascending)] | None
    ) = Field(
        None,
        description="Crop a random part of the image, with sides from 3:4 to 4:3, and resize it to `model.crop`. "
        "The two numbers bound its share of the area.",
    )
    jitter: Jitter | None = Field(
        None, description="Change brightness and contrast and, in colour images, saturation and hue."
    )
    grayscale: Share | None = Field(
        None,
        description="Replace a colour image by its grey values with this probability. No effect on grey images.",
    )
    blur: Blur | None = Field(None, description="Apply a Gaussian blur.")

    @model_validator(mode="after")
    def _is_one(self) -> Operation:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"each item of the list must name one operation; this one names {' and '.join(given) or 'none'}"
            )
        return self

    @model_serializer(mode="wrap")
    def _as_written(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {self.name: dump(self)[self.name]}

    @property
    def name(self) -> str:
        """The one key that is given."""
        return next(name for name in type(self).model_fields if getattr(self, name) is not None)


def _in_order(operations: list[Operation]) -> list[Operation]:
    names = [operation.name for operation in operations]
    if sum(name in ("crop", "resized_crop") for name in names) != 1:
        raise ValueError(
            "expected exactly one crop or resized_crop, which gives the view the size of the network's input"
        )
    geometry = [name in GEOMETRY for name in names]
    if geometry != sorted(geometry, reverse=True):
        raise ValueError(
            "rotate, flip and crops must come before jitter, grayscale and blur, because they become one warp"
        )
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
            {"jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1, "p": 0.8}},
            {"grayscale": 0.2},
            {"blur": {"sigma": [0.1, 2.0], "p": 0.5}},
        ]
    ),
    # Seyyed-Kalantari et al. 2020, for finetuning
    "chexclusion": _LIST.validate_python([{"rotate": 15}, {"crop": "centre"}, {"flip": 0.5}]),
}


def _preset_or_list(*others: str) -> BeforeValidator:
    """Return a validator that tells names from lists, so that an error names the item of the list, not a branch of the union."""
    names = (*others, *PRESETS)

    def check(value: Any) -> Any:
        if isinstance(value, list):
            return _LIST.validate_python(value)
        if value not in names:
            raise ValueError(f"expected {', '.join(names)} or a list of operations")
        return value

    return BeforeValidator(check)


Preset = Literal["moco_cxr", "moco_v2", "chexclusion"]
Augmentation = Annotated[Preset | list[Operation], _preset_or_list()]
OptionalAugmentation = Annotated[Literal["none"] | Preset | list[Operation], _preset_or_list("none")]
_AUGMENTATION = TypeAdapter(Augmentation)


def operations_of(augmentation: str | Sequence[Operation | dict[str, Any]]) -> list[Operation]:
    """Return the operations of a preset, or of a list from the configuration or its JSON.

    Raises UserError if ``augmentation`` is neither.
    """
    try:
        checked = _AUGMENTATION.validate_python(augmentation)
    except ValidationError as error:
        raise UserError(f"augmentation: {error.errors(include_url=False)[0]['msg']}") from None
    return PRESETS[checked] if isinstance(checked, str) else checked
