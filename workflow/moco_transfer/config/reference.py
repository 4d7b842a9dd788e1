"""Writes config/README.md, the reference of every key, from the models in ``config``.

``python -m moco_transfer.config.reference > config/README.md``; a test keeps the file in step.
"""

from __future__ import annotations

import typing
from typing import Annotated, Any, Literal, get_args, get_origin

from moco_transfer.config import Config, Section

HEAD = """# Every key of the configuration

`config.yaml` holds the paper's protocol on the real datasets, with the reason beside each value; `nih.yaml` is an overlay on it
for NIH ChestX-ray14 alone, `demo.yaml` one that runs everything on phantom data, `nih-sample.yaml` an overlay on the demo with
some real chest radiographs, `controls.yaml` one that adds the controls. An overlay
names what differs: mappings merge key by key, lists and values replace; `null` takes a dataset, target or source out. Several are given
in order, after the targets: `snakemake figures --configfile config/demo.yaml my.yaml`. A single value:
`snakemake --config n_subsets=5`.

An unknown key, a value out of bounds or a name that is not there stops the run before anything starts, with one line.
`#n` is the number of a decision where the paper leaves a choice open: [docs/decisions.md](../docs/decisions.md).
"""


def reference() -> str:
    """Return the text of config/README.md: a table for each section, at the first place that has it."""
    parts = [HEAD]
    shown = set()
    for path, section in _sections(Config, ""):
        if section in shown:
            continue
        shown.add(section)
        parts.append(
            f"\n## {f'`{path}`' if path else 'Top level'}\n\n| key | value | meaning |\n| --- | --- | --- |"
        )
        for name, field in section.model_fields.items():
            inner = _section_of(field.annotation)
            what = field.description or (f"see below, `{_join(path, name)}`" if inner else "")
            parts.append(f"| `{name}` | {_type_name(field.annotation, field.metadata)} | {what} |")
    return "\n".join(parts) + "\n"


def _sections(section: type[Section], path: str) -> list[tuple[str, type[Section]]]:
    found = [(path, section)]
    for name, field in section.model_fields.items():
        inner = _section_of(field.annotation)
        if inner:
            below = "NAME" if get_origin(field.annotation) is dict else ""
            found += _sections(inner, _join(_join(path, name), below))
    return found


def _join(path: str, name: str) -> str:
    return ".".join(part for part in (path, name) if part)


def _section_of(annotation: Any) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    for part in get_args(annotation):
        inner = _section_of(part)
        if inner:
            return inner
    return None


def _type_name(annotation: Any, metadata: list[Any]) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_name(parts[0], list(parts[1:]))
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in parts)
    if origin is list:
        return f"list of {_type_name(parts[0], [])}"
    if origin is dict:
        return f"by name: {_type_name(parts[1], [])}"
    if annotation is type(None):
        return "`null`"
    if parts and (origin is typing.Union or str(origin) == "<class 'types.UnionType'>"):
        return " or ".join(_type_name(part, []) for part in parts)
    if _section_of(annotation):
        return "section"
    words = {int: "whole number", float: "number", str: "text", bool: "`true`, `false`"}
    bounds = [
        f"{sign} {getattr(rule, name):g}"
        for rule in _bounds(metadata)
        for name, sign in (("ge", "at least"), ("gt", "above"), ("le", "at most"), ("lt", "below"))
        if getattr(rule, name, None) is not None
    ]
    return " ".join([words[annotation], ", ".join(bounds)]).strip()


def _bounds(metadata: list[Any]) -> list[Any]:
    return [rule for item in metadata for rule in (item.metadata if hasattr(item, "metadata") else [item])]


if __name__ == "__main__":
    print(reference(), end="")
