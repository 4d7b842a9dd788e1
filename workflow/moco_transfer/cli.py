"""The command line: ``python -m moco_transfer STAGE --settings JSON --FILE PATH ...``, one subcommand per stage.

A stage is a function. If Snakemake runs it, its first parameter is its settings, a model of ``config.stages``. Its
keyword-only parameters become the options of the subcommand: files, and options such as the device that do not change the
result; those that are true or false become flags. Any other parameter before them is an argument without a name. If its docstring has a section ``Parameters``, that is their help.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import logging
import re
import sys
import typing
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from moco_transfer.errors import UserError
from moco_transfer.files import writing_to

# What people run by hand, and what it is for.
COMMANDS = {
    "new": "a configuration for a folder of images, with every choice explained",
    "predict": "what a finetuned model says about the images of a folder or a table",
    "export": "an encoder or a finetuned model for torchvision, timm or ONNX",
    "plan": "jobs, steps, images, disk and hours of a run before it starts, and what it will leave undecided",
    "open-data": "public sets of radiographs, to list or to download",
    "verify": "check a packed dataset against its manifest and the original images",
}
# Only the module of the requested stage is imported, because importing PyTorch takes longer than most stages.
STAGES = {
    "new": "new.command",
    "plan": "plan",
    "phantom": "phantom",
    "index": "data.adapters",
    "check-data": "data.split",
    "pack": "data.packing",
    "join-shards": "data.store",
    "open-data": "open_data",
    "verify": "data.verify",
    "split": "data.split",
    "subset": "data.split",
    "extra-subsets": "data.split",
    "size-sample": "data.split",
    "check-gpus": "training.device",
    "import-encoder": "encoders",
    "train-weights": "encoders",
    "pretrain": "pretrain",
    "embed": "finetune.embed",
    "linear": "finetune.linear",
    "linear-subsets": "finetune.linear",
    "end-to-end": "finetune.end_to_end",
    "select-budgets": "statistics.budgets",
    "evaluate": "statistics.evaluation",
    "coverage": "statistics.coverage",
    "error-rates": "statistics.error_rates",
    "activations": "similarity.activations",
    "compare-datasets": "similarity.pairwise",
    "compare-networks": "similarity.encoders",
    "predict": "predict",
    "export": "export",
}


def main(arguments: list[str] | None = None) -> int:
    """Run one stage and return the exit status; a UserError is printed as one line."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(
        prog="moco-transfer",
        usage="%(prog)s COMMAND ... (%(prog)s COMMAND --help lists its options)",
        description="Commands:\n" + "\n".join(f"  {name:10}{text}" for name, text in COMMANDS.items()),
        epilog="Snakemake runs these stages: " + ", ".join(name for name in STAGES if name not in COMMANDS),
        formatter_class=_Paragraphs,
    )
    parser.add_argument("stage", choices=STAGES, metavar="COMMAND", help=argparse.SUPPRESS)
    stage = parser.parse_args(arguments[:1]).stage
    try:  # from here, because the import takes seconds, in which people press Ctrl-C
        function = getattr(importlib.import_module(f"moco_transfer.{STAGES[stage]}"), stage.replace("-", "_"))
        options = vars(_options(stage, function).parse_args(arguments[1:]))
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        # For what is not written by ``files.replacing``, which names the folder.
        with writing_to(Path("results")):
            answer = function(**options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # a training handles signals itself
        return 130
    if answer is not None:
        print(answer)
    return 0


def _options(stage: str, function: Callable) -> argparse.ArgumentParser:
    """Return the parser of the options of one stage, made from the annotations and the docstring of its function."""
    description, help_texts = _described(inspect.getdoc(function) or "")
    parser = argparse.ArgumentParser(
        prog=f"moco-transfer {stage}", description=description, formatter_class=_Paragraphs
    )
    defaults = function.__kwdefaults__ or {}
    parameters = inspect.signature(function).parameters
    for name, annotation in typing.get_type_hints(function).items():
        if name == "return":
            continue
        if type(None) in typing.get_args(annotation):
            annotation = next(part for part in typing.get_args(annotation) if part is not type(None))
        choices = typing.get_args(annotation) if typing.get_origin(annotation) is typing.Literal else None
        kind = str if choices else (typing.get_args(annotation) or [annotation])[0]
        required = name not in defaults
        text = help_texts.get(name)
        if annotation is bool:
            parser.add_argument(f"--{name}".replace("_", "-"), action="store_true", help=text)
            continue
        if name != "settings" and parameters[name].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
            parser.add_argument(name, type=annotation, metavar=name.upper(), help=text)
            continue
        if text and defaults.get(name) is not None:
            text += f" (default: {defaults[name]})"
        parser.add_argument(
            f"--{name}".replace("_", "-"),
            type=_json_of(annotation) if name == "settings" else kind,
            choices=choices,
            nargs="+" if typing.get_origin(annotation) is list else None,
            required=required,
            default=None if required else argparse.SUPPRESS,
            metavar="JSON" if name == "settings" else None if choices else kind.__name__.upper(),
            help=text,
        )
    return parser


class _Paragraphs(argparse.HelpFormatter):
    """Wrap each paragraph of a description by itself, and leave lists as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        return "\n\n".join(
            part if "\n  " in part else fill(part, width, indent) for part in text.split("\n\n")
        )


def _described(docstring: str) -> tuple[str, dict[str, str]]:
    """Return what a docstring says of its function, and of each parameter in its section ``Parameters`` (else none)."""
    description, _, section = docstring.partition("\n\nParameters\n----------\n")
    named = re.findall(r"^(\w+) : (.*(?:\n[ ].*)*)", section, re.MULTILINE)
    return description, {name: " ".join(text.replace("%", "%%").split()) for name, text in named}


def _json_of(model: type) -> Callable:
    """Return a function that reads a stage's settings, a ``model``, from their JSON."""

    def read(text: str) -> object:
        try:
            return model.model_validate_json(text)
        except ValidationError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read
