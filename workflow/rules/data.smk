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
        mem_mb=2000,
        runtime=60,
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
        mem_mb=4000,
        runtime=60,
    params:
        settings=settings(adapter=dataset_settings("adapter")),
        root=release_root,
        version=1,
    message:
        "Indexing the {wildcards.dataset} release"
    shell:
        "exec python -m moco_transfer index --settings {params.settings:q} --root {params.root:q}"
        " --index {output:q} > {log:q} 2>&1"


rule pack:
    input:
        index="<data>/{dataset}/index.parquet",
    output:
        images="<data>/{dataset}/store/images.npy",
        index="<data>/{dataset}/store/index.parquet",
        quarantine="<data>/{dataset}/store/quarantine.csv",
        manifest="<data>/{dataset}/store/manifest.json",
    log:
        "<run>/logs/pack/{dataset}.log",
    benchmark:
        "<run>/benchmarks/pack/{dataset}.tsv"
    conda:
        "../../envs/moco-transfer.yaml"
    threads: PACKING_THREADS
    resources:
        mem_mb=4000,
        runtime=1440,
    params:
        settings=settings(
            store=dataset_settings("store"),
        ),
        root=release_root,
        store=subpath(output.images, parent=True),
        version=1,
    message:
        "Packing the {wildcards.dataset} images into one array"
    shell:
        "exec python -m moco_transfer pack --settings {params.settings:q} --index {input.index:q}"
        " --root {params.root:q} --store {params.store:q} --workers {threads} > {log:q} 2>&1"


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
        mem_mb=4000,
        runtime=30,
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


rule subset:
    input:
        index=subset_index,
        splits="<run>/splits/{target}.parquet",
    output:
        "<run>/subsets/{target}/{percent}pct/seed{seed}.parquet",
    log:
        "<run>/logs/subset/{target}-{percent}pct-seed{seed}.log",
    group:
        "subsets"
    conda:
        "../../envs/moco-transfer.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        settings=settings(
            uncertain=dataset_settings("labels", "uncertain"),
            percent=lambda wildcards: wildcards.percent,
            subset=lambda wildcards: int(wildcards.seed),
            how=CONFIG.subsets,
            seed=CONFIG.seed,
        ),
        version=1,
    message:
        "Drawing {wildcards.percent}% of the {wildcards.target} training labels, subset {wildcards.seed}"
    shell:
        "exec python -m moco_transfer subset --settings {params.settings:q} --index {input.index:q}"
        " --splits {input.splits:q} --subset {output:q} > {log:q} 2>&1"
