"""Features of frozen networks, linear heads on them, and end-to-end finetuning."""


rule embed:
    input:
        encoder=encoder,
        images="<data>/{target}/store/images.npy",
        splits="<run>/splits/{target}/fold{fold}.parquet",
        subsets=embedded_subsets,
    output:
        features="<run>/embed/{source}/replicate{replicate}/{target}/fold{fold}/features.npy",
        rows="<run>/embed/{source}/replicate{replicate}/{target}/fold{fold}/rows.npy",
    log:
        "<run>/logs/embed/{source}/replicate{replicate}/{target}/fold{fold}.log",
    benchmark:
        "<run>/benchmarks/embed/{source}/replicate{replicate}/{target}/fold{fold}.tsv"
    wildcard_constraints:
        source=one_of(SHARED_SOURCES),
    conda:
        ENVIRONMENT
    threads: CONFIG.resources.threads
    resources:
        **NETWORK_RESOURCES,
        runtime=minutes(240),
    params:
        settings=as_json(
            lambda wildcards: stages.Embed(
                crop=CONFIG.model.crop,
                views=CONFIG.finetune.linear.views,
                augment=CONFIG.finetune.augment if CONFIG.finetune.linear.views > 1 else "none",
                seed=CONFIG.seed,
                stream=numbered(["embed", wildcards.target], wildcards, ["fold"]),
            )
        ),
        version=2,
    message:
        "Computing features of the {wildcards.target} images from the {wildcards.source} encoder"
    shell:
        "exec python -m moco_transfer embed --device {resources.device:q} --settings {params.settings:q}"
        " --encoder {input.encoder:q} --images {input.images:q} --splits {input.splits:q} --subsets {input.subsets:q}"
        " --features {output.features:q} --rows {output.rows:q} > {log:q} 2>&1"


use rule embed as embed_subset with:
    input:
        encoder=encoder,
        images="<data>/{target}/store/images.npy",
        splits="<run>/splits/{target}/fold{fold}.parquet",
        subsets="<run>/subsets/{target}/{percent}pct/fold{fold}/subset{subset}.parquet",
    output:
        features="<run>/embed/{source}/replicate{replicate}/{target}/{percent}pct/fold{fold}/subset{subset}/features.npy",
        rows="<run>/embed/{source}/replicate{replicate}/{target}/{percent}pct/fold{fold}/subset{subset}/rows.npy",
    log:
        "<run>/logs/embed/{source}/replicate{replicate}/{target}/{percent}pct/fold{fold}/subset{subset}.log",
    benchmark:
        "<run>/benchmarks/embed/{source}/replicate{replicate}/{target}/{percent}pct/fold{fold}/subset{subset}.tsv"
    wildcard_constraints:
        source=one_of(SUBSET_SOURCES),
    message:
        "Computing features of the {wildcards.target} images from the {wildcards.source} encoder, {wildcards.percent}%, subset {wildcards.subset}"


rule linear:
    input:
        features=embedding("features.npy"),
        rows=embedding("rows.npy"),
        index="<data>/{target}/store/index.parquet",
        splits="<run>/splits/{target}/fold{fold}.parquet",
        subset="<run>/subsets/{target}/{percent}pct/fold{fold}/subset{subset}.parquet",
    output:
        predictions="<run>/finetune/{target}/{source}/replicate{replicate}/linear/{percent}pct/fold{fold}/subset{subset}/predictions.parquet",
        metrics="<run>/finetune/{target}/{source}/replicate{replicate}/linear/{percent}pct/fold{fold}/subset{subset}/metrics.csv",
        head="<run>/finetune/{target}/{source}/replicate{replicate}/linear/{percent}pct/fold{fold}/subset{subset}/head.safetensors",
    log:
        "<run>/logs/finetune/{target}/{source}/replicate{replicate}/linear/{percent}pct/fold{fold}/subset{subset}.log",
    group:
        "linear"
    conda:
        ENVIRONMENT
    params:
        settings=as_json(lambda wildcards: stages.Linear(**linear_finetuning(wildcards))),
        version=1,
    message:
        "Training a linear head: {wildcards.target}, {wildcards.source}, {wildcards.percent}%, subset {wildcards.subset}"
    shell:
        "exec python -m moco_transfer linear --settings {params.settings:q} --features {input.features:q}"
        " --rows {input.rows:q} --index {input.index:q} --splits {input.splits:q} --subset {input.subset:q}"
        " --predictions {output.predictions:q} --metrics {output.metrics:q} --head {output.head:q} > {log:q} 2>&1"


rule linear_subsets:
    input:
        features="<run>/embed/{source}/replicate{replicate}/{target}/fold{fold}/features.npy",
        rows="<run>/embed/{source}/replicate{replicate}/{target}/fold{fold}/rows.npy",
        index="<data>/{target}/store/index.parquet",
        splits="<run>/splits/{target}/fold{fold}.parquet",
        subsets="<run>/controls/subsets/{target}/fold{fold}.parquet",
    output:
        "<run>/controls/linear/{target}/{source}/replicate{replicate}/fold{fold}.parquet",
    log:
        "<run>/logs/controls/linear/{target}/{source}/replicate{replicate}/fold{fold}.log",
    wildcard_constraints:
        source=one_of(SHARED_SOURCES),
    conda:
        ENVIRONMENT
    resources:
        runtime=minutes(240),
    params:
        settings=as_json(lambda wildcards: linear_on_subsets(wildcards, EXTRA_SUBSETS)),
        version=1,
    message:
        "Training linear heads on more subsets: {wildcards.target}, {wildcards.source}"
    shell:
        "exec python -m moco_transfer linear-subsets --settings {params.settings:q} --features {input.features:q}"
        " --rows {input.rows:q} --index {input.index:q} --splits {input.splits:q} --subsets {input.subsets:q}"
        " --aurocs {output:q} > {log:q} 2>&1"


# The run's own subsets again, with the other recipes as well.
use rule linear_subsets as linear_recipes with:
    input:
        features="<run>/embed/{source}/replicate{replicate}/{target}/fold{fold}/features.npy",
        rows="<run>/embed/{source}/replicate{replicate}/{target}/fold{fold}/rows.npy",
        index="<data>/{target}/store/index.parquet",
        splits="<run>/splits/{target}/fold{fold}.parquet",
        subsets="<run>/recipes/subsets/{target}/fold{fold}.parquet",
    output:
        "<run>/recipes/linear/{target}/{source}/replicate{replicate}/fold{fold}.parquet",
    log:
        "<run>/logs/recipes/linear/{target}/{source}/replicate{replicate}/fold{fold}.log",
    params:
        settings=as_json(lambda wildcards: linear_on_subsets(wildcards, SUBSETS, CONFIG.compared_recipes)),
        version=1,
    message:
        "Training linear heads by several recipes: {wildcards.target}, {wildcards.source}"


rule end_to_end:
    input:
        encoder=encoder,
        images="<data>/{target}/store/images.npy",
        index="<data>/{target}/store/index.parquet",
        splits="<run>/splits/{target}/fold{fold}.parquet",
        subset="<run>/subsets/{target}/{percent}pct/fold{fold}/subset{subset}.parquet",
    output:
        predictions="<run>/finetune/{target}/{source}/replicate{replicate}/end_to_end/{percent}pct/fold{fold}/subset{subset}/predictions.parquet",
        metrics="<run>/finetune/{target}/{source}/replicate{replicate}/end_to_end/{percent}pct/fold{fold}/subset{subset}/metrics.csv",
    log:
        "<run>/logs/finetune/{target}/{source}/replicate{replicate}/end_to_end/{percent}pct/fold{fold}/subset{subset}.log",
    benchmark:
        "<run>/benchmarks/finetune/{target}/{source}/replicate{replicate}/end_to_end/{percent}pct/fold{fold}/subset{subset}.tsv"
    priority: 10
    conda:
        ENVIRONMENT
    threads: CONFIG.resources.threads
    resources:
        **NETWORK_RESOURCES,
        runtime=minutes(2880),
    params:
        settings=as_json(
            lambda wildcards: stages.EndToEnd(
                crop=CONFIG.model.crop,
                budgets=CONFIG.finetune.end_to_end.budgets,
                # The budget control shows as many images as MoCo on the whole dataset.
                longer_by=(
                    stages.LongerBy(
                        epochs=CONFIG.schedule(wildcards.target).epochs,
                        images=CONFIG.pretraining.images,
                    )
                    if wildcards.source == "none-longer"
                    else None
                ),
                augment=CONFIG.finetune.augment,
                computing=COMPUTING,
                **finetuning(wildcards, "end_to_end"),
            )
        ),
        store=subpath(input.images, parent=True),
        networks=lambda wildcards, output: (
            ["--networks", output.networks] if "networks" in output.keys() else []
        ),
        version=1,
    message:
        "Finetuning end to end: {wildcards.target}, {wildcards.source}, {wildcards.percent}%, subset {wildcards.subset}"
    shell:
        "exec python -m moco_transfer end-to-end --device {resources.device:q} --settings {params.settings:q}"
        " --encoder {input.encoder:q} --store {params.store:q} --splits {input.splits:q} --subset {input.subset:q}"
        " --predictions {output.predictions:q} --metrics {output.metrics:q} {params.networks:q} > {log:q} 2>&1"


# The networks that may become the model are kept.
ruleorder: end_to_end_kept > end_to_end


use rule end_to_end as end_to_end_kept with:
    output:
        predictions="<run>/finetune/{target}/{source}/replicate{replicate}/end_to_end/{percent}pct/fold{fold}/subset{subset}/predictions.parquet",
        metrics="<run>/finetune/{target}/{source}/replicate{replicate}/end_to_end/{percent}pct/fold{fold}/subset{subset}/metrics.csv",
        networks="<run>/finetune/{target}/{source}/replicate{replicate}/end_to_end/{percent}pct/fold{fold}/subset{subset}/networks.safetensors",
    wildcard_constraints:
        source=one_of(name for name in ALL_SOURCES if name not in control_sources(CONFIG)),
        fold="1",
        subset=one_of(map(str, KEPT_SUBSETS)),
