"""The checked configuration and the functions that rules share; no rules here."""

import hashlib
import json
import re
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

PACKAGE = Path(workflow.basedir, "workflow", "moco_transfer")
sys.path.insert(0, str(PACKAGE.parent))

from moco_transfer.config import check
from moco_transfer.config.augmentation import PRESETS
from moco_transfer.data.releases import describe_missing, find_tables
from moco_transfer.errors import UserError
from moco_transfer.grid import all_sources, finetuning_jobs
from moco_transfer.job_environment import export_package, keep_freed_memory
from moco_transfer.tables.hyperparameters import hyperparameter_rows

export_package(PACKAGE.parent)
keep_freed_memory()

try:
    CONFIG = check(config)
except UserError as error:
    sys.exit(f"error: {error}")

SEEDS = range(1, CONFIG.seeds + 1)
TRAINED_SOURCES = [source for source, datasets in CONFIG.sources.items() if datasets]
# The paper's sources, which its figures and tables show, and with them those of the controls.
PAPER_SOURCES = [*CONFIG.sources, "limited"]
ALL_SOURCES = all_sources(CONFIG)
# Sources whose MoCo sees the labelled images alone, and so differs from subset to subset.
SUBSET_SOURCES = ["limited", "limited-steps"]
EXTRA_SUBSETS = range(CONFIG.seeds + 1, CONFIG.controls.subsets + 1)
# Weights that are trained here depend on the run's seed and splits; published ones are shared by all runs.
INITIAL_WEIGHTS = (
    f"<{'run' if CONFIG.model.initial_weights.kind == 'supervised' else 'data'}>/initial_weights/"
    f"{CONFIG.model.name}.safetensors"
)
PHANTOMS = [name for name, dataset in CONFIG.datasets.items() if dataset.phantom]
# The paper's figures 4 and 5 and tables 2 and 3 are one for each target; a third target gets figure 6 and table 4.
EPOCH_FIGURES = {f"figure{number}": target for number, target in enumerate(CONFIG.targets, start=4)}
RESULT_TABLES = {f"table{number}": target for number, target in enumerate(CONFIG.targets, start=2)}
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


def store(dataset, file):
    return f"<data>/{dataset}/store/{file}"


def raw_tables(wildcards):
    """Return what the adapter reads: the tables of a release, or the whole of a generated one."""
    dataset = CONFIG.datasets[wildcards.dataset]
    if dataset.phantom:
        return f"<data>/{wildcards.dataset}/release"
    found, _ = find_tables(*release_location(dataset))
    if not found:
        real = {name: release_location(each) for name, each in CONFIG.datasets.items() if not each.phantom}
        raise WorkflowError(describe_missing(real))
    return found


def release_location(dataset):
    """Return where a dataset's release lies and what decides which of its tables are read."""
    return dataset.adapter, dataset.root, dataset.labeler, dataset.table.file if dataset.table else ""


def stored_pixels(wildcards):
    """Return those settings of a dataset's store that its pixels depend on."""
    return CONFIG.datasets[wildcards.dataset].store.model_dump(exclude={"max_quarantined", "shards"})


def max_quarantined(wildcards, threads):
    """Return the share of unreadable images allowed.

    Snakemake does not compare params made from ``threads`` with those of the last run: with another allowance, what is
    packed stays packed.
    """
    return CONFIG.datasets[wildcards.dataset].store.max_quarantined


def shard_files(name):
    """Return a function from wildcards to the file of that name of each shard of the dataset, in order."""

    def files(wildcards):
        shards = CONFIG.datasets[wildcards.dataset].store.shards
        return [
            f"<data>/{wildcards.dataset}/shards/{shard:04}-of-{shards:04}/{name}"
            for shard in range(1, shards + 1)
        ]

    return files


def release_root(wildcards):
    dataset = CONFIG.datasets[wildcards.dataset]
    return dataset.root or f"results/data/{CONFIG.data}/{wildcards.dataset}/release"


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


def encoder_of(source):
    """Return the weights of a source that is the same for all subsets; without MoCo those are the initial ones."""
    if CONFIG.sources.get(source) or source in CONFIG.controls.size:
        return f"<run>/pretrain/{source}/encoder.safetensors"
    return INITIAL_WEIGHTS


def encoder(wildcards):
    """Return the weights that a finetuning job starts from."""
    if wildcards.source in SUBSET_SOURCES:
        cell = f"{wildcards.target}/{wildcards.percent}pct/seed{wildcards.seed}"
        return f"<run>/pretrain/{wildcards.source}/{cell}/encoder.safetensors"
    return encoder_of(wildcards.source)


def embedding(wildcards):
    """Return the folder of features that a linear job reads."""
    if wildcards.source in SUBSET_SOURCES:
        return (
            f"<run>/embed/{wildcards.source}/{wildcards.target}/{wildcards.percent}pct/seed{wildcards.seed}"
        )
    return f"<run>/embed/{wildcards.source}/{wildcards.target}"


def subset_files(target, percents, seeds=SEEDS):
    return [
        f"<run>/subsets/{target}/{percent}pct/seed{seed}.parquet" for percent in percents for seed in seeds
    ]


def embedded_subsets(wildcards):
    """Return the labelled subsets whose features are computed: those of the run and those of the controls."""
    files = subset_files(wildcards.target, CONFIG.targets[wildcards.target].percents)
    return files + ([f"<run>/controls/subsets/{wildcards.target}.parquet"] if EXTRA_SUBSETS else [])


def prediction_files(target, modes=("linear", "end_to_end")):
    return [
        f"<run>/finetune/{target}/{source}/{mode}/{percent}pct/seed{seed}/predictions.parquet"
        for source, mode, percent, seed in finetuning_jobs(CONFIG, target, modes)
    ]


def estimate_files(names=("estimates",)):
    return [f"<run>/evaluate/{target}/{name}.parquet" for name in names for target in CONFIG.targets]


def figure_files(
    names=(
        "figure1",
        "figure2",
        "figure3",
        *EPOCH_FIGURES,
        "similarity_measures",
        "augmentations",
        "training_curves",
    )
):
    return [f"<run>/figures/{name}.{kind}" for name in names for kind in ("pdf", "svg", "png")]


def extra_subset_aurocs():
    """Return the AUROCs of linear heads on further labelled subsets, of all cells that have them."""
    if not EXTRA_SUBSETS:
        return []
    sources = [*CONFIG.sources, *CONFIG.controls.size]
    return [
        f"<run>/controls/linear/{target}/{source}.parquet" for target in CONFIG.targets for source in sources
    ]


def table_files():
    """Return the paper's tables and ours; those of the controls where there are any."""
    names = ["table1", *RESULT_TABLES, "claims"]
    if CONFIG.controls.size or CONFIG.controls.steps or CONFIG.controls.budget:
        names.append("controls")
    if EXTRA_SUBSETS:
        names.append("subsets")
    return [f"<run>/tables/{name}.{kind}" for name in names for kind in ("csv", "md", "tex", "html")]


def card_files():
    """Return the data cards of all datasets that the results rest on or show."""
    names = dict.fromkeys([*used_datasets(), *shown_datasets(), *CONFIG.similarity.datasets])
    return [f"<run>/cards/{name}.{kind}" for name in names for kind in ("md", "pdf", "svg", "png")]


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
    basis = dict.fromkeys([*used_datasets(), *shown_datasets(), *CONFIG.similarity.datasets])
    generated = [name for name in basis if name in PHANTOMS]
    if not generated:
        return ""
    if len(generated) == len(basis):
        return "Phantom data: generated images, not radiographs"
    return f"Phantom data in part: the {' and '.join(generated)} images are generated, not radiographs"


def used_datasets():
    """Return the datasets that the results rest on: targets and what the sources are made of."""
    return list(
        dict.fromkeys([*CONFIG.targets, *(name for seen in CONFIG.sources.values() for name in seen)])
    )


def paper_tables(targets):
    """Return the paper's own numbers for those targets whose dataset is the paper's."""
    numbers = {"spine": "table2", "chest": "table3"}
    return [
        Path(workflow.basedir, "workflow", "reference", f"{numbers[target]}.csv").as_posix()
        for target in targets
        if PAPER_ADAPTERS.get(target) == CONFIG.datasets[target].adapter and target not in PHANTOMS
    ]


def initial_dataset():
    """Return the dataset behind the initial weights."""
    return CONFIG.model.initial_weights.dataset or "ImageNet"


def shown_datasets():
    """Return the datasets that figure 1 shows."""
    return [name for name in [initial_dataset(), *used_datasets()] if name in CONFIG.datasets]


def augmented_examples():
    """Return the dataset whose images show what augmentations do, as a list of one name or none.

    It is the first one used whose images are grey and may be shown.
    """
    used = [(name, CONFIG.datasets[name]) for name in used_datasets()]
    return [name for name, dataset in used if dataset.shareable and not dataset.store.colour][:1]


def shown_augmentations():
    """Return the operations of every preset, and of the lists that this run has instead of one."""
    chosen = {"moco.augment": CONFIG.moco.augment, "finetune.augment": CONFIG.finetune.augment}
    own = {key: operations for key, operations in chosen.items() if not isinstance(operations, str)}
    return {
        name: [operation.model_dump() for operation in operations]
        for name, operations in (PRESETS | own).items()
    }


def subset_index(wildcards):
    """Return the index that a labelled subset is drawn from; percentages belong to a target."""
    percents = CONFIG.targets[wildcards.target].percents
    if wildcards.percent not in percents:
        raise WorkflowError(
            f"targets.{wildcards.target}.percents are {', '.join(percents)}, not {wildcards.percent}"
        )
    return store(wildcards.target, "index.parquet")


def trainings():
    """Return every training by kind, as the table of its metrics and what names it in the figure of training curves."""
    found = {"initial": {}, "moco": {}, "linear": {}, "end_to_end": {}}
    if CONFIG.model.initial_weights.kind == "supervised":
        found["initial"][INITIAL_WEIGHTS.replace(".safetensors", ".csv")] = {"source": "none"}
    for target in CONFIG.targets:
        for source, mode, percent, seed in finetuning_jobs(CONFIG, target):
            cell = {"source": source, "target": target, "percent": percent}
            subset = f"{percent}pct/seed{seed}/metrics.csv"
            found[mode][f"<run>/finetune/{target}/{source}/{mode}/{subset}"] = cell
            if source in SUBSET_SOURCES:
                found["moco"][f"<run>/pretrain/{source}/{target}/{subset}"] = cell
            elif encoder_of(source) != INITIAL_WEIGHTS:
                found["moco"][f"<run>/pretrain/{source}/metrics.csv"] = {"source": source}
    return found
