"""From a raw release to one array of images a dataset, its splits, and the labelled subsets."""

PACKING_THREADS = max(2, CONFIG.resources.threads)


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
        "../../envs/moco-transfer.yaml"
    threads: 2
    resources:
        mem_mb=memory(2000),
        runtime=minutes(60),
    params:
        settings=settings(
            adapter=dataset_settings("adapter"),
            images=dataset_settings("phantom", "images"),
            size=dataset_settings("phantom", "size"),
            seed=CONFIG.seed,
        ),
        version=1,
    message:
        "Generating the {wildcards.dataset} phantoms"
    shell:
        "exec python -m moco_transfer phantom --settings {params.settings:q} --release {output:q} --workers {threads} > {log:q} 2>&1"


rule index:
    input:
        raw_tables,
    output:
        "<data>/{dataset}/index.parquet",
    log:
        "<run>/logs/index/{dataset}.log",
    conda:
        "../../envs/moco-transfer.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=minutes(60),
    params:
        settings=settings(
            adapter=dataset_settings("adapter"),
            labeler=dataset_settings("labeler"),
            views=dataset_settings("views"),
            table=dataset_settings("table"),
        ),
        root=release_root,
        max_quarantined=max_quarantined,
        version=1,
    message:
        "Indexing the {wildcards.dataset} release"
    shell:
        "exec python -m moco_transfer index --settings {params.settings:q} --root {params.root:q}"
        " --index {output:q} --max-quarantined {params.max_quarantined} > {log:q} 2>&1"


rule pack_shard:
    input:
        index="<data>/{dataset}/index.parquet",
    output:
        images=temp("<data>/{dataset}/shards/{shard}-of-{shards}/images.npy"),
        files=temp("<data>/{dataset}/shards/{shard}-of-{shards}/files.parquet"),
    log:
        "<run>/logs/pack_shard/{dataset}-{shard}-of-{shards}.log",
    benchmark:
        "<run>/benchmarks/pack_shard/{dataset}-{shard}-of-{shards}.tsv"
    wildcard_constraints:
        shard=r"\d{4}\d*",
        shards=r"\d{4}\d*",
    conda:
        "../../envs/moco-transfer.yaml"
    threads: PACKING_THREADS
    resources:
        mem_mb=memory(4000),
        runtime=minutes(1440),
    params:
        settings=settings(
            store=stored_pixels,
            shard=lambda wildcards: int(wildcards.shard),
            shards=lambda wildcards: int(wildcards.shards),
        ),
        root=release_root,
        packed=subpath(output.images, parent=True),
        max_quarantined=max_quarantined,
        version=1,
    message:
        "Packing the {wildcards.dataset} images, shard {wildcards.shard} of {wildcards.shards}"
    shell:
        "exec python -m moco_transfer pack-shard --settings {params.settings:q} --index {input.index:q}"
        " --root {params.root:q} --packed {params.packed:q} --max-quarantined {params.max_quarantined}"
        " --workers {threads} > {log:q} 2>&1"


rule pack:
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
        "<run>/logs/pack/{dataset}.log",
    benchmark:
        "<run>/benchmarks/pack/{dataset}.tsv"
    conda:
        "../../envs/moco-transfer.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=minutes(240),
    params:
        settings=settings(store=stored_pixels),
        max_quarantined=max_quarantined,
        shards=lambda wildcards, input: [str(Path(images).parent) for images in input.images],
        store=subpath(output.images, parent=True),
        version=2,
    message:
        "Joining the {wildcards.dataset} images into one array"
    shell:
        "exec python -m moco_transfer pack --settings {params.settings:q} --index {input.index:q}"
        " --shards {params.shards:q} --store {params.store:q} --max-quarantined {params.max_quarantined}"
        " > {log:q} 2>&1"


rule split:
    input:
        "<data>/{dataset}/store/index.parquet",
    output:
        "<run>/splits/{dataset}.parquet",
    log:
        "<run>/logs/split/{dataset}.log",
    conda:
        "../../envs/moco-transfer.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=minutes(30),
    params:
        settings=settings(
            split=dataset_settings("split"),
            labels=dataset_settings("labels"),
            seed=CONFIG.seed,
        ),
        version=1,
    message:
        "Splitting the {wildcards.dataset} images into training, validation and test"
    shell:
        "exec python -m moco_transfer split --settings {params.settings:q} --index {input:q} --splits {output:q}"
        " > {log:q} 2>&1"


# A second each: no job of its own on a cluster, and a group would hold every target's until the last dataset is there.
localrules:
    subset,


rule subset:
    input:
        index=subset_index,
        splits="<run>/splits/{target}.parquet",
    output:
        "<run>/subsets/{target}/{percent}pct/subset{subset}.parquet",
    log:
        "<run>/logs/subset/{target}-{percent}pct-subset{subset}.log",
    conda:
        "../../envs/moco-transfer.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=minutes(30),
    params:
        settings=settings(
            uncertain=dataset_settings("labels", "uncertain"),
            percent=lambda wildcards: wildcards.percent,
            subset=lambda wildcards: int(wildcards.subset),
            how=CONFIG.subset_sampling,
            seed=CONFIG.seed,
        ),
        version=1,
    message:
        "Drawing {wildcards.percent}% of the {wildcards.target} training labels, subset {wildcards.subset}"
    shell:
        "exec python -m moco_transfer subset --settings {params.settings:q} --index {input.index:q}"
        " --splits {input.splits:q} --subset {output:q} > {log:q} 2>&1"
