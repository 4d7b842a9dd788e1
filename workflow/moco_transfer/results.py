"""Which figures, tables and data cards an experiment has, and which datasets they rest on.

The rules ask for these results, and the plan counts them. Names only: where files lie is the workflow's business.
"""

from __future__ import annotations

from moco_transfer.config import Config


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
    return range(config.seeds + 1, config.controls.subsets + 1)


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
