"""Table 1: the hyperparameters of pretraining and finetuning, from this run's configuration."""

import json
import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from moco_transfer.errors import in_one_line
from moco_transfer.report.tables import write_table

COLUMNS = ["Experiment", "Dataset", "Epochs", "Batch size", "Initial LR", "Optimizer", "LR Schedulers"]
SCHEDULER = "Cosine Annealing"  # of both stages


def main(outputs, params) -> None:
    write_table(
        hyperparameters(params.config, json.loads(params.titles)),
        outputs,
        "Table 1. Training details of MoCo pretraining and finetuning.",
        params.note,
    )


def hyperparameters(config: Mapping[str, Any], titles: Mapping[str, str]) -> pd.DataFrame:
    """Return one row per training, in the paper's columns and wording.

    ``config`` holds the sections sources, targets, moco and finetune, the schedules and optimizers by source and target, and the recipe of
    linear finetuning. Unlike in the paper, a source of several datasets has a row as well. As in the paper, finetuning rows list the
    end-to-end budgets; linear finetuning has rows of its own if it is done in another way.
    """
    moco, finetune, rows = config["moco"], config["finetune"], []
    sgd = _optimizer_text("sgd", moco["weight_decay"], moco["sgd_momentum"])
    for source, datasets in config["sources"].items():
        if datasets:
            training = config["schedules"][source]
            title = " + ".join(titles[name] for name in datasets)
            rows.append(_row("MoCo pretraining", title, str(training["epochs"]), training, sgd))
    budgets = ", ".join(map(str, finetune["end_to_end"]["budgets"]))
    for target in config["targets"]:
        training = config["optimizers"][target]
        optimizer = _optimizer_text(training["name"], training["weight_decay"], training["momentum"])
        rows.append(_row("Finetuning", titles[target], budgets, training, optimizer))
        if config["recipe"] == "standardised":
            epochs = str(finetune["linear"]["epochs"])
            rows.append(
                _row("Linear finetuning, standardised features", titles[target], epochs, training, optimizer)
            )
        if config["recipe"] == "logistic":
            logistic = "Logistic regression (L2, C by cross-validation), standardised features"
            rows.append(["Linear finetuning", titles[target], "", "", "", logistic, ""])
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(experiment: str, title: str, epochs: str, training: Mapping[str, Any], optimizer: str) -> list[str]:
    return [experiment, title, epochs, str(training["batch"]), f"{training['lr']:g}", optimizer, SCHEDULER]


def _optimizer_text(name: str, weight_decay: float, momentum: float | None) -> str:
    if name == "sgd":
        return f"SGD (Weight Decay={_power_text(weight_decay)}, momentum={momentum or 0:g})"
    return f"Adam (Weight Decay={_power_text(weight_decay)})" if weight_decay else "Adam"


def _power_text(value: float) -> str:
    """Return 0.0001 as 1e-4, as the paper writes it."""
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(value))
    return f"{value / 10**exponent:g}e{exponent}"


if "snakemake" in globals():
    with in_one_line():
        main(snakemake.output, snakemake.params)
