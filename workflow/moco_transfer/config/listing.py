"""The keys that say where a user's own images are listed, in a table or by the names of folders, and what their labels are.

Both give each image some named texts: the columns of a table, or the wildcards of a pattern. Some of them have a role, such as
the patient, and labels are made from any of them. ``data/adapters/label_rules.py`` applies the rules.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    field_validator,
    model_validator,
)

from moco_transfer.config import Section, Text, section_or
from moco_transfer.data.pattern import path_regex, wildcard_names

# What programs write for a missing value, in any capitals. A patient of that name would be many patients.
MISSING = ("na", "n/a", "#n/a", "<na>", "nan", "none", "null")
# Linux allows a command of 128 KiB, and a table's keys are a part of one.
MOST_COMMAND_BYTES = 100_000
NUMBER = re.compile(r"[+-]?[0-9]*(?:\.[0-9]*)?")


def _as_text(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(
            "write it in quotes, as it is in the table: without them, YAML reads yes, no, on, off, true and false as true or false"
        )
    return repr(value) if isinstance(value, int | float) else value


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


# The name of a column as a table is read, and a value that is looked for in it: without the blanks around them.
Column = Annotated[Text, StringConstraints(strip_whitespace=True, min_length=1)]
Columns = Annotated[
    list[Column], BeforeValidator(_as_list, json_schema_input_type=Column | list[Column]), Field(min_length=1)
]
# YAML reads 2 as a number; in a table it is text.
Value = Annotated[Column, BeforeValidator(_as_text, json_schema_input_type=Column | float)]
Values = Annotated[list[Value], Field(min_length=1)]


def is_number(value: str) -> bool:
    """Return whether ``value`` is a decimal number such as 2, -0.5 or 2.0."""
    return bool(NUMBER.fullmatch(value)) and any(letter.isdigit() for letter in value)


def plain(value: str) -> str:
    """Return what is compared of a value: numbers are equal if their values are, and other text if all letters are.

    An accented letter is the same whether it is stored as one character or, as macOS does in names of files, as two.

    >>> [plain(value) for value in (" 2.0", "+02", "-0.50", "0", "2 b")]
    ['2', '2', '-0.5', '0', '2 b']
    """
    value = unicodedata.normalize("NFC", value.strip())
    if not is_number(value):
        return value
    whole, _, decimals = value.lstrip("+-").partition(".")
    number = f"{whole.lstrip('0') or '0'}.{decimals}".rstrip("0").removesuffix(".")
    return f"-{number}" if value.startswith("-") and number != "0" else number


def _require_once(key: str, values: Iterable[str]) -> None:
    seen = set()
    for value in values:
        if plain(value) in seen:
            raise ValueError(f"{key}: '{value}' is listed twice (2 and 2.0 are one number); remove one")
        seen.add(plain(value))


class Label(Section):
    """A label that is made from the values of columns."""

    model_config = ConfigDict(serialize_by_alias=True)

    from_: Columns = Field(
        alias="from",
        description="The column, or a list of columns of which one must have such a value. If all are blank, the label is blank.",
    )
    positive: Values | None = Field(
        None,
        description="The values that make the label 1; any other makes it 0. They are compared as text, and numbers as numbers: 2.0 is 2.",
    )
    negative: Values | None = Field(
        None,
        description="The values that make the label 0. If given, a value in neither list makes it -1 (uncertain).",
    )
    at_least: float | None = Field(
        None,
        description="Instead of `positive`: the label is 1 from this number on and 0 below it, such as 2 for a grade.",
    )
    separator: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="What separates several values in one cell, such as `;` or a bar."
    )

    @model_validator(mode="after")
    def _has_one_rule(self) -> Label:
        if (self.positive is None) == (self.at_least is None):
            raise ValueError("give either 'positive', the values that make it 1, or 'at_least', a number")
        if self.at_least is not None and (self.negative or self.separator):
            raise ValueError("'negative' and 'separator' belong to 'positive'; remove them, or 'at_least'")
        for key, values in (("positive", self.positive or ()), ("negative", self.negative or ())):
            _require_once(key, values)
            split = [value for value in values if self.separator and self.separator in value]
            if split:
                raise ValueError(
                    f"{key}: '{split[0]}' holds the separator, so no part of a cell equals it; split it"
                )
        both = {plain(value) for value in self.positive or ()} & {
            plain(value) for value in self.negative or ()
        }
        if both:
            raise ValueError(f"'{min(both)}' is in both 'positive' and 'negative'; remove one")
        return self


class OneOfMany(Section):
    """Labels that exclude each other: one for each value of a column."""

    model_config = ConfigDict(serialize_by_alias=True)

    from_: Column = Field(alias="from", description="The column. An image with a blank has no class.")
    values: Annotated[Values, Field(min_length=2)] = Field(
        description="Its values. Each becomes a label of that name, or, if it is a number, of the column's name and the number. "
        "Any other value is an error."
    )

    @model_validator(mode="after")
    def _lists_each_once(self) -> OneOfMany:
        _require_once("values", self.values)
        names = Counter(map(self.label_of, self.values))
        twice = [name for name, count in names.items() if count > 1]
        if twice:
            raise ValueError(
                f"values: two of them become a label named '{twice[0]}'; make labels with names of your own instead of classes"
            )
        return self

    def label_of(self, value: str) -> str:
        """Return the name of the label of ``value``."""
        return f"{self.from_} {value}" if is_number(value) else value


class Listing(Section):
    """What a table and folders share: the labels."""

    labels: (
        Annotated[
            Annotated[list[Column], Field(min_length=1), Tag("<list>")]
            | Annotated[dict[Column, Label], Field(min_length=1), Tag("<section>")],
            Discriminator(section_or("<list>")),
        ]
        | None
    ) = Field(
        None,
        description="The labels: a list of columns that hold 1, 0, -1 or a blank, or by name how each is made from columns. "
        "In `folders`, a column is a wildcard of the pattern.",
    )
    classes: OneOfMany | None = Field(
        None, description="Instead of `labels`: one label for each value of a column."
    )

    @field_validator("labels", mode="before")
    @classmethod
    def _names_each_once(cls, labels: Any) -> Any:
        # As keys of a mapping, 'a' and ' a' would become one, and the first rule would be lost.
        names = Counter(str(name).strip() for name in labels) if isinstance(labels, dict) else {}
        twice = [name for name, count in names.items() if count > 1]
        if twice:
            raise ValueError(f"two labels are named '{twice[0]}' (blanks around it do not count); rename one")
        return labels

    @model_validator(mode="after")
    def _has_labels(self) -> Listing:
        if (self.labels is None) == (self.classes is None):
            raise ValueError("give either 'labels' or 'classes'")
        return self

    @model_validator(mode="after")
    def _fits_a_command(self) -> Listing:
        size = len(shlex.quote(self.model_dump_json()).encode())
        if size > MOST_COMMAND_BYTES:
            raise ValueError(
                f"its {len(self.label_names)} labels and other names are {size:,} bytes, more than the "
                f"{MOST_COMMAND_BYTES:,} that fit into a command; choose fewer labels, or shorter names of columns"
            )
        return self

    @property
    def label_names(self) -> list[str]:
        return self.labels if isinstance(self.labels, list) else list(self.rules)

    @property
    def rules(self) -> dict[str, Label]:
        """The rule of each label by name; none if the labels are columns that hold 1, 0, -1 or a blank."""
        if self.classes:
            column = self.classes.from_
            return {
                self.classes.label_of(value): Label(**{"from": [column], "positive": [value]})
                for value in self.classes.values
            }
        return self.labels if isinstance(self.labels, dict) else {}

    @property
    def ruled_columns(self) -> list[str]:
        """The columns that rules make labels from."""
        return list(dict.fromkeys(column for rule in self.rules.values() for column in rule.from_))

    @property
    def roles(self) -> dict[str, str | None]:
        """The column behind each role: path, image_id, patient_id, study_id, official_split and view."""
        raise NotImplementedError


class Table(Listing):
    """The columns of a user's own CSV or Parquet file."""

    file: Column = Field(description="The CSV or Parquet file, relative to `root`, or a full path.")
    path: Column = Field(description="The column with each image's path, relative to `root`.")
    image_id: Column | None = Field(
        None, description="The column with a unique name of each image. If null, the path is the name."
    )
    patient_id: Column | None = Field(
        None,
        description="The column with the patient. If null, each study (or image) counts as a separate patient.",
    )
    study_id: Column | None = Field(
        None, description="The column with the study. If null, each image counts as a separate study."
    )
    official_split: Column | None = Field(
        None,
        description="The column with `train`, `validation` or `test`; `val`, `valid`, `dev`, `training`, `testing` and capitals are read too.",
    )
    view: Column | None = Field(None, description="The column with the view, for `views` and the data card.")

    @property
    def roles(self) -> dict[str, str | None]:
        names = ("path", "image_id", "patient_id", "study_id", "official_split", "view")
        return {role: getattr(self, role) for role in names}


# The role of a wildcard of this name.
ROLES = {
    "image_id": "image_id",
    "patient_id": "patient_id",
    "study_id": "study_id",
    "split": "official_split",
    "view": "view",
}


class Folders(Listing):
    """The names of a user's own folders and files."""

    pattern: Text = Field(
        description="The path of each image, relative to `root`, with wildcards as Snakemake writes them: `{grade}` is any text without "
        "a slash, and `{side,[LR]}` is what the regular expression matches. The wildcards `patient_id`, `study_id`, `view`, `image_id` "
        "and `split` (as `official_split`) mean what these keys of `table` mean, but a study's name may occur again in another patient."
    )

    @model_validator(mode="after")
    def _names_its_wildcards(self) -> Folders:
        path_regex(self.pattern)
        names = wildcard_names(self.pattern)
        for column in [*self.ruled_columns, *(self.labels if isinstance(self.labels, list) else ())]:
            if column not in names:
                found = f"choose from {', '.join(names)}" if names else "it has none"
                raise ValueError(f"'{column}' is not a wildcard of the pattern; {found}")
        return self

    @property
    def roles(self) -> dict[str, str | None]:
        names = wildcard_names(self.pattern)
        found = {role: name if name in names else None for name, role in ROLES.items()}
        return {"path": None} | found
