"""The checked configuration and the functions that rules share; no rules here."""

import hashlib
import json
import os
import re
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import available_cpu_count

PACKAGE = Path(workflow.basedir, "workflow", "moco_transfer")
sys.path.insert(0, str(PACKAGE.parent))

from moco_transfer.config import check
from moco_transfer.config.augmentation import PRESETS
from moco_transfer.data.releases import describe_missing, find_tables
from moco_transfer.errors import UserError
from moco_transfer.experiment import (
    all_sources,
    carded_datasets,
    compared_networks,
    compared_sources,
    epoch_figures,
    extra_subsets,
    figure_names,
    finetuning_jobs,
    has_controls,
    initial_dataset,
    result_tables,
    shown_datasets,
    table_names,
    used_datasets,
)
from moco_transfer.job_environment import export_package, keep_freed_memory
from moco_transfer.tables.hyperparameters import hyperparameter_rows
from moco_transfer.training.attempt import forget_finished
from moco_transfer.training.device import count_gpus

export_package(PACKAGE.parent)
keep_freed_memory()

try:
    CONFIG = check(config)
except UserError as error:
    sys.exit(f"error: {error}")

if workflow.is_main_process and workflow.nodes is None:  # this machine runs the jobs, not a cluster
    # In profiles/default, `cores` would hold on a cluster too, and cut the threads of jobs down to the login node's.
    if workflow.resource_settings.cores is None:
        workflow.resource_settings.cores = available_cpu_count()
        workflow.register_resource("_cores", workflow.resource_settings.cores)
    if "gpu" not in workflow.global_resources and (gpus := count_gpus(os.environ)):
        workflow.register_resource("gpu", gpus)

SUBSETS = range(1, CONFIG.n_subsets + 1)
TRAINED_SOURCES = [source for source, datasets in CONFIG.sources.items() if datasets]
# The paper's sources, which its figures and tables show, and with them those of the controls.
PAPER_SOURCES = [*CONFIG.sources, "limited"]
ALL_SOURCES = all_sources(CONFIG)
# Sources whose MoCo sees the labelled images alone, and so differs from subset to subset.
SUBSET_SOURCES = ["limited", "limited-steps"]
EXTRA_SUBSETS = extra_subsets(CONFIG)
# Weights that are trained here depend on the run's seed and splits; published ones are shared by all runs.
INITIAL_WEIGHTS = (
    f"<{'run' if CONFIG.model.initial_weights.kind == 'supervised' else 'data'}>/initial_weights/"
    f"{CONFIG.model.name}.safetensors"
)
COMPARED_NETWORKS = compared_networks(CONFIG)
PHANTOMS = [name for name, dataset in CONFIG.datasets.items() if dataset.phantom]
EPOCH_FIGURES, RESULT_TABLES = epoch_figures(CONFIG), result_tables(CONFIG)
PAPER_ADAPTERS = {"spine": "vindr_spinexr", "chest": "mimic_cxr_jpg"}


def one_of(names):
    """Return a pattern that matches exactly the given names."""
    return "|".join(re.escape(name) for name in dict.fromkeys(names)) or "(?!)"


def settings(**values):
    """Return a params function with the values as one JSON string.

    Functions among them are called on wildcards; sections of the configuration, in lists too, become mappings.
    """

    def as_json(wildcards):
        called = {key: value(wildcards) if callable(value) else value for key, value in values.items()}
        return json.dumps(called, sort_keys=True, default=lambda section: section.model_dump())

    return as_json


def moco_settings(**values):
    """Return a params function with what all pretrainings share, and the ``values`` of one."""
    return settings(
        model=CONFIG.model.name,
        input_size=CONFIG.model.input_size,
        moco=CONFIG.moco,
        images=CONFIG.pretraining.images,
        probe=CONFIG.pretraining.probe,
        precision=CONFIG.precision,
        compile=CONFIG.compile,
        seed=CONFIG.seed,
        **values,
    )


def dataset_settings(*keys):
    """Return a function from wildcards to one section of the dataset's configuration."""

    def section(wildcards):
        value = CONFIG.datasets[wildcards.get("dataset") or wildcards.target]
        for key in keys:
            value = getattr(value, key)
        return value.model_dump() if hasattr(value, "model_dump") else value

    return section


def code_of(*folders):
    """Return a hash of the modules in folders of the workflow."""
    digest = hashlib.sha256()
    for folder in folders:
        for module in sorted(Path(workflow.basedir, "workflow", folder).glob("*.py")):
            digest.update(module.read_bytes())
    return digest.hexdigest()[:16]


# Figures and tables take seconds: any change of what they are made with makes them anew.
RESULTS_CODE = code_of(
    "scripts", "moco_transfer/plotting", "moco_transfer/tables", "moco_transfer/statistics"
)


def stored_pixels(wildcards):
    """Return those settings of a dataset's store that its pixels depend on."""
    return CONFIG.datasets[wildcards.dataset].store.model_dump(exclude={"max_quarantined", "shards"})


def max_quarantined(wildcards, threads):
    """Return the share of unreadable images allowed.

    Snakemake does not compare params made from ``threads`` with those of the last run: with another allowance, what is
    packed stays packed.
    """
    return CONFIG.datasets[wildcards.dataset].store.max_quarantined


def memory(megabytes):
    """Return a resource function: ``megabytes``, more at every further attempt, but no more than a node has."""
    return lambda wildcards, attempt: min(
        megabytes * (attempt + 1) // 2, max(megabytes, CONFIG.resources.max_mem_mb)
    )


def minutes(runtime):
    """Return a resource function: ``runtime``, more at every further attempt, but no more than the cluster gives."""
    return lambda wildcards, attempt: min(runtime * (attempt + 1) // 2, CONFIG.resources.max_runtime)


def probed_datasets(names):
    """Return what the linear probes of a pretraining need to know of its datasets."""
    return [{"name": name, "uncertain": CONFIG.datasets[name].labels.uncertain} for name in names]


def launcher(wildcards, threads):
    """Return the command that starts a pretraining: once, or as several ranks that share its batches.

    As with ``max_quarantined``, another number of ranks leaves what is trained as it is.
    """
    ranks = CONFIG.pretraining.ranks
    torchrun = f"-m torch.distributed.run --standalone --nproc-per-node {ranks} " if ranks > 1 else ""
    return f"python {torchrun}-m moco_transfer"


def numbered_labels(kind, numbered, shows):
    """Return a function from wildcards to the report's labels of a figure or table that stands for one target."""

    def labels(wildcards):
        name = wildcards[kind]
        title = CONFIG.datasets[numbered[name]].title
        return {kind: name.removeprefix(kind), "shows": f"{shows} on {title}"}

    return labels


def titles():
    """Return the name of every dataset for figures and tables."""
    return {name: dataset.title for name, dataset in CONFIG.datasets.items()}


def data_note():
    """Return what must stand on every result that rests on generated images, or nothing where all images are real."""
    basis = carded_datasets(CONFIG)
    generated = [name for name in basis if name in PHANTOMS]
    if not generated:
        return ""
    if len(generated) == len(basis):
        return "Phantom data: generated images, not radiographs"
    return f"Phantom data in part: the {' and '.join(generated)} images are generated, not radiographs"


def augmented_examples():
    """Return the dataset whose images show what augmentations do, as a list of one name or none.

    It is the first one used whose images are grey and may be shown.
    """
    used = [(name, CONFIG.datasets[name]) for name in used_datasets(CONFIG)]
    return [name for name, dataset in used if dataset.shareable and not dataset.store.colour][:1]


def shown_augmentations():
    """Return the operations of every preset, and of the lists that this run has instead of one."""
    chosen = {"moco.augment": CONFIG.moco.augment, "finetune.augment": CONFIG.finetune.augment}
    own = {key: operations for key, operations in chosen.items() if not isinstance(operations, str)}
    return {
        name: [operation.model_dump() for operation in operations]
        for name, operations in (PRESETS | own).items()
    }
