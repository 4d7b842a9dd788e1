"""The similarity of datasets, computed from one network's activations, and how far each pretraining moved the network."""


rule activations:
    input:
        encoder=encoder_of(CONFIG.similarity.network),
        images=[store(name, "images.npy") for name in SIMILAR_DATASETS],
    output:
        expand("<run>/similarity/activations/{name}.safetensors", name=SIMILAR_DATASETS),
    log:
        "<run>/logs/activations.log",
    conda:
        ENVIRONMENT
    threads: CONFIG.resources.threads
    resources:
        **NETWORK_RESOURCES,
    params:
        settings=as_json(
            lambda wildcards: stages.RecordActivations(
                crop=CONFIG.model.crop,
                taps=CONFIG.encoders.get(CONFIG.similarity.network, CONFIG.model.initial_weights).taps,
                datasets=SIMILAR_DATASETS,
                images=CONFIG.similarity.images,
                seed=CONFIG.seed,
            )
        ),
        version=1,
    message:
        "Recording the activations of the datasets"
    shell:
        "exec python -m moco_transfer activations --device {resources.device:q} --settings {params.settings:q}"
        " --encoder {input.encoder:q} --images {input.images:q} --activations {output:q} > {log:q} 2>&1"


rule compare_datasets:
    input:
        compared_activations,
    output:
        "<run>/similarity/similarity.parquet",
    log:
        "<run>/logs/similarity.log",
    benchmark:
        "<run>/benchmarks/similarity.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(8000),
        runtime=minutes(120),
    params:
        settings=as_json(
            lambda wildcards: stages.CompareDatasets(
                similarity=CONFIG.similarity.model_copy(update={"datasets": SIMILAR_DATASETS}),
                seed=CONFIG.seed,
            )
        ),
        version=3,
    message:
        "Comparing the datasets"
    shell:
        "exec python -m moco_transfer compare-datasets --settings {params.settings:q} --activations {input:q}"
        " --similarity {output:q} > {log:q} 2>&1"


rule compare_networks:
    input:
        encoders=[encoder_of(source) for source in COMPARED_NETWORKS],
        images=[store(name, "images.npy") for name in CONFIG.targets],
    output:
        "<run>/similarity/networks.parquet",
    log:
        "<run>/logs/networks.log",
    benchmark:
        "<run>/benchmarks/networks.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.resources.threads
    resources:
        **NETWORK_RESOURCES,
    params:
        settings=as_json(
            lambda wildcards: stages.CompareNetworks(
                crop=CONFIG.model.crop,
                taps=CONFIG.model.initial_weights.taps,
                sources=COMPARED_NETWORKS,
                targets=list(CONFIG.targets),
                images=CONFIG.similarity.images,
                variance=CONFIG.similarity.variance,
                seed=CONFIG.seed,
            )
        ),
        version=3,
    message:
        "Measuring how far each pretraining moved the network"
    shell:
        "exec python -m moco_transfer compare-networks --device {resources.device:q} --settings {params.settings:q}"
        " --encoders {input.encoders:q} --images {input.images:q} --networks {output:q} > {log:q} 2>&1"
