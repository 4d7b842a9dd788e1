"""The initial weights, and MoCo on every source."""

WEIGHTS = CONFIG.model.initial_weights
# A GPU for each rank, where there are GPUs.
PRETRAINING_GPUS = max(CONFIG.resources.gpus, CONFIG.pretraining.ranks) if CONFIG.resources.gpus else 0

if WEIGHTS.kind == "supervised":

    rule train_weights:
        input:
            images=store(WEIGHTS.dataset, "images.npy"),
            index=store(WEIGHTS.dataset, "index.parquet"),
            splits=f"<run>/splits/{WEIGHTS.dataset}.parquet",
        output:
            encoder=INITIAL_WEIGHTS,
            metrics=f"<run>/initial_weights/{CONFIG.model.name}.csv",
        log:
            "<run>/logs/initial_weights.log",
        benchmark:
            "<run>/benchmarks/initial_weights.tsv"
        conda:
            "../../envs/moco-transfer.yaml"
        threads: CONFIG.resources.threads
        resources:
            gpu=CONFIG.resources.gpus,
            device=CONFIG.device,
            mem_mb=memory(CONFIG.resources.mem_mb),
            runtime=minutes(720),
        params:
            settings=settings(
                model=CONFIG.model.name,
                input_size=CONFIG.model.input_size,
                epochs=WEIGHTS.epochs,
                batch=WEIGHTS.batch,
                lr=WEIGHTS.lr,
                precision=CONFIG.precision,
                compile=CONFIG.compile,
                seed=CONFIG.seed,
            ),
            version=1,
        message:
            f"Training initial weights on the classes of {WEIGHTS.dataset}"
        shell:
            "exec python -m moco_transfer train-weights --device {resources.device:q} --settings {params.settings:q} --images {input.images:q}"
            " --index {input.index:q} --splits {input.splits:q} --encoder {output.encoder:q}"
            " --metrics {output.metrics:q} > {log:q} 2>&1"

else:

    localrules:
        fetch_weights,

    rule fetch_weights:
        input:
            [WEIGHTS.path] if WEIGHTS.kind == "file" else [],
        output:
            INITIAL_WEIGHTS,
        log:
            "<run>/logs/initial_weights.log",
        conda:
            "../../envs/moco-transfer.yaml"
        threads: 1
        resources:
            mem_mb=2000,
            runtime=30,
        params:
            settings=settings(
                kind=WEIGHTS.kind,
                url=WEIGHTS.url,
                path=WEIGHTS.path,
                sha256=WEIGHTS.sha256,
                model=CONFIG.model.name,
            ),
            version=1,
        message:
            "Fetching the ImageNet weights"
        shell:
            "exec python -m moco_transfer fetch-weights --settings {params.settings:q} --encoder {output:q}"
            " > {log:q} 2>&1"


rule pretrain:
    input:
        initial=encoder_of("none"),
        images=lambda wildcards: [store(name, "images.npy") for name in CONFIG.sources[wildcards.source]],
        index=lambda wildcards: [store(name, "index.parquet") for name in CONFIG.sources[wildcards.source]],
        splits=lambda wildcards: [f"<run>/splits/{name}.parquet" for name in CONFIG.sources[wildcards.source]],
    output:
        encoder="<run>/pretrain/{source}/encoder.safetensors",
        metrics="<run>/pretrain/{source}/metrics.csv",
    log:
        "<run>/logs/pretrain/{source}.log",
    benchmark:
        "<run>/benchmarks/pretrain/{source}.tsv"
    wildcard_constraints:
        source=one_of(TRAINED_SOURCES),
    priority: 20
    conda:
        "../../envs/moco-transfer.yaml"
    threads: CONFIG.resources.threads
    resources:
        gpu=PRETRAINING_GPUS,
        device=CONFIG.device,
        mem_mb=memory(CONFIG.resources.mem_mb),
        runtime=minutes(4320),
    params:
        settings=moco_settings(
            schedule=lambda wildcards: CONFIG.pretraining.schedules[wildcards.source],
            match="epochs",
            datasets=lambda wildcards: probed_datasets(CONFIG.sources[wildcards.source]),
            stream=lambda wildcards: [wildcards.source],
        ),
        version=2,
        launcher=launcher,
    message:
        "MoCo on {wildcards.source}"
    shell:
        "exec {params.launcher} pretrain --device {resources.device:q} --settings {params.settings:q} --initial {input.initial:q}"
        " --images {input.images:q} --index {input.index:q} --splits {input.splits:q} --encoder {output.encoder:q}"
        " --metrics {output.metrics:q} > {log:q} 2>&1"


rule pretrain_limited:
    input:
        initial=encoder_of("none"),
        images=lambda wildcards: store(wildcards.target, "images.npy"),
        index=lambda wildcards: store(wildcards.target, "index.parquet"),
        splits="<run>/splits/{target}.parquet",
        subset="<run>/subsets/{target}/{percent}pct/subset{subset}.parquet",
    output:
        encoder="<run>/pretrain/{source}/{target}/{percent}pct/subset{subset}/encoder.safetensors",
        metrics="<run>/pretrain/{source}/{target}/{percent}pct/subset{subset}/metrics.csv",
    log:
        "<run>/logs/pretrain/{source}-{target}-{percent}pct-subset{subset}.log",
    benchmark:
        "<run>/benchmarks/pretrain/{source}-{target}-{percent}pct-subset{subset}.tsv"
    wildcard_constraints:
        source=one_of(SUBSET_SOURCES),
    conda:
        "../../envs/moco-transfer.yaml"
    threads: CONFIG.resources.threads
    resources:
        gpu=PRETRAINING_GPUS,
        device=CONFIG.device,
        mem_mb=memory(CONFIG.resources.mem_mb),
        runtime=minutes(1440),
    params:
        settings=moco_settings(
            schedule=lambda wildcards: CONFIG.pretraining.schedules[wildcards.target],
            match=lambda wildcards: "steps" if wildcards.source == "limited-steps" else "epochs",
            datasets=lambda wildcards: probed_datasets([wildcards.target]),
            stream=lambda wildcards: [
                wildcards.source,
                wildcards.target,
                wildcards.percent,
                int(wildcards.subset),
            ],
        ),
        version=2,
        launcher=launcher,
    message:
        "MoCo on just the {wildcards.percent}% labelled {wildcards.target} images, subset {wildcards.subset} ({wildcards.source})"
    shell:
        "exec {params.launcher} pretrain --device {resources.device:q} --settings {params.settings:q} --initial {input.initial:q}"
        " --images {input.images:q} --index {input.index:q} --splits {input.splits:q} --subset {input.subset:q}"
        " --encoder {output.encoder:q}"
        " --metrics {output.metrics:q} > {log:q} 2>&1"
