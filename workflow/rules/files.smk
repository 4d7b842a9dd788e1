"""Which files there are: functions from wildcards and the configuration to paths."""


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


def encoder_of(source):
    """Return the weights of a source that is the same for all subsets; without MoCo those are the initial ones."""
    if CONFIG.sources.get(source) or source in CONFIG.controls.size:
        return f"<run>/pretrain/{source}/encoder.safetensors"
    return INITIAL_WEIGHTS


def encoder(wildcards):
    """Return the weights that a finetuning job starts from."""
    if wildcards.source in SUBSET_SOURCES:
        cell = f"{wildcards.target}/{wildcards.percent}pct/subset{wildcards.subset}"
        return f"<run>/pretrain/{wildcards.source}/{cell}/encoder.safetensors"
    return encoder_of(wildcards.source)


def embedding(wildcards):
    """Return the folder of features that a linear job reads."""
    if wildcards.source in SUBSET_SOURCES:
        return (
            f"<run>/embed/{wildcards.source}/{wildcards.target}/{wildcards.percent}pct/subset{wildcards.subset}"
        )
    return f"<run>/embed/{wildcards.source}/{wildcards.target}"


def subset_files(target, percents, subsets=SUBSETS):
    return [
        f"<run>/subsets/{target}/{percent}pct/subset{subset}.parquet" for percent in percents for subset in subsets
    ]


def embedded_subsets(wildcards):
    """Return the labelled subsets whose features are computed: those of the run and those of the controls."""
    files = subset_files(wildcards.target, CONFIG.targets[wildcards.target].percents)
    return files + ([f"<run>/controls/subsets/{wildcards.target}.parquet"] if EXTRA_SUBSETS else [])


def prediction_files(target, modes=("linear", "end_to_end")):
    return [
        f"<run>/finetune/{target}/{source}/{mode}/{percent}pct/subset{subset}/predictions.parquet"
        for source, mode, percent, subset in finetuning_jobs(CONFIG, target, modes)
    ]


def estimate_files(names=("estimates",)):
    return [f"<run>/evaluate/{target}/{name}.parquet" for name in names for target in CONFIG.targets]


def figure_files(names=tuple(figure_names(CONFIG))):
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
    return [
        f"<run>/tables/{name}.{kind}" for name in table_names(CONFIG) for kind in ("csv", "md", "tex", "html")
    ]


def table_outputs(name, shows="", labels=None, caption=""):
    """Return the four files of a table; its HTML page enters the report, labelled with what it ``shows`` or ``labels``."""
    page = report(
        f"<run>/tables/{name}.html",
        caption=f"../report/{caption or name}.rst",
        category="Tables",
        labels=labels or {"table": name.removeprefix("table").replace("_", " "), "shows": shows},
    )
    return {kind: f"<run>/tables/{name}.{kind}" for kind in ("csv", "md", "tex")} | {"html": page}


def card_files():
    return [
        f"<run>/cards/{name}.{kind}"
        for name in carded_datasets(CONFIG)
        for kind in ("md", "pdf", "svg", "png")
    ]


def paper_tables(targets):
    """Return the paper's own numbers for those targets whose dataset is the paper's."""
    numbers = {"spine": "table2", "chest": "table3"}
    return [
        Path(workflow.basedir, "workflow", "reference", f"{numbers[target]}.csv").as_posix()
        for target in targets
        if PAPER_ADAPTERS.get(target) == CONFIG.datasets[target].adapter and target not in PHANTOMS
    ]


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
        for source, mode, percent, subset in finetuning_jobs(CONFIG, target):
            cell = {"source": source, "target": target, "percent": percent}
            metrics = f"{percent}pct/subset{subset}/metrics.csv"
            found[mode][f"<run>/finetune/{target}/{source}/{mode}/{metrics}"] = cell
            if source in SUBSET_SOURCES:
                found["moco"][f"<run>/pretrain/{source}/{target}/{metrics}"] = cell
            elif encoder_of(source) != INITIAL_WEIGHTS:
                found["moco"][f"<run>/pretrain/{source}/metrics.csv"] = {"source": source}
    return found
