"""From a raw release to one array of images per dataset, its splits, and the labelled subsets."""


rule phantom:
    output:
        directory("<data>/{dataset}/release"),
    log:
        "<run>/logs/phantom/{dataset}.log",
    benchmark:
        "<run>/benchmarks/phantom/{dataset}.tsv"
    wildcard_constraints:
        dataset=one_of(PHANTOMS),
    conda:
        ENVIRONMENT
    threads: 2
    params:
        settings=as_json(
            lambda wildcards: stages.WritePhantom(
                adapter=dataset_of(wildcards).adapter,
                phantom=dataset_of(wildcards).phantom,
                seed=CONFIG.seed,
            )
        ),
        version=1,
    message:
        "Generating the {wildcards.dataset} phantoms"
    shell:
        "exec python -m moco_transfer phantom --settings {params.settings:q} --release {output:q}"
        " --workers {threads} > {log:q} 2>&1"


rule index:
    input:
        generated_release,
    output:
        index="<data>/{dataset}/index.parquet",
        reading="<data>/{dataset}/reading.json",
    log:
        "<run>/logs/index/{dataset}.log",
    conda:
        ENVIRONMENT
    resources:
        root=release_root,
        max_quarantined=lambda wildcards: str(dataset_of(wildcards).store.max_quarantined),
    params:
        settings=as_json(
            lambda wildcards: stages.Index(
                adapter=dataset_of(wildcards).adapter,
                labeler=dataset_of(wildcards).labeler,
                views=dataset_of(wildcards).views,
                table=dataset_of(wildcards).table,
                folders=dataset_of(wildcards).folders,
            )
        ),
        release=release_digest,
        version=1,
    message:
        "Indexing the {wildcards.dataset} release"
    shell:
        "exec python -m moco_transfer index --settings {params.settings:q} --root {resources.root:q}"
        " --index {output.index:q} --reading {output.reading:q} --max-quarantined {resources.max_quarantined}"
        " > {log:q} 2>&1"


# It takes seconds and starts before packing. Neither packing nor splitting waits for its output: another percentage would
# repeat them. (With ancient() as well: Snakemake then forgets missing files that come after them.)
localrules:
    check_data,


rule check_data:
    input:
        checked_indexes,
    output:
        "<run>/checks/{dataset}.txt",
    log:
        "<run>/logs/check_data/{dataset}.log",
    priority: 100
    conda:
        ENVIRONMENT
    params:
        settings=as_json(data_checks),
        version=1,
    message:
        "Checking that this run can use the {wildcards.dataset} images"
    shell:
        "exec python -m moco_transfer check-data --settings {params.settings:q} --index {input:q} --checked {output:q}"
        " > {log:q} 2>&1"


rule pack:
    input:
        index="<data>/{dataset}/index.parquet",
    output:
        images=temp("<data>/{dataset}/shards/{shard}-of-{shards}/images.npy"),
        files=temp("<data>/{dataset}/shards/{shard}-of-{shards}/files.parquet"),
    log:
        "<run>/logs/pack/{dataset}-{shard}-of-{shards}.log",
    benchmark:
        "<run>/benchmarks/pack/{dataset}-{shard}-of-{shards}.tsv"
    wildcard_constraints:
        shard=r"\d{4}\d*",
        shards=r"\d{4}\d*",
    conda:
        ENVIRONMENT
    threads: max(2, CONFIG.resources.threads)
    resources:
        runtime=minutes(1440),
        root=release_root,
        max_quarantined=lambda wildcards: str(dataset_of(wildcards).store.max_quarantined),
    params:
        settings=as_json(
            lambda wildcards: stages.Pack(
                store=stored_pixels(wildcards),
                shard=int(wildcards.shard),
                shards=int(wildcards.shards),
            )
        ),
        packed=subpath(output.images, parent=True),
        version=2,
    message:
        "Packing the {wildcards.dataset} images, shard {wildcards.shard} of {wildcards.shards}"
    shell:
        "exec python -m moco_transfer pack --settings {params.settings:q} --index {input.index:q}"
        " --root {resources.root:q} --packed {params.packed:q} --max-quarantined {resources.max_quarantined}"
        " --workers {threads} > {log:q} 2>&1"


rule join_shards:
    input:
        index="<data>/{dataset}/index.parquet",
        images=shard_files("images.npy"),
        files=shard_files("files.parquet"),
    output:
        images="<data>/{dataset}/store/images.npy",
        index="<data>/{dataset}/store/index.parquet",
        sizes="<data>/{dataset}/store/sizes.parquet",
        quarantine="<data>/{dataset}/store/quarantine.csv",
        manifest="<data>/{dataset}/store/manifest.json",
    log:
        "<run>/logs/join_shards/{dataset}.log",
    benchmark:
        "<run>/benchmarks/join_shards/{dataset}.tsv"
    conda:
        ENVIRONMENT
    resources:
        runtime=minutes(240),
        max_quarantined=lambda wildcards: str(dataset_of(wildcards).store.max_quarantined),
    params:
        settings=as_json(lambda wildcards: stages.JoinShards(store=stored_pixels(wildcards))),
        shards=lambda wildcards, input: [str(Path(images).parent) for images in input.images],
        store=subpath(output.images, parent=True),
        version=2,
    message:
        "Joining the {wildcards.dataset} images into one array"
    shell:
        "exec python -m moco_transfer join-shards --settings {params.settings:q} --index {input.index:q}"
        " --shards {params.shards:q} --store {params.store:q} --max-quarantined {resources.max_quarantined}"
        " > {log:q} 2>&1"


rule split:
    input:
        "<data>/{dataset}/store/index.parquet",
    output:
        "<run>/splits/{dataset}/fold{fold}.parquet",
    log:
        "<run>/logs/split/{dataset}/fold{fold}.log",
    conda:
        ENVIRONMENT
    resources:
        scored=scored_labels,
        task=target_task,
    params:
        settings=as_json(
            lambda wildcards: stages.AssignSplits(
                split=dataset_of(wildcards).split,
                fold=int(wildcards.fold),
                labels=used_labels(wildcards),
                seed=CONFIG.seed,
            )
        ),
        version=1,
    message:
        "Splitting the {wildcards.dataset} images into training, validation and test"
    shell:
        "exec python -m moco_transfer split --settings {params.settings:q} --index {input:q}"
        " --splits {output:q} --dataset {wildcards.dataset:q} --scored {resources.scored}"
        " --task {resources.task} > {log:q} 2>&1"


# A subset takes a second, which is too short for a cluster job. A group of subsets would wait for the slowest dataset.
localrules:
    subset,


rule subset:
    input:
        index=subset_index,
        splits="<run>/splits/{target}/fold{fold}.parquet",
    output:
        "<run>/subsets/{target}/{percent}pct/fold{fold}/subset{subset}.parquet",
    log:
        "<run>/logs/subset/{target}/{percent}pct/fold{fold}/subset{subset}.log",
    conda:
        ENVIRONMENT
    params:
        settings=as_json(
            lambda wildcards: stages.DrawSubset(
                uncertain=subset_labels(wildcards),
                percent=wildcards.percent,
                subset=int(wildcards.subset),
                sampling=CONFIG.subset_sampling,
                seed=CONFIG.seed,
            )
        ),
        version=1,
    message:
        "Drawing {wildcards.percent}% of the {wildcards.target} training labels, subset {wildcards.subset}"
    shell:
        "exec python -m moco_transfer subset --settings {params.settings:q} --index {input.index:q}"
        " --splits {input.splits:q} --subset {output:q} > {log:q} 2>&1"


rule extra_subsets:
    input:
        index="<data>/{target}/store/index.parquet",
        splits="<run>/splits/{target}/fold{fold}.parquet",
    output:
        "<run>/controls/subsets/{target}/fold{fold}.parquet",
    log:
        "<run>/logs/controls/subsets/{target}/fold{fold}.log",
    conda:
        ENVIRONMENT
    params:
        settings=as_json(lambda wildcards: subsets_in_one_file(wildcards, EXTRA_SUBSETS)),
        version=1,
    message:
        "Drawing more subsets of the {wildcards.target} training labels"
    shell:
        "exec python -m moco_transfer extra-subsets --settings {params.settings:q} --index {input.index:q}"
        " --splits {input.splits:q} --subsets {output:q} > {log:q} 2>&1"


# The run's own subsets in one file, to compare recipes of linear finetuning on them.
use rule extra_subsets as own_subsets with:
    output:
        "<run>/recipes/subsets/{target}/fold{fold}.parquet",
    log:
        "<run>/logs/recipes/subsets/{target}/fold{fold}.log",
    params:
        settings=as_json(lambda wildcards: subsets_in_one_file(wildcards, SUBSETS)),
        version=1,
    message:
        "Collecting the subsets of the {wildcards.target} training labels"


rule size_sample:
    input:
        splits=lambda wildcards: splits(CONFIG.controls.size[wildcards.source].dataset),
        as_many_as=lambda wildcards: splits(CONFIG.controls.size[wildcards.source].as_many_as),
    output:
        "<run>/controls/size/{source}.parquet",
    log:
        "<run>/logs/controls/size/{source}.log",
    wildcard_constraints:
        source=one_of(CONFIG.controls.size),
    conda:
        ENVIRONMENT
    params:
        settings=as_json(
            lambda wildcards: stages.DrawSample(
                name=wildcards.source, images=CONFIG.pretraining.images, seed=CONFIG.seed
            )
        ),
        version=1,
    message:
        "Drawing the images of {wildcards.source}"
    shell:
        "exec python -m moco_transfer size-sample --settings {params.settings:q} --splits {input.splits:q}"
        " --as-many-as {input.as_many_as:q} --sample {output:q} > {log:q} 2>&1"
