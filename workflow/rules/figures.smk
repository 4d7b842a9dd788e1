"""Every figure, as PDF, SVG and PNG."""


localrules:
    figure1,
    figure2,
    figure3,
    similarity_measures,
    networks,
    figure_epochs,
    augmentations,
    training_curves,
    figure_coverage,


rule figure1:
    input:
        images=[store(name, "images.npy") for name in shown_datasets(CONFIG)],
        splits=[f"<run>/splits/{name}.parquet" for name in used_datasets(CONFIG)],
    output:
        pdf="<run>/figures/figure1.pdf",
        svg=report(
            "<run>/figures/figure1.svg",
            caption="../report/figure1.rst",
            category="Figures",
            labels={"figure": "1", "shows": "datasets and stages"},
        ),
        png="<run>/figures/figure1.png",
    log:
        "<run>/logs/figures/figure1.log",
    conda:
        "../../envs/moco-transfer.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        titles=titles(),
        note=data_note(),
        initial=initial_dataset(CONFIG),
        shown=shown_datasets(CONFIG),
        shareable=[CONFIG.datasets[name].shareable for name in shown_datasets(CONFIG)],
        sources=CONFIG.sources,
        limited=any(target.limited for target in CONFIG.targets.values()),
        percents={name: target.percents for name, target in CONFIG.targets.items()},
        used=used_datasets(CONFIG),
        pretrained_on=CONFIG.pretraining.images.split("+"),
        code=RESULTS_CODE,
    message:
        "Figure 1: the datasets of each stage"
    script:
        "../scripts/figure1.py"


rule figure2:
    input:
        estimates=estimate_files(),
        reference=paper_tables(CONFIG.targets),
    output:
        pdf="<run>/figures/figure2.pdf",
        svg=report(
            "<run>/figures/figure2.svg",
            caption="../report/figure2.rst",
            category="Figures",
            labels={"figure": "2", "shows": "test AUROC by labelled data"},
        ),
        png="<run>/figures/figure2.png",
    log:
        "<run>/logs/figures/figure2.log",
    conda:
        "../../envs/moco-transfer.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        titles=titles(),
        note=data_note(),
        sources=PAPER_SOURCES,
        code=RESULTS_CODE,
    message:
        "Figure 2: test AUROC by labelled data"
    script:
        "../scripts/figure2.py"


rule figure3:
    input:
        "<run>/similarity/similarity.parquet",
    output:
        pdf="<run>/figures/figure3.pdf",
        svg=report(
            "<run>/figures/figure3.svg",
            caption="../report/figure3.rst",
            category="Figures",
            labels={"figure": "3", "shows": "SVCCA between datasets"},
        ),
        png="<run>/figures/figure3.png",
    log:
        "<run>/logs/figures/figure3.log",
    conda:
        "../../envs/moco-transfer.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        titles=titles(),
        note=data_note(),
        code=RESULTS_CODE,
    message:
        "Figure 3: SVCCA between datasets, with its null"
    script:
        "../scripts/figure3.py"


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
        "../../envs/moco-transfer.yaml"
    threads: 1
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
        "../../envs/moco-transfer.yaml"
    threads: 1
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


rule figure_epochs:
    input:
        estimates=lambda wildcards: f"<run>/evaluate/{EPOCH_FIGURES[wildcards.figure]}/estimates.parquet",
    output:
        pdf="<run>/figures/{figure}.pdf",
        svg=report(
            "<run>/figures/{figure}.svg",
            caption="../report/figure_epochs.rst",
            category="Figures",
            labels=numbered_labels("figure", EPOCH_FIGURES, "test AUROC by training epochs"),
        ),
        png="<run>/figures/{figure}.png",
    log:
        "<run>/logs/figures/{figure}.log",
    wildcard_constraints:
        figure=one_of(EPOCH_FIGURES),
    conda:
        "../../envs/moco-transfer.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        target=lambda wildcards: EPOCH_FIGURES[wildcards.figure],
        titles=titles(),
        note=data_note(),
        sources=PAPER_SOURCES,
        code=RESULTS_CODE,
    message:
        "{wildcards.figure}: test AUROC by epochs of end-to-end finetuning"
    script:
        "../scripts/figure_epochs.py"


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
        "../../envs/moco-transfer.yaml"
    threads: 1
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
        "../../envs/moco-transfer.yaml"
    threads: 1
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
        "../../envs/moco-transfer.yaml"
    threads: 1
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
