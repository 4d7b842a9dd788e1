"""What an experiment consists of: its finetuning jobs, its figures, tables and data cards, and the datasets behind them.

A finetuning job is one (source, mode, percent, subset) of a target, as the paper counts them, in each fold of its split. Which
encoder of the source it starts from, the replicate, follows from the subset (``replicate_of``). Three sources are built in:
``limited``, MoCo on only the labelled images; and for the controls ``limited-steps``, the same for as many steps as MoCo on
the whole dataset takes, and ``none-longer``, no MoCo but additional supervised epochs that show as many images as MoCo.

The rules request these results, and the plan counts them. Only names are here; the rules know the paths.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

from moco_transfer.config.datasets import Dataset
from moco_transfer.config.encoders import Encoder
from moco_transfer.config.experiment import INITIAL, LIMITED, LIMITED_STEPS, NONE_LONGER, Config
from moco_transfer.data.releases import OWN_LAYOUTS

MODES = ("linear", "end_to_end")
# The paper's own numbers, by target and the adapter of the paper's dataset.
PAPER_TABLES = {("spine", "vindr_spinexr"): "table2", ("chest", "mimic_cxr_jpg"): "table3"}


class Job(NamedTuple):
    """One finetuning job of a target. Subset, replicate (the source's encoder) and fold count from 1."""

    source: str
    mode: str
    percent: str
    subset: int
    replicate: int
    fold: int


class Pretraining(NamedTuple):
    """One training of an encoder that all labelled subsets of a target may share."""

    source: str
    replicate: int
    fold: int


Kind = Literal["initial", "moco", "encoder"]
"""What a source is: the initial weights, MoCo from there, or another encoder."""


def finetuning_jobs(config: Config, target: str, modes: Sequence[str] = MODES) -> list[Job]:
    """Return the finetuning jobs of ``target`` in ``modes``, controls last."""
    chosen = config.targets[target]
    cells = []
    for mode in modes:
        for percent in chosen.percents_of(mode):
            cells += [(source, mode, percent) for source in config.sources]
            if percent in chosen.limited and mode in chosen.limited_modes:
                cells.append((LIMITED, mode, percent))
    cells += [cell for cell in _control_cells(config, target) if cell[1] in modes]
    return [
        Job(*cell, subset, replicate_of(config, cell[0], subset), fold)
        for cell in cells
        for fold in folds(config, target)
        for subset in range(1, config.n_subsets + 1)
    ]


def folds(config: Config, dataset: str) -> range:
    """Return the numbers of the folds of a dataset's split."""
    return range(1, config.datasets[dataset].split.folds + 1)


def replicates(config: Config, source: str) -> range:
    """Return the numbers of the encoders of a source.

    A source that is trained here has as many as ``pretraining.replicates`` says, and one encoder if its weights are given.
    MoCo on only the labelled images has one encoder for each labelled subset.
    """
    if source in (LIMITED, LIMITED_STEPS):
        return range(1, config.n_subsets + 1)
    return range(1, (config.pretraining.replicates if is_trained(config, source) else 1) + 1)


def replicate_of(config: Config, source: str, subset: int) -> int:
    """Return the encoder of ``source`` that a labelled subset meets.

    For the same number of finetuning jobs, the mean of S subsets that meet the R encoders in turn has the variance E/R + (L + T)/S, where E
    is the variance between encoders, L between subsets and T between trainings of one subset. Crossing each of S/R subsets with all encoders
    would give E/R + L R/S + T/S.
    """
    return (subset - 1) % len(replicates(config, source)) + 1


def is_trained(config: Config, source: str) -> bool:
    """Return whether chance has a part in the encoder of ``source``: another seed would give another one."""
    if source in config.encoders:
        return config.encoders[source].kind in ("supervised", "random")
    return _kind(config, source) == "moco" or is_trained(config, INITIAL)


def trained_sources(config: Config) -> list[str]:
    """Return the sources whose encoders are trained in the run; ``none`` also if nothing is finetuned from the initial weights."""
    return [source for source in dict.fromkeys([*all_sources(config), "none"]) if is_trained(config, source)]


def initial_replicate(config: Config, replicate: int) -> int:
    """Return which of the initial weights MoCo starts from in a ``replicate``."""
    return (replicate - 1) % len(replicates(config, INITIAL)) + 1


def encoder_fold(config: Config, source: str, target: str, fold: int) -> int:
    """Return the fold of the encoder of ``source`` from which finetuning on a ``fold`` of ``target`` starts.

    An encoder that has not seen the target's images serves all folds.
    """
    return fold if target in config.moco_sources.get(source, []) else 1


def pretrainings(config: Config) -> list[Pretraining]:
    """Return every MoCo training on whole datasets, and on the samples of the size controls."""
    found = []
    for source, seen in config.moco_sources.items():
        most = max((len(folds(config, name)) for name in seen if name in config.targets), default=1)
        if seen:
            found += [
                Pretraining(source, r, fold)
                for r in replicates(config, source)
                for fold in range(1, most + 1)
            ]
    return found + [
        Pretraining(name, r, 1) for name in config.controls.size for r in replicates(config, name)
    ]


def all_sources(config: Config) -> dict[str, Kind]:
    """Return every source that a finetuning job starts from, with its kind, in the order of all figures, tables and pages.

    Those of the configuration come first (``config/order.py``), then MoCo on only the labelled images, then the controls.
    """
    started = {job.source for target in config.targets for job in finetuning_jobs(config, target)}
    behind = [name for name in (LIMITED, *control_sources(config)) if name in started]
    return {name: _kind(config, name) for name in (*config.sources, *behind)}


def _kind(config: Config, source: str) -> Kind:
    if source in config.encoders:
        return "encoder"
    return "initial" if source in ("none", NONE_LONGER) or config.moco_sources.get(source) == [] else "moco"


def may_have_seen(config: Config, source: str, target: str) -> str:
    """Return why the encoder of ``source`` may have seen test images of ``target``, or nothing if it cannot have.

    What the initial weights have seen, every source that starts from them has seen. A training of this run sees the training
    split of a dataset, which is no reason, unless another dataset of the configuration holds the same images.
    """
    own = config.encoders.get(source)
    encoder = own or config.model.initial_weights
    whose = "its weights" if own else "the initial weights"
    for name in encoder.trained_on:
        if name == config.datasets[target].adapter or _may_share_images(config, name, target):
            return f"{whose} were trained on {_described(name, target)}"
    if encoder.kind == "supervised" and _is_copy(config, encoder.weights.classes_of, target):
        return f"{whose} were trained on {_described(encoder.weights.classes_of, target)}"
    control = config.controls.size.get(source)
    for name in [control.dataset] if control else config.moco_sources.get(source, []):
        if _is_copy(config, name, target):
            return f"MoCo was trained on {_described(name, target)}"
    return ""


def seen_tests(config: Config, sources: Iterable[str] | None = None) -> dict[str, dict[str, str]]:
    """Return why encoders may have seen test images: the reason by target and source, for those of ``sources`` that may.

    By default, all sources are asked.
    """
    asked = list(all_sources(config) if sources is None else sources)
    reasons = {
        target: {source: may_have_seen(config, source, target) for source in asked}
        for target in config.targets
    }
    found = {target: {s: why for s, why in each.items() if why} for target, each in reasons.items()}
    return {target: each for target, each in found.items() if each}


def _described(name: str, target: str) -> str:
    return name if name == target else f"{name}, which may hold images of {target}"


def _is_copy(config: Config, name: str, target: str) -> bool:
    """Return whether the training split of the dataset ``name`` may hold test images of another dataset, ``target``."""
    tests = [_official_test(config.datasets[each]) for each in (name, target)]
    same = tests[0] == tests[1] is not None
    return name != target and not same and _may_share_images(config, name, target)


def _official_test(dataset: Dataset) -> tuple[str, ...] | None:
    """Return who says which images are for testing, if it is not a draw of this run: a release, a column of a table, or folders."""
    if dataset.split.test != "official":
        return None
    table, folders = dataset.table, dataset.folders
    named = [table.file, str(table.official_split)] if table else [folders.pattern] if folders else []
    return dataset.adapter, *named


def _may_share_images(config: Config, name: str, target: str) -> bool:
    """Return whether ``name``, a dataset or the adapter of a release, may hold images of the dataset ``target``."""
    if name == target:
        return True
    of_target, other = config.datasets[target], config.datasets.get(name)
    if other is None:
        return name == of_target.adapter
    if other.views and of_target.views and not set(other.views) & set(of_target.views):
        return False
    if {other.adapter, of_target.adapter} & set(OWN_LAYOUTS):
        return bool(_places(other) & _places(of_target))
    return other.adapter == of_target.adapter and bool(other.phantom) == bool(of_target.phantom)


def _places(dataset: Dataset) -> set[str]:
    """Return where the images of a dataset are listed: its folder and its table, with links resolved."""
    if dataset.root is None:
        return set()
    parts = ["", dataset.table.file] if dataset.table else [""]
    return {os.path.realpath(Path(dataset.root, part)) for part in parts}


def _control_cells(config: Config, target: str) -> list[tuple[str, str, str]]:
    controls = config.controls
    cells = [
        (source, "linear", percent) for source in controls.size for percent in config.targets[target].percents
    ]
    cells += [(LIMITED_STEPS, "linear", percent) for percent in controls.steps.get(target, [])]
    cells += [(NONE_LONGER, "end_to_end", percent) for percent in controls.budget.get(target, [])]
    return cells


def used_datasets(config: Config) -> list[str]:
    """Return the datasets that the results rest on: the targets, and the datasets of the sources."""
    return list(dict.fromkeys([*config.targets, *chain(*config.moco_sources.values())]))


def initial_datasets(config: Config) -> list[str]:
    """Return the datasets behind the initial weights, as far as the configuration tells.

    The tags of timm tell ImageNet: ``densenet121.tv_in1k``.
    """
    encoder = config.model.initial_weights
    if encoder.kind == "supervised":
        return [encoder.weights.classes_of]
    told = encoder.kind != "random" and re.search(r"\..*in(1|12|21|22)k", encoder.encoder)
    return encoder.trained_on or (["ImageNet"] if told else [])


def shown_datasets(config: Config) -> list[str]:
    """Return the datasets that figure 1 shows."""
    named = dict.fromkeys([*initial_datasets(config), *used_datasets(config)])
    return [name for name in named if name in config.datasets]


def training_datasets(config: Config) -> list[str]:
    """Return the datasets behind every trained network: those that train one in this run, and those behind the initial weights."""
    return list(dict.fromkeys([*learnt_datasets(config), *shown_datasets(config)]))


def similar_datasets(config: Config) -> list[str]:
    """Return the datasets whose similarity is computed: those that are named, or all behind the networks; none if there is only one."""
    named = config.similarity.datasets or training_datasets(config)
    return named if len(named) > 1 else []


def carded_datasets(config: Config) -> list[str]:
    """Return the datasets that the results rest on or show: each has a data card."""
    return list(dict.fromkeys([*training_datasets(config), *similar_datasets(config)]))


def stored_datasets(config: Config) -> list[str]:
    """Return the datasets whose images are packed and split: those with a card, and those of the size controls."""
    controls = [name for each in config.controls.size.values() for name in (each.dataset, each.as_many_as)]
    return list(dict.fromkeys([*carded_datasets(config), *controls]))


def compared_sources(config: Config) -> dict[str, str]:
    """Return the dataset of each source that has one only, if its similarity to the targets is computed."""
    # The dataset 'natural' stands for ImageNet, on which published weights were trained.
    initial = ["natural" if name == "ImageNet" else name for name in initial_datasets(config)]
    behind = {source: seen or initial for source, seen in config.moco_sources.items()}
    alone = {source: seen[0] for source, seen in behind.items() if len(seen) == 1}
    return {source: name for source, name in alone.items() if name in similar_datasets(config)}


def has_ranked_sources(config: Config) -> bool:
    """Return whether a target has two compared sources from other domains, so that similarity can be right or wrong."""
    compared, seen = compared_sources(config), seen_tests(config)

    def may_be_ranked(target: str) -> bool:
        excluded = seen.get(target, {})
        others = {source for source, name in compared.items() if name != target}
        return "none" not in excluded and len(others - excluded.keys()) > 1

    known = [target for target in config.targets if target in similar_datasets(config)]
    return "none" in config.moco_sources and any(map(may_be_ranked, known))


def compared_networks(config: Config) -> list[str]:
    """Return the sources whose networks are compared on the same images: ``none``, then the others with the same layers.

    Sources with one encoder per labelled subset are left out.
    """

    def layers(encoder: Encoder) -> tuple[str, object]:
        return encoder.architecture, encoder.taps

    initial = layers(config.model.initial_weights)
    alike = [
        source
        for source, seen in config.sources.items()
        if (seen if isinstance(seen, list) else layers(seen) == initial)
    ]
    return ["none", *alike, *config.controls.size]


def has_controls(config: Config) -> bool:
    """Return whether there are trainings that separate domain, size and compute."""
    return bool(config.controls.size or config.controls.steps or config.controls.budget)


def extra_subsets(config: Config) -> range:
    """Return the numbers of the additional labelled subsets of linear cells."""
    return range(config.n_subsets + 1, config.controls.subsets + 1)


def extra_heads(config: Config) -> list[str]:
    """Return the results of linear heads on the additional labelled subsets, below ``controls/linear/``: one for each encoder and fold."""
    return [
        f"{target}/{source}/replicate{replicate}/fold{fold}"
        for target in config.targets
        for source in (*config.sources, *config.controls.size)
        for replicate in sorted({replicate_of(config, source, subset) for subset in extra_subsets(config)})
        for fold in folds(config, target)
    ]


def recipe_remark(config: Config) -> str:
    """Return what the recipe of linear finetuning means if the encoders have several architectures, or nothing."""
    chosen, names = config.finetune.linear.recipe, ", ".join(config.architectures)
    if len(config.architectures) == 1 or chosen in ("standardised", "logistic"):
        return ""
    if chosen is None:
        return (
            f"Linear finetuning is logistic regression, because the encoders have several architectures ({names}) and so features of "
            "several scales; finetune.linear.recipe may say otherwise."
        )
    return (
        f"finetune.linear.recipe is paper, whose result depends on the scale of the features, and the encoders have several "
        f"architectures ({names}): part of the differences between them will be differences in scale. Set it to null or to logistic."
    )


def control_sources(config: Config) -> list[str]:
    """Return the sources that explain the results of others; nobody would train a model for use this way."""
    return [*config.controls.size, LIMITED_STEPS, NONE_LONGER]


def ways_to_train(config: Config, target: str, percent: str) -> list[tuple[str, str]]:
    """Return the ways to train among which the advice chooses, as (source, mode): all but the controls."""
    jobs = finetuning_jobs(config, target)
    ways = [(job.source, job.mode) for job in jobs if job.percent == percent]
    return [way for way in dict.fromkeys(ways) if way[0] not in control_sources(config)]


def ways_to_advise(config: Config, target: str, percent: str) -> list[tuple[str, str]]:
    """Return those ways to train whose encoder cannot have seen test images: the advice names one of them, if there are any."""
    ways = ways_to_train(config, target, percent)
    return [(source, mode) for source, mode in ways if not may_have_seen(config, source, target)]


def kept_models(config: Config) -> list[str]:
    """Return the folders of the models that are kept, below ``models/``."""
    folders = []
    for target, chosen in config.targets.items():
        for percent in chosen.percents:
            folder = f"{target}/{percent}pct"
            if config.models == "all":
                folders += ["/".join([folder, *way]) for way in ways_to_train(config, target, percent)]
            elif config.models == "advised" and ways_to_advise(config, target, percent):
                folders.append(folder)
    return folders


def learnt_datasets(config: Config) -> list[str]:
    """Return the datasets whose images train a network of this run."""
    learnt = [each.weights.classes_of for each in config.encoders.values() if each.kind == "supervised"]
    return list(dict.fromkeys([*used_datasets(config), *learnt]))


def epoch_figures(config: Config) -> dict[str, str]:
    """Return the paper's figures 4 and 5 by name, each of one target; a third target gets figure 6."""
    return {f"figure{number}": target for number, target in enumerate(config.targets, start=4)}


def paper_tables(config: Config, phantoms: bool = False) -> dict[str, str]:
    """Return the paper's table of results for each target on the paper's dataset; with ``phantoms``, also for those that stand for it."""
    named = {name: (name, config.datasets[name].adapter) for name in config.targets}
    return {
        name: PAPER_TABLES[each]
        for name, each in named.items()
        if each in PAPER_TABLES and (phantoms or not config.datasets[name].phantom)
    }


def result_tables(config: Config) -> dict[str, str]:
    """Return the paper's tables 2 and 3 by name, each of one target; a third target gets table 4."""
    return {f"table{number}": target for number, target in enumerate(config.targets, start=2)}


def figure_names(config: Config) -> list[str]:
    """Return every figure: the paper's, and ours if there is something to show."""
    return [
        *("figure1", "figure2"),
        *(["figure3", "similarity_measures"] if similar_datasets(config) else []),
        *epoch_figures(config),
        *(["similarity_ranks"] if has_ranked_sources(config) else []),
        *(["networks"] if len(compared_networks(config)) > 1 else []),
        *("components", "augmentations", "training_curves"),
    ]


def table_names(config: Config) -> list[str]:
    """Return every table: the paper's, and ours if there is something to choose, control or compare."""
    return [
        *("table1", "encoders"),
        *result_tables(config),
        *("classes", "claims", "components", "advice", "decide"),
        *(["budgets"] if len(config.finetune.end_to_end.budgets) > 1 else []),
        *(["controls"] if has_controls(config) else []),
        *(["similarity_ranks"] if has_ranked_sources(config) else []),
        *(["subsets"] if extra_subsets(config) else []),
        *(["recipes"] if config.compared_recipes else []),
        *(["reproduced"] if paper_tables(config) else []),
    ]
