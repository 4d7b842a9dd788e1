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
        mem_mb=CONFIG.resources.mem_mb,
        runtime=60,
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
        mem_mb=8000,
        runtime=120,
    params:
        settings=settings(
            datasets=CONFIG.similarity.datasets,
            similarity=CONFIG.similarity.model_dump(),
            seed=CONFIG.seed,
        ),
        version=1,
    message:
        "Comparing the datasets"
    shell:
        "exec python -m moco_transfer similarity --settings {params.settings:q} --activations {input:q}"
        " --similarity {output:q} > {log:q} 2>&1"
