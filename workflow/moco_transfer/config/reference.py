"""Write config/README.md, the reference of every key, from the models in ``config``.

Run ``python -m moco_transfer.config.reference > config/README.md``. A test checks that the file is up to date.
"""

from __future__ import annotations

import types
import typing
from typing import Annotated, Any, Literal, get_args, get_origin

from moco_transfer.config import Section
from moco_transfer.config.experiment import Config

HEAD = """# Configuration

How to configure the workflow, and every key.

## What to write

A configuration is a file of yours, built on parts of this folder. `make new FOLDER=...` writes one for your images. To write one by hand,
take one of three ways:

- **Overlay.** Without a line `uses`, a file contains only what differs from `config.yaml`, the paper's experiment. At least, it says where
  the images are:

    ```yaml
    datasets:
      spine: {root: /data/vindr-spinexr}
      chest: {root: /data/mimic-cxr-jpg}
      natural: {root: /data/imagenet}
    ```

- **Parts.** With a line `uses`, a file is built on the parts that it names. A part is a file of this folder, or a full path:

    ```yaml
    uses: [protocol.yaml, size/cpu.yaml] # merged in this order, and the file itself last
    ```

- **Several files**, in order, after the targets: `snakemake figures --configfile config/demo.yaml my.yaml`. They are merged first; of several
  lines `uses`, the last one counts. To change a single value, use `snakemake --config n_subsets=5`.

Mappings are merged key by key; lists and values are replaced. To remove a dataset, target or source, set it to `null`.

| file | what it is for |
| --- | --- |
| `protocol.yaml` | what the paper does, whatever the data and the size, with the reason for each value |
| `size/paper.yaml`, `size/small-gpu.yaml`, `size/cpu.yaml` | network, input size, epochs and resources |
| `data/*.yaml` | one public dataset each: where it is, how it is split and stored |
| `config.yaml` | the paper's experiment: the protocol, the paper's size and its three datasets |
| `nih.yaml` | the full experiment on NIH ChestX-ray14 alone |
| `open.yaml` | the full experiment on radiographs that anyone may download: chests, chests of children and knees |
| `open-cpu.yaml` | a smaller one on two of these sets, for two cores; `open-small.yaml` and `open-copies.yaml` are overlays on it ([docs/open-study.md](../docs/open-study.md)) |
| `demo.yaml` | everything on phantom data, in minutes |
| `study.yaml` | an overlay on the demo: more phantoms, subsets and encoders, in about an hour ([docs/study.md](../docs/study.md)) |
| `nih-sample.yaml` | an overlay on the demo with some real chest radiographs |
| `controls.yaml` | adds the controls |

## If something is wrong

If a key is unknown, a value is out of bounds or a name does not exist, Snakemake stops before anything runs. It prints one line that says
where the mistake is. An editor with a YAML language server shows it as you type, and what each key means, if the file begins with
`# yaml-language-server: $schema=config/schema.json`.

## Every key

`#n` is the number of a decision in [docs/decisions.md](../docs/decisions.md) on a choice that the paper leaves open.
"""


def reference() -> str:
    """Return the text of config/README.md: one table per section. A section that occurs twice is shown once, at its first place."""
    parts = [HEAD]
    first_paths: dict[type[Section], str] = {}
    for path, section in _sections(Config, ""):
        first_paths.setdefault(section, path)
    for section, path in first_paths.items():
        parts.append(
            f"\n### {f'`{path}`' if path else 'Top level'}\n\n| key | value | meaning |\n| --- | --- | --- |"
        )
        for name, field in section.model_fields.items():
            inner = _section_of(field.annotation)
            what = field.description or (f"see below, `{_join(path, name)}`" if inner else "")
            parts.append(
                f"| `{field.alias or name}` | {_type_name(field.annotation, field.metadata)} | {what} |"
            )
    return "\n".join(parts) + "\n"


def _sections(section: type[Section], path: str) -> list[tuple[str, type[Section]]]:
    found = [(path, section)]
    for name, field in section.model_fields.items():
        inner = _section_of(field.annotation)
        if inner:
            below = "NAME" if _is_by_name(field.annotation) else ""
            found += _sections(inner, _join(_join(path, name), below))
    return found


def _is_by_name(annotation: Any) -> bool:
    return get_origin(annotation) is dict or any(map(_is_by_name, get_args(annotation)))


def _join(path: str, name: str) -> str:
    return ".".join(part for part in (path, name) if part)


def _section_of(annotation: Any) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next(filter(None, map(_section_of, get_args(annotation))), None)


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
    if origin in (typing.Union, types.UnionType):
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
