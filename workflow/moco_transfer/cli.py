"""The command line: ``python -m moco_transfer STAGE --settings JSON --FILE PATH ...``, one subcommand a stage.

The options of a subcommand are the keyword-only parameters of its stage in ``moco_transfer.stages``: files, and what
says where and how a stage runs but changes nothing of its result. A stage without settings takes files alone.
"""

from __future__ import annotations

import argparse
import inspect
import json
import logging
import sys
from pathlib import Path

from moco_transfer.errors import UserError
from moco_transfer.stages import analysis, data, finetuning, planning, pretraining

STAGES = {
    function.__name__.replace("_", "-"): function
    for function in (
        planning.plan,
        data.phantom,
        data.index,
        data.pack_shard,
        data.pack,
        data.verify,
        data.split,
        data.subset,
        data.size_sample,
        data.extra_subsets,
        pretraining.fetch_weights,
        pretraining.train_weights,
        pretraining.pretrain,
        finetuning.embed,
        finetuning.linear,
        finetuning.linear_subsets,
        finetuning.end_to_end,
        analysis.select_budgets,
        analysis.evaluate,
        analysis.coverage,
        analysis.activations,
        analysis.similarity,
        analysis.compare_networks,
    )
}


def main(arguments: list[str] | None = None) -> int:
    """Run one stage; print a user's error as one line and return the exit status."""
    options = vars(_parser().parse_args(arguments))
    function = STAGES[options.pop("stage")]
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if "settings" in options:
        options["settings"] = json.loads(options["settings"])
    try:
        function(**options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before a training waits for signals itself
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m moco_transfer", description=__doc__.split("\n\n")[0])
    commands = parser.add_subparsers(dest="stage", required=True, metavar="STAGE")
    for name, function in STAGES.items():
        command = commands.add_parser(name, help=function.__doc__, description=function.__doc__)
        for parameter in inspect.signature(function).parameters.values():
            if parameter.name == "settings":
                command.add_argument("--settings", required=True, metavar="JSON")
            if parameter.kind is parameter.KEYWORD_ONLY:
                named = parameter.annotation.removesuffix(" | None")
                kind = {"int": int, "float": float, "str": str}.get(named, Path)
                command.add_argument(
                    f"--{parameter.name}".replace("_", "-"),
                    type=kind,
                    nargs="+" if parameter.annotation.startswith("list") else None,
                    required=parameter.default is parameter.empty,
                    default=argparse.SUPPRESS,
                    metavar=kind.__name__.upper(),
                )
    return parser
