"""Table 1: the training details, written from the configuration that is run, not from the paper."""

from __future__ import annotations

import math

from moco_transfer.config import Config, Optimizer

COSINE = "Cosine Annealing"  # the one schedule of both stages


def hyperparameter_rows(config: Config) -> list[dict[str, str]]:
    """Return the paper's table 1 for ``config``, one row a training, the paper's columns and wording.

    A source of several datasets, which the paper's table leaves out, has a row of its own. Finetuning rows list the
    end-to-end budgets, as the paper's do; linear finetuning takes ``finetune.linear.epochs``.
    """
    rows = []
    for source, seen in config.sources.items():
        if seen:
            schedule = config.pretraining.schedules[source]
            rows.append(
                {
                    "Experiment": "MoCo pretraining",
                    "Dataset": " + ".join(config.datasets[name].title for name in seen),
                    "Epochs": str(schedule.epochs),
                    "Batch size": str(schedule.batch),
                    "Initial LR": f"{schedule.lr:g}",
                    "Optimizer": _sgd(config.moco.weight_decay, config.moco.sgd_momentum),
                    "LR Schedulers": COSINE,
                }
            )
    for target in config.targets:
        optimizer = config.finetune.optimizers[target]
        rows.append(
            {
                "Experiment": "Finetuning",
                "Dataset": config.datasets[target].title,
                "Epochs": ", ".join(map(str, config.finetune.end_to_end.budgets)),
                "Batch size": str(optimizer.batch),
                "Initial LR": f"{optimizer.lr:g}",
                "Optimizer": _optimizer(optimizer),
                "LR Schedulers": COSINE,
            }
        )
    return rows


def _optimizer(optimizer: Optimizer) -> str:
    if optimizer.name == "sgd":
        return _sgd(optimizer.weight_decay, optimizer.momentum or 0.0)
    return f"Adam (Weight Decay={_power(optimizer.weight_decay)})" if optimizer.weight_decay else "Adam"


def _sgd(weight_decay: float, momentum: float) -> str:
    return f"SGD (Weight Decay={_power(weight_decay)}, momentum={momentum:g})"


def _power(value: float) -> str:
    """Return 0.0001 as 1e-4, the way the paper writes it."""
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(value))
    return f"{value / 10**exponent:g}e{exponent}"
