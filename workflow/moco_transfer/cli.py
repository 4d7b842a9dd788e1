"""The command line: ``python -m moco_transfer STAGE --settings JSON --FILE PATH ...``, one subcommand per stage.

A stage is a function. Its first parameter is its settings, a model of ``config.stages``. Its keyword-only parameters become
the options of the subcommand: files, and options such as the device that do not change the result.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
import typing
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from moco_transfer.errors import UserError
from moco_transfer.files import writing_to

# Only the module of the requested stage is imported, because importing PyTorch takes longer than most stages.
STAGES = {
    "plan": "plan",
    "phantom": "phantom",
    "index": "data.adapters",
    "check-data": "data.split",
    "pack": "data.packing",
    "join-shards": "data.store",
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
    "activations": "similarity.activations",
    "compare-datasets": "similarity.pairwise",
    "compare-networks": "similarity.encoders",
}


def main(arguments: list[str] | None = None) -> int:
    """Run one stage and return the exit status; a UserError is printed as one line."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="python -m moco_transfer", description="One stage of the pipeline.")
    parser.add_argument("stage", choices=STAGES, metavar="STAGE", help=", ".join(STAGES))
    stage = parser.parse_args(arguments[:1]).stage
    function = getattr(importlib.import_module(f"moco_transfer.{STAGES[stage]}"), stage.replace("-", "_"))
    options = vars(_options(stage, function).parse_args(arguments[1:]))
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
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
    """Return the parser of the options of one stage, made from the annotations of its function."""
    parser = argparse.ArgumentParser(prog=f"python -m moco_transfer {stage}", description=function.__doc__)
    for name, annotation in typing.get_type_hints(function).items():
        if name == "return":
            continue
        inner = [part for part in typing.get_args(annotation) if part is not type(None)] or [annotation]
        required = name not in (function.__kwdefaults__ or {})
        parser.add_argument(
            f"--{name}".replace("_", "-"),
            type=_json_of(annotation) if name == "settings" else inner[0],
            nargs="+" if typing.get_origin(annotation) is list else None,
            required=required,
            default=None if required else argparse.SUPPRESS,
            metavar="JSON" if name == "settings" else inner[0].__name__.upper(),
        )
    return parser


def _json_of(model: type) -> Callable:
    """Return a function that reads a stage's settings, a ``model``, from their JSON."""

    def read(text: str) -> object:
        try:
            return model.model_validate_json(text)
        except ValidationError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read
