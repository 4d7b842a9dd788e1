"""From a raw release to one array of images a dataset, its splits, and the labelled subsets."""

PACKING_THREADS = max(2, CONFIG.resources.threads)


rule phantom:
    output:
        directory("<data>/{dataset}/release"),
    wildcard_constraints:
        dataset=one_of(PHANTOMS),
    params:
        settings=settings(
            adapter=dataset_settings("adapter"),
            images=dataset_settings("phantom", "images"),
            size=dataset_settings("phantom", "size"),
            seed=CONFIG.seed,
            workers=2,
        ),
        version=1,
    log:
        "<run>/logs/phantom/{dataset}.log",
    benchmark:
        "<run>/benchmarks/phantom/{dataset}.tsv"
    threads: 2
    resources:
        mem_mb=2000,
        runtime=60,
    conda:
        "../../envs/moco-transfer.yaml"
    message:
        "Generating the {wildcards.dataset} phantoms"
    shell:
        "exec python -m moco_transfer phantom --settings {params.settings:q} --release {output:q} > {log:q} 2>&1"


rule index:
    input:
        raw_tables,
    output:
        "<data>/{dataset}/index.parquet",
    params:
        settings=settings(adapter=dataset_settings("adapter")),
        root=release_root,
        version=1,
    log:
        "<run>/logs/index/{dataset}.log",
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    conda:
        "../../envs/moco-transfer.yaml"
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
    params:
        settings=settings(
            store=dataset_settings("store"),
            workers=PACKING_THREADS,
        ),
        root=release_root,
        store=subpath(output.images, parent=True),
        version=1,
    log:
        "<run>/logs/pack/{dataset}.log",
    benchmark:
        "<run>/benchmarks/pack/{dataset}.tsv"
    threads: PACKING_THREADS
    resources:
        mem_mb=4000,
        runtime=1440,
    conda:
        "../../envs/moco-transfer.yaml"
    message:
        "Packing the {wildcards.dataset} images into one array"
    shell:
        "exec python -m moco_transfer pack --settings {params.settings:q} --index {input.index:q}"
        " --root {params.root:q} --store {params.store:q} > {log:q} 2>&1"


rule split:
    input:
        "<data>/{dataset}/store/index.parquet",
    output:
        "<data>/{dataset}/splits.parquet",
    params:
        settings=settings(
            split=dataset_settings("split"),
            labels=dataset_settings("labels"),
            seed=CONFIG.seed,
        ),
        version=1,
    log:
        "<run>/logs/split/{dataset}.log",
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    conda:
        "../../envs/moco-transfer.yaml"
    message:
        "Splitting the {wildcards.dataset} images into training, validation and test"
    shell:
        "exec python -m moco_transfer split --settings {params.settings:q} --index {input:q} --splits {output:q}"
        " > {log:q} 2>&1"


rule subset:
    input:
        index=lambda wildcards: store(wildcards.target, "index.parquet"),
        splits="<data>/{target}/splits.parquet",
    output:
        "<run>/subsets/{target}/{percent}pct/seed{seed}.parquet",
    params:
        settings=settings(
            uncertain=dataset_settings("labels", "uncertain"),
            percent=lambda wildcards: wildcards.percent,
            subset=lambda wildcards: int(wildcards.seed),
            how=CONFIG.subsets,
            seed=CONFIG.seed,
        ),
        version=1,
    log:
        "<run>/logs/subset/{target}-{percent}pct-seed{seed}.log",
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    group:
        "subsets"
    conda:
        "../../envs/moco-transfer.yaml"
    message:
        "Drawing {wildcards.percent}% of the {wildcards.target} training labels, subset {wildcards.seed}"
    shell:
        "exec python -m moco_transfer subset --settings {params.settings:q} --index {input.index:q}"
        " --splits {input.splits:q} --subset {output:q} > {log:q} 2>&1"
