"""A data card for every dataset that the results rest on: a page of Markdown and a figure."""


localrules:
    data_card,


rule data_card:
    input:
        index=store("{dataset}", "index.parquet"),
        sizes=store("{dataset}", "sizes.parquet"),
        quarantine=store("{dataset}", "quarantine.csv"),
        manifest=store("{dataset}", "manifest.json"),
        splits="<run>/splits/{dataset}/fold1.parquet",
        # pixels that must not be shown are not even given to the script
        images=lambda wildcards: (
            store(wildcards.dataset, "images.npy") if CONFIG.datasets[wildcards.dataset].shareable else []
        ),
    output:
        md="<run>/cards/{dataset}.md",
        pdf="<run>/cards/{dataset}.pdf",
        svg=report(
            "<run>/cards/{dataset}.svg",
            caption="../report/data_card.rst",
            category="Data",
            labels={"dataset": "{dataset}", "shows": "counts, labels, sizes, views"},
        ),
        png="<run>/cards/{dataset}.png",
    log:
        "<run>/logs/cards/{dataset}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(4000),
        runtime=minutes(30),
    params:
        title=lambda wildcards: CONFIG.datasets[wildcards.dataset].title,
        shareable=dataset_settings("shareable"),
        split=dataset_settings("split"),
        labels=dataset_settings("labels"),
        note=lambda wildcards: (
            "Phantom data: generated images, not radiographs" if wildcards.dataset in PHANTOMS else ""
        ),
        seed=CONFIG.seed,
        code=code_of("scripts", "moco_transfer/plotting", "moco_transfer/report", "moco_transfer/data"),
    message:
        "The data card of {wildcards.dataset}"
    script:
        "../scripts/data_card.py"
