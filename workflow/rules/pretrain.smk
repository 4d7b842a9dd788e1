"""The initial weights, and MoCo on every source."""

# One GPU per rank, if there are GPUs.
PRETRAINING_GPUS = max(CONFIG.resources.gpus, CONFIG.pretraining.ranks) if CONFIG.resources.gpus else 0
# This is part of the command, not of params: another number of ranks gives the same result and must not start a new
# training.
PRETRAIN = "exec python -m moco_transfer pretrain"
if CONFIG.pretraining.ranks > 1:
    PRETRAIN = (
        f"exec python -m torch.distributed.run --standalone --nproc-per-node {CONFIG.pretraining.ranks}"
        " -m moco_transfer pretrain"
    )


localrules:
    import_encoder,


rule import_encoder:
    input:
        weights_file,
    output:
        "<run>/encoders/{source}/replicate{replicate}/encoder.safetensors",
    log:
        "<run>/logs/encoders/{source}/replicate{replicate}.log",
    wildcard_constraints:
        source=one_of(name for name in CONFIG.encoders if name not in CLASSIFIERS),
    conda:
        ENVIRONMENT
    params:
        settings=command_json(encoder_import),
        imported=as_json(imported_encoder),
        weights=weights_digest,
        version=2,
    message:
        "Importing the encoder {wildcards.source}"
    shell:
        "exec python -m moco_transfer import-encoder --settings {params.settings:q} --encoder {output:q}"
        " > {log:q} 2>&1"


rule train_weights:
    input:
        images=lambda wildcards: store(CONFIG.encoders[wildcards.source].weights.classes_of, "images.npy"),
        index=lambda wildcards: store(CONFIG.encoders[wildcards.source].weights.classes_of, "index.parquet"),
        splits=lambda wildcards: splits(CONFIG.encoders[wildcards.source].weights.classes_of),
    output:
        encoder="<run>/encoders/{source}/replicate{replicate}/encoder.safetensors",
        metrics="<run>/encoders/{source}/replicate{replicate}/metrics.csv",
    log:
        "<run>/logs/encoders/{source}/replicate{replicate}.log",
    benchmark:
        "<run>/benchmarks/encoders/{source}/replicate{replicate}.tsv"
    wildcard_constraints:
        source=one_of(CLASSIFIERS),
    conda:
        ENVIRONMENT
    threads: CONFIG.resources.threads
    resources:
        **NETWORK_RESOURCES,
        runtime=minutes(720),
    params:
        settings=as_json(
            lambda wildcards: stages.TrainWeights(
                encoder=weights_of(wildcards.source),
                crop=CONFIG.model.crop,
                computing=COMPUTING,
                seed=CONFIG.seed,
                stream=numbered(encoder_stream(wildcards.source), wildcards),
            )
        ),
        store=subpath(input.images, parent=True),
        version=2,
    message:
        "Training the encoder {wildcards.source} on the classes of a dataset"
    shell:
        "exec python -m moco_transfer train-weights --device {resources.device:q} --settings {params.settings:q}"
        " --store {params.store:q} --splits {input.splits:q} --encoder {output.encoder:q}"
        " --metrics {output.metrics:q} > {log:q} 2>&1"


rule pretrain:
    input:
        initial=initial_weights,
        images=lambda wildcards: [store(name, "images.npy") for name in CONFIG.moco_sources[wildcards.source]],
        index=lambda wildcards: [
            store(name, "index.parquet") for name in CONFIG.moco_sources[wildcards.source]
        ],
        splits=lambda wildcards: [
            splits(name, int(wildcards.fold)) for name in CONFIG.moco_sources[wildcards.source]
        ],
    output:
        encoder="<run>/pretrain/{source}/replicate{replicate}/fold{fold}/encoder.safetensors",
        metrics="<run>/pretrain/{source}/replicate{replicate}/fold{fold}/metrics.csv",
    log:
        "<run>/logs/pretrain/{source}/replicate{replicate}/fold{fold}.log",
    benchmark:
        "<run>/benchmarks/pretrain/{source}/replicate{replicate}/fold{fold}.tsv"
    wildcard_constraints:
        source=one_of(source for source, datasets in CONFIG.moco_sources.items() if datasets),
    priority: 20
    conda:
        ENVIRONMENT
    threads: CONFIG.resources.threads
    resources:
        **NETWORK_RESOURCES | {"gpu": PRETRAINING_GPUS},
        runtime=minutes(4320),
    params:
        settings=command_json(moco_on_source),
        trained=as_json(without_probe(moco_on_source)),
        stores=lambda wildcards, input: [str(Path(path).parent) for path in input.images],
        version=2,
    message:
        "Pretraining with MoCo on {wildcards.source}, replicate {wildcards.replicate}"
    shell:
        PRETRAIN
        + " --device {resources.device:q} --settings {params.settings:q} --initial {input.initial:q}"
        " --stores {params.stores:q} --splits {input.splits:q} --encoder {output.encoder:q}"
        " --metrics {output.metrics:q} > {log:q} 2>&1"


# MoCo on only the labelled images (limited, limited-steps).
rule pretrain_subset:
    input:
        initial=initial_weights,
        images=lambda wildcards: store(wildcards.target, "images.npy"),
        index=lambda wildcards: store(wildcards.target, "index.parquet"),
        splits="<run>/splits/{target}/fold{fold}.parquet",
        subset="<run>/subsets/{target}/{percent}pct/fold{fold}/subset{subset}.parquet",
    output:
        encoder="<run>/pretrain/{source}/replicate{replicate}/{target}/{percent}pct/fold{fold}/subset{subset}/encoder.safetensors",
        metrics="<run>/pretrain/{source}/replicate{replicate}/{target}/{percent}pct/fold{fold}/subset{subset}/metrics.csv",
    log:
        "<run>/logs/pretrain/{source}/replicate{replicate}/{target}/{percent}pct/fold{fold}/subset{subset}.log",
    benchmark:
        "<run>/benchmarks/pretrain/{source}/replicate{replicate}/{target}/{percent}pct/fold{fold}/subset{subset}.tsv"
    wildcard_constraints:
        source=one_of(SUBSET_SOURCES),
    conda:
        ENVIRONMENT
    threads: CONFIG.resources.threads
    resources:
        **NETWORK_RESOURCES | {"gpu": PRETRAINING_GPUS},
        runtime=minutes(1440),
    params:
        settings=command_json(moco_on_subset),
        trained=as_json(without_probe(moco_on_subset)),
        store=subpath(input.images, parent=True),
        version=2,
    message:
        "Pretraining with MoCo on only the {wildcards.percent}% labelled {wildcards.target} images, subset {wildcards.subset} ({wildcards.source})"
    shell:
        PRETRAIN
        + " --device {resources.device:q} --settings {params.settings:q} --initial {input.initial:q}"
        " --stores {params.store:q} --splits {input.splits:q} --subset {input.subset:q} --encoder {output.encoder:q}"
        " --metrics {output.metrics:q} > {log:q} 2>&1"


# MoCo on as many images of one dataset as another dataset has (the size control).
use rule pretrain_subset as pretrain_sample with:
    input:
        initial=initial_weights,
        images=lambda wildcards: store(CONFIG.controls.size[wildcards.source].dataset, "images.npy"),
        index=lambda wildcards: store(CONFIG.controls.size[wildcards.source].dataset, "index.parquet"),
        splits=lambda wildcards: splits(CONFIG.controls.size[wildcards.source].dataset),
        subset="<run>/controls/size/{source}.parquet",
    output:
        encoder="<run>/pretrain/{source}/replicate{replicate}/fold{fold}/encoder.safetensors",
        metrics="<run>/pretrain/{source}/replicate{replicate}/fold{fold}/metrics.csv",
    log:
        "<run>/logs/pretrain/{source}/replicate{replicate}/fold{fold}.log",
    benchmark:
        "<run>/benchmarks/pretrain/{source}/replicate{replicate}/fold{fold}.tsv"
    wildcard_constraints:
        source=one_of(CONFIG.controls.size),
    priority: 20
    params:
        settings=command_json(moco_on_sample),
        trained=as_json(without_probe(moco_on_sample)),
        store=subpath(input.images, parent=True),
        version=1,
    message:
        "Pretraining with MoCo on {wildcards.source}, replicate {wildcards.replicate}"
