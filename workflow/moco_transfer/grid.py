"""Which trainings an experiment consists of: the paper's grid of finetuning jobs, and those of the controls.

A finetuning job is one (source, mode, percent, seed) of a target, as the paper counts them. Two sources are built in
beside those of the configuration: ``limited``, MoCo on just the labelled images, and for the controls ``limited-steps``,
the same for as many steps as MoCo on the whole dataset takes, and ``none-longer``, no MoCo but as many more supervised
epochs as MoCo would have shown images.
"""

from __future__ import annotations

from collections.abc import Sequence

from moco_transfer.config import Config
from moco_transfer.config.experiment import LIMITED, LIMITED_STEPS, NONE_LONGER

MODES = ("linear", "end_to_end")

Job = tuple[str, str, str, int]


def finetuning_jobs(config: Config, target: str, modes: Sequence[str] = MODES) -> list[Job]:
    """Return the finetuning jobs of ``target`` in ``modes`` as (source, mode, percent, seed), controls last."""
    chosen = config.targets[target]
    cells = []
    for mode in modes:
        for percent in chosen.percents:
            cells += [(source, mode, percent) for source in config.sources]
            if percent in chosen.limited and mode in chosen.limited_modes:
                cells.append((LIMITED, mode, percent))
    cells += [cell for cell in _control_cells(config, target) if cell[1] in modes]
    return [(*cell, seed) for cell in cells for seed in range(1, config.seeds + 1)]


def all_sources(config: Config) -> list[str]:
    """Return every source that a job of this experiment starts from, the paper's first."""
    jobs = [job for target in config.targets for job in finetuning_jobs(config, target)]
    return list(dict.fromkeys([*config.sources, *(job[0] for job in jobs)]))


def _control_cells(config: Config, target: str) -> list[tuple[str, str, str]]:
    controls = config.controls
    cells = [
        (source, "linear", percent) for source in controls.size for percent in config.targets[target].percents
    ]
    cells += [(LIMITED_STEPS, "linear", percent) for percent in controls.steps.get(target, [])]
    cells += [(NONE_LONGER, "end_to_end", percent) for percent in controls.budget.get(target, [])]
    return cells
