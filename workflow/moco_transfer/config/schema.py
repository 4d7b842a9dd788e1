"""Write config/schema.json, with which an editor completes keys, shows their meaning and marks mistakes, from the models in ``config``.

Run ``python -m moco_transfer.config.schema > config/schema.json``. A test checks that the file is up to date.
"""

from __future__ import annotations

import json
from typing import Any

from moco_transfer.config.experiment import Config

USES = {
    "description": "The parts that this file is built on, merged in this order: files of the folder config, or full paths. Without this "
    "line, the file is an overlay on config.yaml, or on the files before it.",
    "type": "array",
    "items": {"type": "string"},
}
# Where an entry of a mapping may be null, which removes that of a part.
REMOVABLE = {"Config": ("datasets", "targets", "sources"), "Controls": ("size", "steps", "budget")}


def schema() -> dict[str, Any]:
    """Return the JSON schema of a configuration file. It may be an overlay, so no key is required.

    It knows keys and types. What only ``experiment.check`` knows, such as which names exist, is left to ``snakemake -n``.
    """
    whole = _partial(Config.model_json_schema())
    for section, keys in REMOVABLE.items():
        properties = (whole if section == "Config" else whole["$defs"][section])["properties"]
        for key in keys:
            entry = properties[key]["additionalProperties"]
            properties[key]["additionalProperties"] = {"anyOf": [entry, {"type": "null"}]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A configuration of MoCo-Transfer, or an overlay",
        **whole,
        "properties": {"uses": USES, **whole["properties"]},
    }


def _partial(node: Any) -> Any:
    """Return a part of a schema without required keys, and without the titles that only repeat the keys."""
    if isinstance(node, list):
        return [_partial(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {
        key: {name: _partial(each) for name, each in value.items()}
        if key in ("properties", "$defs")
        else _partial(value)
        for key, value in node.items()
        if key != "required" and not (key == "title" and isinstance(value, str))
    }


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2))
