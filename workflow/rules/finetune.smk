"""Features of frozen networks, linear heads on them, and networks finetuned end to end."""


rule embed:
    input:
        encoder=lambda wildcards: encoder_of(wildcards.source),
        images="<data>/{target}/store/images.npy",
        splits="<run>/splits/{target}.parquet",
        subsets=embedded_subsets,
    output:
        features="<run>/embed/{source}/{target}/features.npy",
        rows="<run>/embed/{source}/{target}/rows.npy",
    log:
        "<run>/logs/embed/{source}-{target}.log",
    benchmark:
        "<run>/benchmarks/embed/{source}-{target}.tsv"
    wildcard_constraints:
        source=one_of([*CONFIG.sources, *CONFIG.controls.size]),
    conda:
        "../../envs/moco-transfer.yaml"
    threads: CONFIG.resources.threads
    resources:
        gpu=CONFIG.resources.gpus,
        device=CONFIG.device,
        mem_mb=memory(CONFIG.resources.mem_mb),
        runtime=minutes(240),
    params:
        settings=settings(
            model=CONFIG.model.name,
            input_size=CONFIG.model.input_size,
            views=CONFIG.finetune.linear.views,
            augment=CONFIG.finetune.augment if CONFIG.finetune.linear.views > 1 else None,
            seed=CONFIG.seed,
            stream=lambda wildcards: ["embed", wildcards.target],
        ),
        version=2,
    message:
        "Features of the {wildcards.target} images by the {wildcards.source} encoder"
    shell:
        "exec python -m moco_transfer embed --device {resources.device:q} --settings {params.settings:q} --encoder {input.encoder:q}"
        " --images {input.images:q} --splits {input.splits:q} --subsets {input.subsets:q}"
        " --features {output.features:q} --rows {output.rows:q} > {log:q} 2>&1"


use rule embed as embed_limited with:
    input:
        encoder="<run>/pretrain/{source}/{target}/{percent}pct/subset{subset}/encoder.safetensors",
        images="<data>/{target}/store/images.npy",
        splits="<run>/splits/{target}.parquet",
        subsets="<run>/subsets/{target}/{percent}pct/subset{subset}.parquet",
    output:
        features="<run>/embed/{source}/{target}/{percent}pct/subset{subset}/features.npy",
        rows="<run>/embed/{source}/{target}/{percent}pct/subset{subset}/rows.npy",
    log:
        "<run>/logs/embed/{source}-{target}-{percent}pct-subset{subset}.log",
    benchmark:
        "<run>/benchmarks/embed/{source}-{target}-{percent}pct-subset{subset}.tsv"
    wildcard_constraints:
        source=one_of(SUBSET_SOURCES),
    message:
        "Features of the {wildcards.target} images by the {wildcards.source} encoder, {wildcards.percent}%, subset {wildcards.subset}"


rule linear:
    input:
        features=lambda wildcards: f"{embedding(wildcards)}/features.npy",
        rows=lambda wildcards: f"{embedding(wildcards)}/rows.npy",
        index="<data>/{target}/store/index.parquet",
        splits="<run>/splits/{target}.parquet",
        subset="<run>/subsets/{target}/{percent}pct/subset{subset}.parquet",
    output:
        predictions="<run>/finetune/{target}/{source}/linear/{percent}pct/subset{subset}/predictions.parquet",
        metrics="<run>/finetune/{target}/{source}/linear/{percent}pct/subset{subset}/metrics.csv",
    log:
        "<run>/logs/finetune/{target}-{source}-linear-{percent}pct-subset{subset}.log",
    group:
        "linear"
    conda:
        "../../envs/moco-transfer.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=minutes(10),
    params:
        settings=settings(
            uncertain=dataset_settings("labels", "uncertain"),
            optimizer=lambda wildcards: CONFIG.finetune.optimizers[wildcards.target].model_dump(),
            epochs=CONFIG.finetune.linear.epochs,
            checkpoint=CONFIG.finetune.checkpoint,
            average=CONFIG.evaluation.average if CONFIG.finetune.checkpoint == "best" else None,
            seed=CONFIG.seed,
            stream=lambda wildcards: ["linear", wildcards.target, wildcards.percent, int(wildcards.subset)],
        ),
        version=1,
    message:
        "Linear head: {wildcards.target}, {wildcards.source}, {wildcards.percent}%, subset {wildcards.subset}"
    shell:
        "exec python -m moco_transfer linear --settings {params.settings:q} --features {input.features:q}"
        " --rows {input.rows:q} --index {input.index:q} --splits {input.splits:q} --subset {input.subset:q}"
        " --predictions {output.predictions:q} --metrics {output.metrics:q} > {log:q} 2>&1"


rule end_to_end:
    input:
        encoder=encoder,
        images="<data>/{target}/store/images.npy",
        index="<data>/{target}/store/index.parquet",
        splits="<run>/splits/{target}.parquet",
        subset="<run>/subsets/{target}/{percent}pct/subset{subset}.parquet",
    output:
        predictions="<run>/finetune/{target}/{source}/end_to_end/{percent}pct/subset{subset}/predictions.parquet",
        metrics="<run>/finetune/{target}/{source}/end_to_end/{percent}pct/subset{subset}/metrics.csv",
    log:
        "<run>/logs/finetune/{target}-{source}-end_to_end-{percent}pct-subset{subset}.log",
    benchmark:
        "<run>/benchmarks/finetune/{target}-{source}-end_to_end-{percent}pct-subset{subset}.tsv"
    priority: 10
    conda:
        "../../envs/moco-transfer.yaml"
    threads: CONFIG.resources.threads
    resources:
        gpu=CONFIG.resources.gpus,
        device=CONFIG.device,
        mem_mb=memory(CONFIG.resources.mem_mb),
        runtime=minutes(2880),
    params:
        settings=settings(
            model=CONFIG.model.name,
            input_size=CONFIG.model.input_size,
            uncertain=dataset_settings("labels", "uncertain"),
            optimizer=lambda wildcards: CONFIG.finetune.optimizers[wildcards.target].model_dump(),
            budgets=CONFIG.finetune.end_to_end.budgets,
            longer_by=lambda wildcards: (
                {
                    "epochs": CONFIG.pretraining.schedules[wildcards.target].epochs,
                    "images": CONFIG.pretraining.images,
                }
                if wildcards.source == "none-longer"
                else None
            ),
            augment=CONFIG.finetune.augment,
            precision=CONFIG.precision,
            compile=CONFIG.compile,
            checkpoint=CONFIG.finetune.checkpoint,
            average=CONFIG.evaluation.average if CONFIG.finetune.checkpoint == "best" else None,
            seed=CONFIG.seed,
            stream=lambda wildcards: [
                "end_to_end",
                wildcards.target,
                wildcards.percent,
                int(wildcards.subset),
            ],
        ),
        version=1,
    message:
        "End to end: {wildcards.target}, {wildcards.source}, {wildcards.percent}%, subset {wildcards.subset}"
    shell:
        "exec python -m moco_transfer end-to-end --device {resources.device:q} --settings {params.settings:q} --encoder {input.encoder:q}"
        " --images {input.images:q} --index {input.index:q} --splits {input.splits:q} --subset {input.subset:q}"
        " --predictions {output.predictions:q} --metrics {output.metrics:q} > {log:q} 2>&1"
