"""Activations of one network for images of each dataset, and how alike the datasets are by them."""


rule activations:
    input:
        encoder=encoder_of(CONFIG.similarity.network),
        images=[store(name, "images.npy") for name in CONFIG.similarity.datasets],
    output:
        expand("<run>/similarity/activations/{name}.safetensors", name=CONFIG.similarity.datasets),
    log:
        "<run>/logs/activations.log",
    conda:
        "../../envs/moco-transfer.yaml"
    threads: CONFIG.resources.threads
    resources:
        gpu=CONFIG.resources.gpus,
        device=CONFIG.device,
        mem_mb=memory(CONFIG.resources.mem_mb),
        runtime=minutes(60),
    params:
        settings=settings(
            datasets=CONFIG.similarity.datasets,
            images=CONFIG.similarity.images,
            model=CONFIG.model.name,
            input_size=CONFIG.model.input_size,
            # As pairs: settings are sorted by key, and figures show the layers in the order given.
            taps=CONFIG.model.taps and list(CONFIG.model.taps.items()),
            seed=CONFIG.seed,
        ),
        version=1,
    message:
        "Activations of the datasets that are compared"
    shell:
        "exec python -m moco_transfer activations --device {resources.device:q} --settings {params.settings:q} --encoder {input.encoder:q}"
        " --images {input.images:q} --activations {output:q} > {log:q} 2>&1"


rule compare_datasets:
    input:
        expand("<run>/similarity/activations/{name}.safetensors", name=CONFIG.similarity.datasets),
    output:
        "<run>/similarity/similarity.parquet",
    log:
        "<run>/logs/similarity.log",
    benchmark:
        "<run>/benchmarks/similarity.tsv"
    conda:
        "../../envs/moco-transfer.yaml"
    threads: 1
    resources:
        mem_mb=memory(8000),
        runtime=minutes(120),
    params:
        settings=settings(
            datasets=CONFIG.similarity.datasets,
            similarity=CONFIG.similarity.model_dump(),
            seed=CONFIG.seed,
        ),
        version=3,
    message:
        "Comparing the datasets"
    shell:
        "exec python -m moco_transfer similarity --settings {params.settings:q} --activations {input:q}"
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
        "../../envs/moco-transfer.yaml"
    threads: CONFIG.resources.threads
    resources:
        gpu=CONFIG.resources.gpus,
        device=CONFIG.device,
        mem_mb=memory(CONFIG.resources.mem_mb),
        runtime=minutes(60),
    params:
        settings=settings(
            sources=COMPARED_NETWORKS,
            targets=list(CONFIG.targets),
            images=CONFIG.similarity.images,
            variance=CONFIG.similarity.variance,
            model=CONFIG.model.name,
            input_size=CONFIG.model.input_size,
            taps=CONFIG.model.taps and list(CONFIG.model.taps.items()),
            seed=CONFIG.seed,
        ),
        version=3,
    message:
        "How far each pretraining moved the network"
    shell:
        "exec python -m moco_transfer compare-networks --device {resources.device:q} --settings {params.settings:q}"
        " --encoders {input.encoders:q} --images {input.images:q} --networks {output:q} > {log:q} 2>&1"
