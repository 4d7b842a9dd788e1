"""What the controls need beside the paper's rules: images for a smaller source, and more labelled subsets."""


rule size_sample:
    input:
        splits=lambda wildcards: f"<run>/splits/{CONFIG.controls.size[wildcards.source].dataset}.parquet",
        as_many_as=lambda wildcards: f"<run>/splits/{CONFIG.controls.size[wildcards.source].as_many_as}.parquet",
    output:
        "<run>/controls/size/{source}.parquet",
    log:
        "<run>/logs/controls/size-{source}.log",
    wildcard_constraints:
        source=one_of(CONFIG.controls.size),
    conda:
        "../../envs/moco-transfer.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=minutes(30),
    params:
        settings=settings(
            name=lambda wildcards: wildcards.source, images=CONFIG.pretraining.images, seed=CONFIG.seed
        ),
        version=1,
    message:
        "Drawing the images of {wildcards.source}"
    shell:
        "exec python -m moco_transfer size-sample --settings {params.settings:q} --splits {input.splits:q}"
        " --as-many-as {input.as_many_as:q} --sample {output:q} > {log:q} 2>&1"


use rule pretrain_limited as pretrain_size with:
    input:
        initial=encoder_of("none"),
        images=lambda wildcards: store(CONFIG.controls.size[wildcards.source].dataset, "images.npy"),
        index=lambda wildcards: store(CONFIG.controls.size[wildcards.source].dataset, "index.parquet"),
        splits=lambda wildcards: f"<run>/splits/{CONFIG.controls.size[wildcards.source].dataset}.parquet",
        subset="<run>/controls/size/{source}.parquet",
    output:
        encoder="<run>/pretrain/{source}/encoder.safetensors",
        metrics="<run>/pretrain/{source}/metrics.csv",
    log:
        "<run>/logs/pretrain/{source}.log",
    benchmark:
        "<run>/benchmarks/pretrain/{source}.tsv"
    wildcard_constraints:
        source=one_of(CONFIG.controls.size),
    priority: 20
    params:
        settings=moco_settings(
            schedule=lambda wildcards: CONFIG.pretraining.schedules[wildcards.source],
            match="epochs",
            datasets=lambda wildcards: probed_datasets([CONFIG.controls.size[wildcards.source].dataset]),
            stream=lambda wildcards: [wildcards.source],
        ),
        version=1,
        launcher=launcher,
    message:
        "MoCo on {wildcards.source}"


rule extra_subsets:
    input:
        index="<data>/{target}/store/index.parquet",
        splits="<run>/splits/{target}.parquet",
    output:
        "<run>/controls/subsets/{target}.parquet",
    log:
        "<run>/logs/controls/subsets-{target}.log",
    conda:
        "../../envs/moco-transfer.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=minutes(60),
    params:
        settings=settings(
            uncertain=dataset_settings("labels", "uncertain"),
            percents=lambda wildcards: CONFIG.targets[wildcards.target].percents,
            subsets=list(EXTRA_SUBSETS),
            how=CONFIG.subset_sampling,
            seed=CONFIG.seed,
        ),
        version=1,
    message:
        "Drawing more subsets of the {wildcards.target} training labels"
    shell:
        "exec python -m moco_transfer extra-subsets --settings {params.settings:q} --index {input.index:q}"
        " --splits {input.splits:q} --subsets {output:q} > {log:q} 2>&1"


rule linear_subsets:
    input:
        features="<run>/embed/{source}/{target}/features.npy",
        rows="<run>/embed/{source}/{target}/rows.npy",
        index="<data>/{target}/store/index.parquet",
        splits="<run>/splits/{target}.parquet",
        subsets="<run>/controls/subsets/{target}.parquet",
    output:
        "<run>/controls/linear/{target}/{source}.parquet",
    log:
        "<run>/logs/controls/linear-{target}-{source}.log",
    wildcard_constraints:
        source=one_of([*CONFIG.sources, *CONFIG.controls.size]),
    conda:
        "../../envs/moco-transfer.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=minutes(240),
    params:
        settings=settings(
            target=lambda wildcards: wildcards.target,
            source=lambda wildcards: wildcards.source,
            uncertain=dataset_settings("labels", "uncertain"),
            optimizer=lambda wildcards: CONFIG.finetune.optimizers[wildcards.target],
            epochs=CONFIG.finetune.linear.epochs,
            checkpoint=CONFIG.finetune.checkpoint,
            average=CONFIG.evaluation.average,
            seed=CONFIG.seed,
        ),
        version=1,
    message:
        "Linear heads on more subsets: {wildcards.target}, {wildcards.source}"
    shell:
        "exec python -m moco_transfer linear-subsets --settings {params.settings:q} --features {input.features:q}"
        " --rows {input.rows:q} --index {input.index:q} --splits {input.splits:q} --subsets {input.subsets:q}"
        " --aurocs {output:q} > {log:q} 2>&1"
