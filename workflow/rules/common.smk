"""The checked configuration, and what the rules share: parameters of figures, resources and paths. It defines no rules."""

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from snakemake.exceptions import WorkflowError


def home(here):
    """Return the folder that holds the Snakefile, even if another workflow imports this one as a module.

    If the module comes from GitHub or GitLab, Snakemake fetches only the files that rules name. The package needs all of them, so
    they are unpacked from Snakemake's own clone, beside it.
    """
    if here.is_local:
        return Path(here.get_path_or_uri(secret_free=True)).parents[1]
    clone = here.hosted_repo
    commit = clone.repo.commit(here.ref).hexsha
    folder = clone.repo_clone.with_name(f"{clone.repo_clone.name}-{commit}")
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            clone.repo.git.archive(commit, format="zip", output=f"{temporary}/files.zip")
            shutil.unpack_archive(f"{temporary}/files.zip", f"{temporary}/files")
            with contextlib.suppress(OSError):  # another process has been faster
                Path(temporary, "files").rename(folder)
    return folder


HOME = home(workflow.current_basedir)
if set("{}<>") & set(str(HOME)):
    sys.exit(
        f"error: {HOME}: Snakemake replaces what is in {{}} or <> in a path; move this repository to another folder"
    )
if str(HOME / "workflow") not in sys.path:
    sys.path.insert(0, str(HOME / "workflow"))

from moco_transfer.config import stages
from moco_transfer.config.composition import composed
from moco_transfer.config.experiment import INITIAL, check
from moco_transfer.costs import encoder_trainings
from moco_transfer.config.augmentation import PRESETS
from moco_transfer.errors import UserError
from moco_transfer.escape import script_json
from moco_transfer.experiment import (
    all_sources,
    carded_datasets,
    compared_networks,
    compared_sources,
    control_sources,
    encoder_fold,
    epoch_figures,
    extra_heads,
    extra_subsets,
    figure_names,
    finetuning_jobs,
    folds,
    has_controls,
    initial_datasets,
    initial_replicate,
    is_trained,
    trained_sources,
    kept_models,
    learnt_datasets,
    paper_tables,
    pretrainings,
    recipe_remark,
    replicate_of,
    replicates,
    result_tables,
    seen_tests,
    shown_datasets,
    similar_datasets,
    stored_datasets,
    table_names,
    training_datasets,
    used_datasets,
    ways_to_advise,
    ways_to_train,
)
from moco_transfer.plan import refuse_too_few
from moco_transfer.report.names import weights_text
from moco_transfer.roles import natural_datasets, source_roles
from moco_transfer.training.attempt import forget_finished

# Jobs must find the package and this Python in every environment and container, whether or not the environment is activated.
# A script that Snakemake has fetched stands alone, and finds in HOME those that it imports.
SEARCHED = [("PATH", Path(sys.executable).parent), ("PYTHONPATH", HOME / "workflow")]
if not workflow.current_basedir.is_local:
    SEARCHED.append(("PYTHONPATH", HOME / "workflow" / "scripts"))
for variable, folder in SEARCHED:
    known = os.environ.get(variable, "").split(os.pathsep)
    if str(folder) not in known:
        os.environ[variable] = os.pathsep.join([str(folder), *filter(None, known)])
# The GNU C library returns large blocks to the system and clears each page of a new one, and a training frees and
# allocates the same blocks in every step. If it keeps them, a CPU step is 10 to 20% faster, with equal bytes.
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(32 * 2**20))
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(256 * 2**20))
os.environ.setdefault("MALLOC_TOP_PAD_", str(64 * 2**20))
os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")

# Configuration files and an importing workflow name the parts of config/ that they use, or are overlays on config/config.yaml.
try:
    config.update(composed(config, HOME / "config"))
    config.pop("uses", None)
    CONFIG = check(config)
    refuse_too_few(CONFIG)
except UserError as error:
    sys.exit(f"error: {error}")

ENVIRONMENT = f"{HOME}/envs/moco-transfer.yaml"
SUBSETS = range(1, CONFIG.n_subsets + 1)
EXTRA_SUBSETS = extra_subsets(CONFIG)
# The labelled subset whose trainings become models: chosen in advance, so that no test image has a say.
KEPT_SUBSETS = [1] if CONFIG.models != "none" else []
ALL_SOURCES = all_sources(CONFIG)
# The sources that the paper's figures and tables show, with their kinds; controls add more.
PAPER_SOURCES = {name: kind for name, kind in ALL_SOURCES.items() if name in (*CONFIG.sources, "limited")}
# Sources with one encoder for all labelled subsets, and MoCo on only the labelled images, with one encoder per subset.
SHARED_SOURCES = [*CONFIG.sources, *CONFIG.controls.size]
SUBSET_SOURCES = ["limited", "limited-steps"]
COMPARED_NETWORKS = compared_networks(CONFIG)
SIMILAR_DATASETS = similar_datasets(CONFIG)
CARDED = carded_datasets(CONFIG)
PHANTOMS = [name for name, dataset in CONFIG.datasets.items() if dataset.phantom]
EPOCH_FIGURES, RESULT_TABLES = epoch_figures(CONFIG), result_tables(CONFIG)
# The paper's own numbers of those targets whose dataset is the paper's.
PAPER_FILES = {
    target: f"{HOME}/workflow/reference/{table}.csv" for target, table in paper_tables(CONFIG).items()
}
COMPUTING = stages.Computing(precision=CONFIG.precision, compile=CONFIG.compile)
# The targets of which an image has exactly one class.
MULTICLASS = [name for name, target in CONFIG.targets.items() if target.task == "multiclass"]
# Encoders that are trained here on the classes of a dataset; the others are imported.
CLASSIFIERS = [name for name, encoder in CONFIG.encoders.items() if encoder.kind == "supervised"]


def one_of(names):
    """Return a pattern that matches exactly the given names."""
    return "|".join(re.escape(name) for name in dict.fromkeys(names)) or "(?!)"


# Parameters of figures and tables.


def code_of(*folders):
    """Return a hash of the modules in ``folders`` of the workflow; a single module is named without its suffix."""
    digest, root = hashlib.sha256(), HOME / "workflow"
    for folder in folders:
        for module in sorted([*root.glob(f"{folder}.py"), *root.glob(f"{folder}/*.py")]):
            digest.update(module.read_bytes())
    return digest.hexdigest()[:16]


# Figures and tables take seconds, so Snakemake makes them again after any change to the code that they use.
RESULTS_CODE = code_of(
    "scripts",
    "moco_transfer/costs",
    "moco_transfer/escape",
    "moco_transfer/image_counts",
    "moco_transfer/plan",
    "moco_transfer/report",
    "moco_transfer/statistics",
    "moco_transfer/training/schedule",
)


def numbered_labels(kind, numbered, shows):
    """Return a function from wildcards to the report's labels of a figure or table that shows one target."""

    def labels(wildcards):
        name = wildcards[kind]
        return {kind: name.removeprefix(kind), "shows": f"{shows} on {numbered[name]}"}

    return labels


def augmented_examples():
    """Return the dataset whose images show the augmentations: the first shareable one, in colour if there is one, or none."""
    shareable = [name for name in used_datasets(CONFIG) if CONFIG.datasets[name].shareable]
    return sorted(shareable, key=lambda name: not CONFIG.datasets[name].store.colour)[:1]


def shown_augmentations():
    """Return the operations of every preset, and of the lists that this run uses instead of a preset."""
    chosen = {"moco.augment": CONFIG.moco.augment, "finetune.augment": CONFIG.finetune.augment}
    own = {key: operations for key, operations in chosen.items() if not isinstance(operations, str)}
    return {
        name: [operation.model_dump() for operation in operations]
        for name, operations in (PRESETS | own).items()
    }


def titles(wildcards):
    """Return the titles of the datasets that a result shows, as JSON: the report shows parameters, and a title may be HTML."""
    names = [wildcards.dataset] if "dataset" in wildcards.keys() else CONFIG.datasets
    return script_json({name: CONFIG.datasets[name].title for name in names})


def data_note(basis):
    """Return the warning for a result that rests on the datasets ``basis``; it is empty if all their images are real."""
    generated = [name for name in basis if name in PHANTOMS]
    if not generated:
        return ""
    if len(generated) == len(basis):
        return "Phantom data: generated images, not radiographs"
    return f"Phantom data in part: the {' and '.join(generated)} images are generated, not radiographs"


# Resources. Each further attempt gets half of the original amount more, up to what a node has or the cluster allows.


def memory(megabytes):
    most = max(megabytes, CONFIG.resources.max_mem_mb)
    return lambda wildcards, attempt: min(megabytes * (attempt + 1) // 2, most)


def minutes(runtime):
    return lambda wildcards, attempt: min(runtime * (attempt + 1) // 2, CONFIG.resources.max_runtime)


NETWORK_RESOURCES = {
    "gpu": CONFIG.resources.gpus,
    "device": CONFIG.device,
    "mem_mb": memory(CONFIG.resources.mem_mb),
}


def require_gpus(jobs):
    """Stop before the first of ``jobs`` if some need a GPU and this machine, on which they are to run, has none."""
    needed = [job.rule.name for job in jobs if job.resources.get("device") == "cuda"]
    # On a cluster, the machine on which Snakemake runs needs no GPU, and ``--touch`` runs nothing.
    if needed and workflow.local_exec and not workflow.touch:
        ranks = CONFIG.pretraining.ranks if any(name.startswith("pretrain") for name in needed) else 1
        check = [sys.executable, "-m", "moco_transfer", "check-gpus", "--ranks", str(ranks)]
        found = subprocess.run(check, capture_output=True, text=True)
        if found.returncode:
            sys.exit(found.stderr.strip())


def say_recipe():
    """Print what the recipe of linear finetuning means for encoders of several architectures."""
    if remark := recipe_remark(CONFIG):
        print(remark, file=sys.stderr)


def look_for_jobs_only_when_one_ends():
    """Lift Snakemake's default limit of 100 new jobs per second; a user's own limit stays.

    Under a limit, Snakemake 9.27 looks for ready jobs again each second. Each look starts a timer for the next one, and each job that ends
    starts another chain of these: as long as jobs wait, they took 44% of a core after 118 jobs.
    """
    limit = getattr(workflow.scheduler, "job_rate_limiter", None)
    if limit and (limit.max_jobs, limit.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None


def say_what_to_read():
    """Print the result that a person reads first, once it is there: the report, before it the advice, and before that the data cards."""
    results = Path(f"results/{CONFIG.run}")
    answers = [path for path in (results / "report.html", results / "tables" / "advice.md") if path.exists()]
    cards = [results / "cards" / f"{name}.md" for name in CARDED]
    there = [str(path) for path in answers[:1] or cards if path.exists()]
    if there:
        print(f"Read {' and '.join(there)}", file=sys.stderr)


# Paths. A path names a result: target, source, replicate of the encoder, mode, percentage, fold of the split, labelled subset.


def store(dataset, file):
    return f"<data>/{dataset}/store/{file}"


def splits(dataset, fold=1):
    """Return the split of a dataset in a fold of a target; a dataset without folds has one split."""
    return f"<run>/splits/{dataset}/fold{fold if fold in folds(CONFIG, dataset) else 1}.parquet"


def release_location(dataset):
    """Return the arguments of ``find_tables`` for a dataset."""
    return dataset.adapter, dataset.root, dataset.labeler, dataset.table.file if dataset.table else ""


def release_root(wildcards):
    dataset = CONFIG.datasets[wildcards.dataset]
    return dataset.root or f"results/data/{CONFIG.data}/{wildcards.dataset}/release"


def encoder_of(source, replicate=1, fold=1):
    """Return an encoder of a source that labelled subsets share; without MoCo, the initial weights."""
    if CONFIG.moco_sources.get(source) or source in CONFIG.controls.size:
        return f"<run>/pretrain/{source}/replicate{replicate}/fold{fold}/encoder.safetensors"
    return f"<run>/encoders/{source if source in CONFIG.encoders else INITIAL}/replicate{replicate}/encoder.safetensors"


def initial_weights(wildcards):
    """Return the initial weights that MoCo starts from; without MoCo on the labelled images, the replicate says which."""
    return encoder_of("none", initial_replicate(CONFIG, int(wildcards.replicate)))


def encoder(wildcards):
    """Return the encoder that a finetuning job starts from."""
    if wildcards.source not in SUBSET_SOURCES:
        fold = encoder_fold(CONFIG, wildcards.source, wildcards.target, int(wildcards.fold))
        return encoder_of(wildcards.source, wildcards.replicate, fold)
    return (
        f"<run>/pretrain/{wildcards.source}/replicate{wildcards.replicate}/{wildcards.target}/"
        f"{wildcards.percent}pct/fold{wildcards.fold}/subset{wildcards.subset}/encoder.safetensors"
    )


def embedding(file):
    """Return an input function: that file of the features that a linear job reads."""

    def path(wildcards):
        folder = f"<run>/embed/{wildcards.source}/replicate{wildcards.replicate}/{wildcards.target}"
        if wildcards.source not in SUBSET_SOURCES:
            return f"{folder}/fold{wildcards.fold}/{file}"
        return f"{folder}/{wildcards.percent}pct/fold{wildcards.fold}/subset{wildcards.subset}/{file}"

    return path


def subset_files(target, subsets=SUBSETS, fold=1):
    path = "<run>/subsets/{target}/{percent}pct/fold{fold}/subset{subset}.parquet"
    return expand(path, target=target, percent=CONFIG.targets[target].percents, subset=subsets, fold=fold)


def embedded_subsets(wildcards):
    """Return the labelled subsets whose features are computed: those of the run and those of the controls."""
    extra = (
        [f"<run>/controls/subsets/{wildcards.target}/fold{wildcards.fold}.parquet"] if EXTRA_SUBSETS else []
    )
    return subset_files(wildcards.target, fold=wildcards.fold) + extra


def met_subsets(wildcards, subsets):
    """Return those of the labelled ``subsets`` that meet an encoder."""
    source, replicate = wildcards.source, int(wildcards.replicate)
    return [subset for subset in subsets if replicate_of(CONFIG, source, subset) == replicate]


def subset_index(wildcards):
    """Return the index that a labelled subset is drawn from; its percentage must be one of the target's."""
    percents = CONFIG.targets[wildcards.target].percents
    if wildcards.percent not in percents:
        raise WorkflowError(
            f"targets.{wildcards.target}.percents are {', '.join(percents)}, not {wildcards.percent}"
        )
    return store(wildcards.target, "index.parquet")


def finetuned(file, target, modes=("linear", "end_to_end")):
    """Return that file of each finetuning job of a target."""
    # One string, because the linter takes a part that begins with a slash for an absolute path.
    path = "<run>/finetune/{target}/{job.source}/replicate{job.replicate}/{job.mode}/{job.percent}pct/fold{job.fold}/subset{job.subset}/{file}"
    return [path.format(target=target, job=job, file=file) for job in finetuning_jobs(CONFIG, target, modes)]


def candidate_ways(wildcards):
    """Return the ways to train, (source, mode), of which one becomes the model: those that may be advised, or the named one."""
    cell = f"{wildcards.target} at {wildcards.percent}%"
    if "source" not in wildcards.keys():
        if not (ways := ways_to_advise(CONFIG, wildcards.target, wildcards.percent)):
            raise WorkflowError(
                f"{cell}: no way to train can be advised, because each encoder may have seen the test images (trained_on); set"
                " models to all, which keeps every way"
            )
        return ways
    way = (wildcards.source, wildcards.mode)
    if way not in ways_to_train(CONFIG, wildcards.target, wildcards.percent):
        raise WorkflowError(f"{cell}: no model is made this way: {', '.join(way)}")
    return [way]


def kept_cell(wildcards):
    """Return the end of the paths of a target's and percentage's trainings on the labelled subset that is kept."""
    if not KEPT_SUBSETS:
        raise WorkflowError("models is none, so no model is kept; set models to advised or all")
    return f"{wildcards.percent}pct/fold1/subset{KEPT_SUBSETS[0]}"


def candidates(file):
    """Return an input function: that file of the finetuning job of each candidate; ``weights`` names that of its mode."""
    weights = {"linear": "head.safetensors", "end_to_end": "networks.safetensors"}

    def paths(wildcards):
        folder = f"<run>/finetune/{wildcards.target}"
        return [
            f"{folder}/{source}/replicate1/{mode}/{kept_cell(wildcards)}/{weights[mode] if file == 'weights' else file}"
            for source, mode in candidate_ways(wildcards)
        ]

    return paths


def candidate_encoders(wildcards):
    """Return the encoder that each candidate starts from."""
    end = f"replicate1/{wildcards.target}/{kept_cell(wildcards)}/encoder.safetensors"
    return [
        f"<run>/pretrain/{source}/{end}" if source in SUBSET_SOURCES else encoder_of(source)
        for source, _ in candidate_ways(wildcards)
    ]


def extra_subset_aurocs():
    """Return the AUROCs of linear heads on the additional labelled subsets."""
    return [f"<run>/controls/linear/{name}.parquet" for name in extra_heads(CONFIG)]


def recipe_aurocs():
    """Return the AUROCs of linear heads by several recipes."""
    return [
        f"<run>/recipes/linear/{target}/{source}/replicate{replicate}/fold{fold}.parquet"
        for target in CONFIG.targets
        for source in CONFIG.sources
        for replicate in replicates(CONFIG, source)
        for fold in folds(CONFIG, target)
    ]


def trainings():
    """Return every training by kind: the path of its metrics, and its names in the figure of training curves."""
    found = {"initial": {}, "moco": {}, "linear": {}, "end_to_end": {}}
    for name in CLASSIFIERS:
        for replicate in replicates(CONFIG, name):
            found["initial"][f"<run>/encoders/{name}/replicate{replicate}/metrics.csv"] = {
                "source": "none" if name == INITIAL else name
            }
    for each in pretrainings(CONFIG):
        folder = f"{each.source}/replicate{each.replicate}/fold{each.fold}"
        found["moco"][f"<run>/pretrain/{folder}/metrics.csv"] = {"source": each.source}
    for target in CONFIG.targets:
        jobs = finetuning_jobs(CONFIG, target)
        for job, metrics in zip(jobs, finetuned("metrics.csv", target)):
            cell = {"source": job.source, "target": target, "percent": job.percent}
            found[job.mode][metrics] = cell
            if job.source in SUBSET_SOURCES:
                folder = f"{job.source}/replicate{job.replicate}/{target}/{job.percent}pct/fold{job.fold}/subset{job.subset}"
                found["moco"][f"<run>/pretrain/{folder}/metrics.csv"] = cell
    return found


def estimate_files(names=("estimates",)):
    return expand("<run>/evaluate/{target}/{name}.parquet", name=names, target=CONFIG.targets)


def figure_files(names=tuple(figure_names(CONFIG))):
    return expand("<run>/figures/{name}.{kind}", name=names, kind=("pdf", "svg", "png"))


def table_files():
    return expand("<run>/tables/{name}.{kind}", name=table_names(CONFIG), kind=("csv", "md", "tex", "html"))


def card_files():
    return expand("<run>/cards/{name}.{kind}", name=CARDED, kind=("md", "pdf", "svg", "png"))


def model_files():
    names = [f"{name}.{kind}" for name, kind in [("model", "safetensors"), ("model", "md")]]
    names += [f"reliability.{kind}" for kind in ("pdf", "svg", "png")]
    return expand("<run>/models/{folder}/{name}", folder=kept_models(CONFIG), name=names)


def check_files():
    return expand("<run>/checks/{name}.txt", name=stored_datasets(CONFIG))


def figure_outputs(rule_name, shows="", path=None, labels=None, category="Figures"):
    """Return the outputs of a figure rule in three formats; the report lists the SVG by what it ``shows``."""
    path = path or f"<run>/figures/{rule_name}"
    title = rule_name.removeprefix("figure").replace("_", " ").strip()
    svg = report(
        f"{path}.svg",
        caption=f"../report/{rule_name}.rst",
        category=category,
        labels=labels or {"figure": title, "shows": shows},
    )
    return {"pdf": f"{path}.pdf", "svg": svg, "png": f"{path}.png"}


def table_outputs(name, shows="", labels=None, caption=""):
    """Return the four files of a table; the report lists the HTML page by what it ``shows`` or by ``labels``."""
    page = report(
        f"<run>/tables/{name}.html",
        caption=f"../report/{caption or name}.rst",
        category="Tables",
        labels=labels or {"table": name.removeprefix("table").replace("_", " "), "shows": shows},
    )
    return {kind: f"<run>/tables/{name}.{kind}" for kind in ("csv", "md", "tex")} | {"html": page}
