"""The figures that the paper lacks, as PDF, SVG and PNG."""


localrules:
    similarity_measures,
    networks,
    augmentations,
    training_curves,
    figure_coverage,


rule similarity_measures:
    input:
        "<run>/similarity/similarity.parquet",
    output:
        pdf="<run>/figures/similarity_measures.pdf",
        svg=report(
            "<run>/figures/similarity_measures.svg",
            caption="../report/similarity_measures.rst",
            category="Figures",
            labels={"figure": "similarity measures", "shows": "similarities with nulls and ceilings"},
        ),
        png="<run>/figures/similarity_measures.png",
    log:
        "<run>/logs/figures/similarity_measures.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        titles=titles(),
        note=data_note(),
        code=RESULTS_CODE,
    message:
        "Similarity of the datasets by measures that can tell"
    script:
        "../scripts/similarity_measures.py"


rule networks:
    input:
        "<run>/similarity/networks.parquet",
    output:
        pdf="<run>/figures/networks.pdf",
        svg=report(
            "<run>/figures/networks.svg",
            caption="../report/networks.rst",
            category="Figures",
            labels={"figure": "networks", "shows": "how far each pretraining moved each layer"},
        ),
        png="<run>/figures/networks.png",
    log:
        "<run>/logs/figures/networks.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        titles=titles(),
        note=data_note(),
        sources=ALL_SOURCES,
        code=RESULTS_CODE,
    message:
        "How far each pretraining moved each layer"
    script:
        "../scripts/networks.py"


rule augmentations:
    input:
        images=[store(name, "images.npy") for name in augmented_examples()],
    output:
        pdf="<run>/figures/augmentations.pdf",
        svg=report(
            "<run>/figures/augmentations.svg",
            caption="../report/augmentations.rst",
            category="Figures",
            labels={"figure": "augmentations", "shows": "eight images and views of them"},
        ),
        png="<run>/figures/augmentations.png",
    log:
        "<run>/logs/figures/augmentations.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        titles=titles(),
        note=data_note(),
        dataset="".join(augmented_examples()),
        card_side=next(CONFIG.datasets[target].store.size for target in CONFIG.targets),
        input_size=CONFIG.model.input_size,
        augmentations=shown_augmentations(),
        seed=CONFIG.seed,
        code=code_of("scripts", "moco_transfer/plotting", "moco_transfer/augment"),
    message:
        "What the augmentations do to images"
    script:
        "../scripts/augmentations.py"


rule training_curves:
    input:
        initial=list(trainings()["initial"]),
        moco=list(trainings()["moco"]),
        linear=list(trainings()["linear"]),
        end_to_end=list(trainings()["end_to_end"]),
    output:
        pdf="<run>/figures/training_curves.pdf",
        svg=report(
            "<run>/figures/training_curves.svg",
            caption="../report/training_curves.rst",
            category="Figures",
            labels={"figure": "training curves", "shows": "loss and more by epoch, every training"},
        ),
        png="<run>/figures/training_curves.png",
    log:
        "<run>/logs/figures/training_curves.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        trainings={kind: list(found.values()) for kind, found in trainings().items()},
        note=data_note(),
        sources=ALL_SOURCES,
        code=RESULTS_CODE,
    message:
        "Training curves of every run"
    script:
        "../scripts/training_curves.py"


rule figure_coverage:
    input:
        coverage="<run>/evaluate/coverage.parquet",
    output:
        pdf="<run>/figures/coverage.pdf",
        svg=report(
            "<run>/figures/coverage.svg",
            caption="../report/coverage.rst",
            category="Figures",
            labels={"figure": "coverage", "shows": "how often intervals hold the truth"},
        ),
        png="<run>/figures/coverage.png",
    log:
        "<run>/logs/figures/coverage.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        percentiles=CONFIG.evaluation.percentiles,
        code=RESULTS_CODE,
    message:
        "How often intervals hold the truth"
    script:
        "../scripts/coverage.py"
