"""The settings of stages, and so what makes Snakemake run them again. It defines no rules.

Snakemake runs a stage again if a file among its inputs or a value among its params has changed. So that only what depends on a
value runs again, the functions here leave out the places of files, and the settings that do not change a stage's result.
"""

from snakemake.exceptions import WorkflowError
from snakemake.io import IOFile

from moco_transfer.config import stages
from moco_transfer.data.pattern import names_digest
from moco_transfer.data.releases import describe_missing, find_tables
from moco_transfer.files import content_digest


def as_json(settings):
    """Return a params function: the ``settings`` of a stage, a function of wildcards, as JSON.

    Snakemake runs a stage again if this text changes. Options that must not do that are in ``resources`` or ``shell``.
    """
    return lambda wildcards: settings(wildcards).model_dump_json()


def command_json(settings):
    """Return a params function: the ``settings`` of a stage as JSON, whose changes do not make Snakemake run the stage again.

    Snakemake does not compare params that it derives from resources.
    """
    return lambda wildcards, resources: settings(wildcards).model_dump_json()


def pretraining(schedule, datasets, stream, match="epochs"):
    """Return the settings of MoCo on ``datasets`` with the schedule of that name."""
    return stages.Pretrain(
        crop=CONFIG.model.crop,
        moco=CONFIG.moco,
        schedule=CONFIG.schedule(schedule),
        match=match,
        datasets=[
            stages.LabelledDataset(name=name, uncertain=CONFIG.datasets[name].labels.uncertain)
            for name in datasets
        ],
        images=CONFIG.pretraining.images,
        probe=CONFIG.pretraining.probe,
        computing=COMPUTING,
        seed=CONFIG.seed,
        stream=stream,
    )


def moco_schedules():
    """Return the schedule of MoCo on each source, and on the labelled images of each target."""
    names = dict.fromkeys([*CONFIG.moco_sources, *CONFIG.controls.size, *CONFIG.targets])
    return {name: CONFIG.schedule(name).model_dump() for name in names}


def way_trainings():
    """Return the trainings that an encoder of each source of the advice needs, by target and source."""
    return {
        target: {
            source: [each._asdict() for each in encoder_trainings(CONFIG, target, source)]
            for source in PAPER_SOURCES
        }
        for target in CONFIG.targets
    }


def target_optimizers():
    return {name: CONFIG.finetune.optimizer(name).model_dump() for name in CONFIG.targets}


def numbered(stream, wildcards, kinds=("replicate", "fold")):
    """Return the name of the random stream of a replicate and fold: ``stream`` itself for the first of each."""
    numbers = {kind: int(wildcards[kind]) for kind in kinds if kind in wildcards.keys()}
    return [*stream, *(part for kind, number in numbers.items() if number > 1 for part in (kind, number))]


def moco_on_source(wildcards):
    stream = numbered([wildcards.source], wildcards)
    return pretraining(wildcards.source, CONFIG.moco_sources[wildcards.source], stream)


def moco_on_sample(wildcards):
    stream = numbered([wildcards.source], wildcards)
    return pretraining(wildcards.source, [CONFIG.controls.size[wildcards.source].dataset], stream)


def moco_on_subset(wildcards):
    return pretraining(
        wildcards.target,
        [wildcards.target],
        # The subset says which encoder it is.
        numbered(
            [wildcards.source, wildcards.target, wildcards.percent, int(wildcards.subset)],
            wildcards,
            ["fold"],
        ),
        match="steps" if wildcards.source == "limited-steps" else "epochs",
    )


def without_probe(settings):
    """Return a function: the ``settings`` of MoCo without its probe, on which the encoder does not depend."""

    def unprobed(wildcards):
        found = settings(wildcards)
        datasets = [each.model_copy(update={"uncertain": "zero"}) for each in found.datasets]
        return found.model_copy(update={"probe": None, "datasets": datasets})

    return unprobed


def finetuning(wildcards, mode):
    """Return what the settings of all finetuning jobs of a target share.

    Settings for many subsets lack the end of the stream's name, which the stage adds for each of them.
    """
    best = CONFIG.finetune.checkpoint == "best"
    stream = numbered([mode, wildcards.target], wildcards, ["fold"])
    if "subset" in wildcards.keys():
        stream += [wildcards.percent, int(wildcards.subset)]
    return {
        "task": target_task(wildcards),
        "uncertain": dataset_of(wildcards).labels.uncertain,
        "optimizer": CONFIG.finetune.optimizer(wildcards.target),
        "checkpoint": CONFIG.finetune.checkpoint,
        "average": CONFIG.evaluation.average if best else None,
        "seed": CONFIG.seed,
        "stream": stream,
    }


def linear_finetuning(wildcards, compared=()):
    """Return what the settings of linear heads share, by the run's recipe and those that are ``compared`` with it."""
    recipe = CONFIG.linear_recipe
    shared = finetuning(wildcards, "linear") | {"recipe": recipe, "epochs": CONFIG.finetune.linear.epochs}
    # A logistic regression takes no steps and has no epochs to choose from.
    if {recipe, *compared} == {"logistic"}:
        shared |= {"optimizer": None, "checkpoint": "last", "average": None}
    return shared


def linear_on_subsets(wildcards, subsets, compared=()):
    """Return the settings of linear heads on those of the ``subsets`` that meet an encoder."""
    return stages.LinearSubsets(
        target=wildcards.target,
        source=wildcards.source,
        subsets=met_subsets(wildcards, subsets),
        replicate=int(wildcards.replicate),
        fold=int(wildcards.fold),
        compared=compared,
        **linear_finetuning(wildcards, compared) | {"average": CONFIG.evaluation.average},
    )


def dataset_of(wildcards):
    """Return the configuration of the dataset that a rule works on."""
    return CONFIG.datasets[wildcards.get("dataset") or wildcards.target]


def sampled_from(dataset):
    """Return the size controls that draw from ``dataset``, each with the dataset that sets its size."""
    return {name: each.as_many_as for name, each in CONFIG.controls.size.items() if each.dataset == dataset}


def scored_labels(wildcards):
    """Return what uncertain labels count as if networks are scored on the dataset, else ``no``."""
    scored = wildcards.dataset in CONFIG.targets
    return CONFIG.datasets[wildcards.dataset].labels.uncertain if scored else "no"


def target_task(wildcards):
    """Return what the labels of a target mean; of a dataset that is no target, the default."""
    target = CONFIG.targets.get(wildcards.get("dataset") or wildcards.target)
    return target.task if target else "multilabel"


def checked_indexes(wildcards):
    names = [wildcards.dataset, *sampled_from(wildcards.dataset).values()]
    return [f"<data>/{name}/index.parquet" for name in names]


def data_checks(wildcards):
    """Return what this run needs of a dataset, as the settings of the check before packing."""
    samples = sampled_from(wildcards.dataset)
    target = CONFIG.targets.get(wildcards.dataset)
    return stages.CheckData(
        datasets=[
            stages.SplitDataset(
                name=name, split=CONFIG.datasets[name].split, labels=CONFIG.datasets[name].labels
            )
            for name in [wildcards.dataset, *samples.values()]
        ],
        percents=target.percents if target else [],
        task=target_task(wildcards),
        sources=[source for source, seen in CONFIG.moco_sources.items() if seen == [wildcards.dataset]],
        samples=list(samples),
        images=CONFIG.pretraining.images,
        seed=CONFIG.seed,
    )


def used_labels(wildcards):
    """Return the settings of a dataset's labels that a split depends on; what uncertain labels count as is fixed."""
    return dataset_of(wildcards).labels.model_copy(update={"uncertain": "zero"})


def subset_labels(wildcards):
    """Return what uncertain labels count as when a subset is drawn: only stratified sampling looks at them."""
    return dataset_of(wildcards).labels.uncertain if CONFIG.subset_sampling == "stratified" else "zero"


def subsets_in_one_file(wildcards, subsets):
    return stages.DrawExtraSubsets(
        uncertain=subset_labels(wildcards),
        percents=CONFIG.targets[wildcards.target].percents,
        subsets=list(subsets),
        sampling=CONFIG.subset_sampling,
        seed=CONFIG.seed,
    )


def stored_pixels(wildcards):
    """Return the settings of a dataset's store; those that change no pixel are fixed."""
    return dataset_of(wildcards).store.model_copy(update={"max_quarantined": 0.01, "shards": 1})


def model_facts(wildcards):
    """Return what a model card says of the run, as JSON: the report shows parameters, and text of a user may be HTML."""
    dataset, target = dataset_of(wildcards), wildcards.target
    return script_json(
        {
            "run": CONFIG.run,
            "target": target,
            "task": target_task(wildcards),
            "percent": wildcards.percent,
            "subset": KEPT_SUBSETS[0],
            "advised": "source" not in wildcards.keys(),
            "candidates": candidate_ways(wildcards),
            "crop": CONFIG.model.crop,
            "store": stored_pixels(wildcards).model_dump(),
            "split": dataset.split.model_dump(),
            "uncertain": dataset.labels.uncertain,
            "seed": CONFIG.seed,
            "sources": CONFIG.moco_sources,
            "encoders": {
                name: {
                    "name": encoder.encoder,
                    "weights": weights_text(encoder),
                    "classes_of": encoder.weights.classes_of if encoder.kind == "supervised" else None,
                    "others": encoder.kind not in ("supervised", "random"),
                }
                for name, encoder in CONFIG.encoders.items()
            },
            "moco": CONFIG.moco.model_dump(),
            "pretraining": CONFIG.pretraining.model_dump(include={"images"}),
            "schedules": moco_schedules(),
            "finetune": CONFIG.finetune.model_dump(exclude={"optimizers"}),
            "recipe": CONFIG.linear_recipe,
            "optimizer": target_optimizers()[target],
            "evaluation": CONFIG.evaluation.model_dump(include={"average", "percentiles", "unit"}),
            # The datasets that may show in the weights, and whether their images are generated or may be shared.
            "datasets": {
                name: {"phantom": name in PHANTOMS, "shareable": CONFIG.datasets[name].shareable}
                for name in learnt_datasets(CONFIG)
            },
        }
    )


def scoring():
    """Return the settings of the evaluation; those that do not change the estimates are fixed."""
    return CONFIG.evaluation.model_copy(update={"margin": 0.02, "level": 0.05})


def generated_release(wildcards):
    """Return the release that is generated, or nothing if the tables of a real one are there.

    ``release_digest`` stands for these: as inputs, they would be other files after the release has moved, and Snakemake
    would replace <data> and {x} in their paths.
    """
    if dataset_of(wildcards).phantom:
        return f"<data>/{wildcards.dataset}/release"
    if not find_tables(*release_location(dataset_of(wildcards)))[0]:
        real = {name: release_location(each) for name, each in CONFIG.datasets.items() if not each.phantom}
        public = {name: each.public_set for name, each in CONFIG.datasets.items()}
        raise WorkflowError(describe_missing(real, public))
    return []


def release_digest(wildcards):
    """Return a hash of what the adapter reads of a real release, wherever it is."""
    dataset = dataset_of(wildcards)
    if dataset.folders:
        return names_digest(dataset.root, dataset.folders.pattern)
    return "" if dataset.phantom else content_digest(find_tables(*release_location(dataset))[0])


def compared_activations(wildcards):
    """Return the activations of the datasets that are compared, if there are two."""
    if not SIMILAR_DATASETS:
        raise WorkflowError("similarity and figure 3 compare datasets, and this run has only one")
    return expand("<run>/similarity/activations/{name}.safetensors", name=SIMILAR_DATASETS)


def weights_file(wildcards):
    """Return no input, if the file of weights is there; as an input, it would be another file after it has moved."""
    encoder = CONFIG.encoders[wildcards.source]
    if encoder.kind == "file" and not Path(encoder.weights).is_file():
        where = "model.initial_weights" if wildcards.source == INITIAL else f"sources.{wildcards.source}"
        raise WorkflowError(f"{encoder.weights}: no such file of weights; correct {where}.weights")
    return []


def weights_digest(wildcards):
    """Return a hash of the file of weights, wherever it is."""
    encoder = CONFIG.encoders[wildcards.source]
    return content_digest([encoder.weights]) if encoder.kind == "file" else ""


def weights_of(source):
    """Return the settings of an encoder that its weights depend on: not the layers that are compared, nor what it has seen."""
    return CONFIG.encoders[source].model_copy(update={"taps": None, "trained_on": []})


def encoder_import(wildcards):
    return stages.ImportEncoder(
        encoder=weights_of(wildcards.source),
        crop=CONFIG.model.crop,
        seed=CONFIG.seed,
        stream=numbered(encoder_stream(wildcards.source), wildcards),
    )


def imported_encoder(wildcards):
    """Return the settings of an imported encoder that its file depends on: not the place of a file, nor its hash."""
    found = encoder_import(wildcards)
    anywhere = {"sha256": None} | ({"weights": "random"} if found.encoder.kind == "file" else {})
    return found.model_copy(update={"encoder": found.encoder.model_copy(update=anywhere)})


def encoder_stream(source):
    """Return the first parts of the names of the random streams of an encoder that MoCo does not train."""
    return ["initial"] if source == INITIAL else ["encoder", source]


def shard_files(name):
    """Return an input function: the file of that name of each shard of the dataset, in order."""

    def files(wildcards):
        numbers = joined_shards(wildcards.dataset)
        if not numbers:
            shards = CONFIG.datasets[wildcards.dataset].store.shards
            numbers = [f"{shard:04}-of-{shards:04}" for shard in range(1, shards + 1)]
        return [f"<data>/{wildcards.dataset}/shards/{number}/{name}" for number in numbers]

    return files


def joined_shards(dataset):
    """Return the shards from which Snakemake has joined the dataset's store, or nothing if there is no store.

    Any number of shards gives the same store, so another number must not pack again.
    """
    images = Path(f"results/data/{CONFIG.data}/{dataset}/store/images.npy")
    inputs = workflow.persistence.input(IOFile(images, rule=None)) if images.exists() else None
    return sorted(Path(path).parent.name for path in inputs or [] if Path(path).name == images.name)
