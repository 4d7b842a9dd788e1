"""The typed configuration: every key with its type, its bounds and its meaning.

``config/config.yaml`` holds the values, and the models here hold the rules. ``experiment.check`` turns Snakemake's merged
mapping into a ``Config``, or stops with one line that names the wrong key; ``stages`` holds what each stage gets of it.
``python -m moco_transfer.config.reference`` generates ``config/README.md`` from the descriptions of the keys.

This module holds the base class of all sections, and the types of values that several sections use.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from moco_transfer.escape import UNPRINTABLE


def _name(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_+-]{0,62}", value):
        raise ValueError(
            "a name has up to 63 characters a-z, 0-9, _, + and -, and begins with a letter or digit"
        )
    return value


def expanded(value: str) -> str:
    """Return a path without blanks around it and with ``~`` and variables such as ``$HOME`` replaced, unless it exists as written."""
    if not value.strip():
        raise ValueError("expected a path")
    if os.path.exists(value):  # noqa: PTH110 (Path's raises an error for a folder that this user may not read)
        return value
    path = os.path.expandvars(os.path.expanduser(value.strip()))  # noqa: PTH111 (Path's raises an error for an unknown user)
    if unset := re.search(r"\$(\w+|\{\w+\})", path):
        raise ValueError(f"there is no such path, and the environment has no variable {unset[0]}")
    return path


def _percentage(value: str) -> str:
    if not re.fullmatch(r"100|[1-9][0-9]?(\.[0-9]+)?|0\.[0-9]*[1-9]", value):
        raise ValueError('expected a percentage above 0 and up to 100, such as "0.05" or "10"')
    return value


def _printable(value: str) -> str:
    if found := UNPRINTABLE.search(value):
        raise ValueError(
            f"character {found.start() + 1} is U+{ord(found[0]):04X}, which cannot be printed; remove it"
        )
    return value


Percent = Annotated[str, AfterValidator(_percentage)]
Name = Annotated[str, AfterValidator(_name)]
UserPath = Annotated[str, AfterValidator(_printable), AfterValidator(expanded)]
Text = Annotated[str, AfterValidator(_printable)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0)]
Precision = Literal["auto", "float32", "bfloat16"]
Average = Literal["weighted", "macro"]
CheckpointChoice = Literal["last", "best"]
LinearRecipe = Literal["paper", "standardised", "logistic"]
Sampling = Literal["nested", "stratified"]
# What the labels of a target mean: each class by itself is there or not, or each image has exactly one of them.
Task = Literal["multilabel", "multiclass"]


def section_or(other: str) -> Callable[[Any], str]:
    """Return a function that tells which of two kinds a value of the configuration is: ``<section>`` or ``other``, tags of a union."""
    return lambda value: "<section>" if isinstance(value, dict | BaseModel) else other


class Section(BaseModel):
    """A part of the configuration. Unknown keys are errors, numbers are finite, and values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
