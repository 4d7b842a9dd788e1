"""From the merged mapping that Snakemake hands over to a typed configuration, or to one line that names the key."""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import ValidationError

from moco_transfer.config.experiment import Config
from moco_transfer.config.section import Section
from moco_transfer.errors import UserError


def check(raw: dict[str, Any]) -> Config:
    """Return the typed configuration of the merged mapping ``raw``.

    An entry that an overlay sets to null in one of the mappings by name is taken as absent. Raises UserError with one
    line that names the key, what was found there and, for an unknown key, the nearest one.
    """
    raw = {
        key: _present(value) if key in ("datasets", "targets", "sources") else value
        for key, value in raw.items()
    }
    if isinstance(raw.get("controls"), dict):
        raw["controls"] = {key: _present(value) for key, value in raw["controls"].items()}
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UserError(_one_line(first)) from None


def _present(entries: Any) -> Any:
    return {k: v for k, v in entries.items() if v is not None} if isinstance(entries, dict) else entries


def _one_line(error: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        keys = {name for section in Section.__subclasses__() for name in section.model_fields}
        near = difflib.get_close_matches(str(error["loc"][-1]), sorted(keys), n=1)
        hint = f"; did you mean '{near[0]}'?" if near else "; config/README.md lists the keys"
        return f"config: unknown key '{where}'{hint}"
    if error["type"] == "missing":
        return f"config: '{where}' is missing; config/README.md says what it is"
    key = f"'{where}': " if where else ""
    found = "" if isinstance(error["input"], dict) else f" (found {error['input']!r})"
    return f"config: {key}{error['msg'].removeprefix('Value error, ')}{found}"
