"""The paper's figures, as PDF, SVG and PNG."""


localrules:
    figure1,
    figure2,
    figure3,
    figure_epochs,


rule figure1:
    input:
        images=[store(name, "images.npy") for name in shown_datasets(CONFIG)],
        splits=[splits(name) for name in used_datasets(CONFIG)],
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
        ENVIRONMENT
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
        ENVIRONMENT
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
        ENVIRONMENT
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
        ENVIRONMENT
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
