"""Which trainings an experiment consists of: the paper's grid of finetuning jobs, and those of the controls.

A finetuning job is one (source, mode, percent, subset) of a target, as the paper counts them. Two sources are built in
beside those of the configuration: ``limited``, MoCo on just the labelled images, and for the controls ``limited-steps``,
the same for as many steps as MoCo on the whole dataset takes, and ``none-longer``, no MoCo but as many more supervised
epochs as MoCo would have shown images.


Which figures, tables and data cards an experiment has, and which datasets they rest on.

The rules ask for these results, and the plan counts them. Names only: where files lie is the workflow's business.
"""

from __future__ import annotations

from collections.abc import Sequence

from moco_transfer.config.experiment import LIMITED, LIMITED_STEPS, NONE_LONGER, Config

MODES = ("linear", "end_to_end")

Job = tuple[str, str, str, int]


def finetuning_jobs(config: Config, target: str, modes: Sequence[str] = MODES) -> list[Job]:
    """Return the finetuning jobs of ``target`` in ``modes`` as (source, mode, percent, subset), controls last."""
    chosen = config.targets[target]
    cells = []
    for mode in modes:
        for percent in chosen.percents:
            cells += [(source, mode, percent) for source in config.sources]
            if percent in chosen.limited and mode in chosen.limited_modes:
                cells.append((LIMITED, mode, percent))
    cells += [cell for cell in _control_cells(config, target) if cell[1] in modes]
    return [(*cell, subset) for cell in cells for subset in range(1, config.n_subsets + 1)]


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


def used_datasets(config: Config) -> list[str]:
    """Return the datasets that the results rest on: targets and what the sources are made of."""
    return list(
        dict.fromkeys([*config.targets, *(name for seen in config.sources.values() for name in seen)])
    )


def initial_dataset(config: Config) -> str:
    """Return the dataset behind the initial weights."""
    return config.model.initial_weights.dataset or "ImageNet"


def shown_datasets(config: Config) -> list[str]:
    """Return the datasets that figure 1 shows."""
    return [name for name in [initial_dataset(config), *used_datasets(config)] if name in config.datasets]


def carded_datasets(config: Config) -> list[str]:
    """Return the datasets that the results rest on or show: each has a data card."""
    named = [*used_datasets(config), *shown_datasets(config), *config.similarity.datasets]
    return list(dict.fromkeys(named))


def stored_datasets(config: Config) -> list[str]:
    """Return the datasets whose images are packed and split: those with a card, and those of the size controls."""
    controls = [name for each in config.controls.size.values() for name in (each.dataset, each.as_many_as)]
    return list(dict.fromkeys([*carded_datasets(config), *controls]))


def compared_sources(config: Config) -> dict[str, str]:
    """Return the sources of one dataset whose similarity to the targets is computed, by that dataset."""
    # Downloaded weights have seen ImageNet, which the dataset 'natural' stands for.
    initial = config.model.initial_weights.dataset or "natural"
    alone = {source: seen or [initial] for source, seen in config.sources.items() if len(seen) < 2}
    return {source: name for source, (name,) in alone.items() if name in config.similarity.datasets}


def has_ranked_sources(config: Config) -> bool:
    """Return whether some target has two such sources of other domains, so that similarity can be right or wrong."""
    compared = compared_sources(config)
    return "none" in compared and any(
        target in config.similarity.datasets and sum(name != target for name in compared.values()) > 1
        for target in config.targets
    )


def compared_networks(config: Config) -> list[str]:
    """Return the networks that are compared on the same images: the initial one, then those equal for all subsets."""
    return ["none", *(source for source, seen in config.sources.items() if seen), *config.controls.size]


def has_controls(config: Config) -> bool:
    """Return whether there are trainings that tell domain, size and compute apart."""
    return bool(config.controls.size or config.controls.steps or config.controls.budget)


def extra_subsets(config: Config) -> range:
    """Return the numbers of the labelled subsets that linear cells have beyond those of the run."""
    return range(config.n_subsets + 1, config.controls.subsets + 1)


def epoch_figures(config: Config) -> dict[str, str]:
    """Return the paper's figures 4 and 5 by name, each of one target; a third target gets figure 6."""
    return {f"figure{number}": target for number, target in enumerate(config.targets, start=4)}


def result_tables(config: Config) -> dict[str, str]:
    """Return the paper's tables 2 and 3 by name, each of one target; a third target gets table 4."""
    return {f"table{number}": target for number, target in enumerate(config.targets, start=2)}


def figure_names(config: Config) -> list[str]:
    """Return every figure: the paper's, and ours where there is something to show."""
    return [
        *("figure1", "figure2", "figure3"),
        *epoch_figures(config),
        "similarity_measures",
        *(["similarity_ranks"] if has_ranked_sources(config) else []),
        *(["networks"] if len(compared_networks(config)) > 1 else []),
        *("augmentations", "training_curves"),
    ]


def table_names(config: Config) -> list[str]:
    """Return the paper's tables and ours, where there is something to choose, to control or to compare."""
    return [
        "table1",
        *result_tables(config),
        *("classes", "claims", "advice"),
        *(["budgets"] if len(config.finetune.end_to_end.budgets) > 1 else []),
        *(["controls"] if has_controls(config) else []),
        *(["similarity_ranks"] if has_ranked_sources(config) else []),
        *(["subsets"] if extra_subsets(config) else []),
    ]
