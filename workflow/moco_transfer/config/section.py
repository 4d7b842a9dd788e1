"""The base class of all sections of the configuration, and the types of their values."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


def _quoted(value: object) -> object:
    if isinstance(value, int | float):
        raise ValueError(f'write it in quotes, "{value:g}", so that it keeps its name')
    return value


def _percentage(value: str) -> str:
    if not re.fullmatch(r"100|[1-9][0-9]?(\.[0-9]+)?|0\.[0-9]*[1-9]", value):
        raise ValueError('a percentage above 0 and up to 100 was expected, as "0.05" or "10"')
    return value


Percent = Annotated[str, BeforeValidator(_quoted), AfterValidator(_percentage)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_+-]*$")]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A part of the configuration. Unknown keys are errors, and its values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)
