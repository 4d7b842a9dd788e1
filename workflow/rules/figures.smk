"""The figures, as PDF, SVG and PNG, and the data cards.

To add a figure NAME:
1. Write scripts/NAME.py (copy scripts/networks.py): ``draw``, ``main``, and last the entry point for Snakemake.
2. Add a rule NAME below, also to ``localrules``, and its caption report/NAME.rst.
3. Add the name to ``figure_names`` in moco_transfer/experiment.py, so that the target `figures` includes it.
4. Draw made-up data in tests/unit/made_up_figures.py, so that the layout tests check the figure.

The top of scripts/figure2.py says where its error bars come from.
"""

RESULT_PARAMS = {
    "titles": titles,
    "note": data_note(training_datasets(CONFIG)),
    "code": RESULTS_CODE,
    "seen": seen_tests(CONFIG),
}
# Results about similarity rest on further datasets.
SIMILARITY_NOTE = {"note": data_note(CARDED)}
TRAININGS = trainings()


localrules:
    figure1,
    figure2,
    figure3,
    figure_epochs,
    similarity_measures,
    networks,
    augmentations,
    training_curves,
    figure_coverage,
    data_card,


rule figure1:
    input:
        images=[store(name, "images.npy") for name in shown_datasets(CONFIG)],
        splits=[splits(name) for name in used_datasets(CONFIG)],
    output:
        **figure_outputs("figure1", "datasets and stages"),
    log:
        "<run>/logs/figures/figure1.log",
    conda:
        ENVIRONMENT
    params:
        **RESULT_PARAMS,
        initial=initial_datasets(CONFIG),
        weights=weights_text(CONFIG.model.initial_weights),
        shown=shown_datasets(CONFIG),
        shareable=[CONFIG.datasets[name].shareable for name in shown_datasets(CONFIG)],
        sources={name: CONFIG.moco_sources.get(name, []) for name in PAPER_SOURCES},
        encoders={
            name: [each.encoder.split(".")[0], weights_text(each)]
            for name, each in CONFIG.encoders.items()
            if name != INITIAL
        },
        percents={name: target.percents for name, target in CONFIG.targets.items()},
        folds={name: len(folds(CONFIG, name)) for name in CONFIG.targets},
        used=used_datasets(CONFIG),
        pretrained_on=CONFIG.pretraining.images.split("+"),
    message:
        "Figure 1: the datasets of each stage"
    script:
        "../scripts/figure1.py"


rule figure2:
    input:
        estimates=estimate_files(),
        reference=list(PAPER_FILES.values()),
    output:
        **figure_outputs("figure2", "test AUROC by labelled data"),
    log:
        "<run>/logs/figures/figure2.log",
    conda:
        ENVIRONMENT
    params:
        **RESULT_PARAMS,
        sources=PAPER_SOURCES,
    message:
        "Figure 2: test AUROC by labelled data"
    script:
        "../scripts/figure2.py"


rule figure3:
    input:
        "<run>/similarity/similarity.parquet",
    output:
        **figure_outputs("figure3", "SVCCA between datasets"),
    log:
        "<run>/logs/figures/figure3.log",
    conda:
        ENVIRONMENT
    params:
        **RESULT_PARAMS | SIMILARITY_NOTE,
    message:
        "Figure 3: SVCCA between datasets, with its null"
    script:
        "../scripts/figure3.py"


# Figures 4 and 5, one per target.
rule figure_epochs:
    input:
        estimates=lambda wildcards: f"<run>/evaluate/{EPOCH_FIGURES[wildcards.figure]}/estimates.parquet",
    output:
        **figure_outputs(
            "figure_epochs",
            path="<run>/figures/{figure}",
            labels=numbered_labels("figure", EPOCH_FIGURES, "test AUROC by training epochs"),
        ),
    log:
        "<run>/logs/figures/{figure}.log",
    wildcard_constraints:
        figure=one_of(EPOCH_FIGURES),
    conda:
        ENVIRONMENT
    params:
        **RESULT_PARAMS,
        target=lambda wildcards: EPOCH_FIGURES[wildcards.figure],
        sources=PAPER_SOURCES,
    message:
        "{wildcards.figure}: test AUROC by epochs of end-to-end finetuning"
    script:
        "../scripts/figure_epochs.py"


rule similarity_measures:
    input:
        "<run>/similarity/similarity.parquet",
    output:
        **figure_outputs("similarity_measures", "similarities with nulls and ceilings"),
    log:
        "<run>/logs/figures/similarity_measures.log",
    conda:
        ENVIRONMENT
    params:
        **RESULT_PARAMS | SIMILARITY_NOTE,
    message:
        "Similarity of the datasets by measures on shared channels"
    script:
        "../scripts/similarity_measures.py"


rule networks:
    input:
        "<run>/similarity/networks.parquet",
    output:
        **figure_outputs("networks", "how far each pretraining moved each layer"),
    log:
        "<run>/logs/figures/networks.log",
    conda:
        ENVIRONMENT
    params:
        **RESULT_PARAMS,
        sources=ALL_SOURCES,
    message:
        "How far each pretraining moved each layer"
    script:
        "../scripts/networks.py"


rule augmentations:
    input:
        images=[store(name, "images.npy") for name in augmented_examples()],
    output:
        **figure_outputs("augmentations", "eight images and views of them"),
    log:
        "<run>/logs/figures/augmentations.log",
    conda:
        ENVIRONMENT
    params:
        titles=titles,
        note=data_note(augmented_examples()),
        dataset="".join(augmented_examples()),
        card_side=next(CONFIG.datasets[target].store.size for target in CONFIG.targets),
        card_colour=any(CONFIG.datasets[name].store.colour for name in used_datasets(CONFIG)),
        crop=CONFIG.model.crop,
        augmentations=shown_augmentations(),
        seed=CONFIG.seed,
        code=code_of("scripts", "moco_transfer/report", "moco_transfer/augment", "moco_transfer/intensities"),
    message:
        "What the augmentations do to images"
    script:
        "../scripts/augmentations.py"


rule training_curves:
    input:
        **{kind: list(found) for kind, found in TRAININGS.items()},
    output:
        **figure_outputs("training_curves", "loss and more by epoch, every training"),
    log:
        "<run>/logs/figures/training_curves.log",
    conda:
        ENVIRONMENT
    params:
        **RESULT_PARAMS,
        trainings={kind: list(found.values()) for kind, found in TRAININGS.items()},
        sources=ALL_SOURCES,
    message:
        "Training curves of the whole run"
    script:
        "../scripts/training_curves.py"


# It is not part of the target `figures`: the simulation behind it needs no data of the run.
rule figure_coverage:
    input:
        coverage="<run>/evaluate/coverage.parquet",
    output:
        **figure_outputs("figure_coverage", "how often intervals contain the truth", "<run>/figures/coverage"),
    log:
        "<run>/logs/figures/coverage.log",
    conda:
        ENVIRONMENT
    params:
        percentiles=CONFIG.evaluation.percentiles,
        code=RESULTS_CODE,
    message:
        "How often intervals contain the truth"
    script:
        "../scripts/figure_coverage.py"


# A card for every dataset that the results rest on: a page of Markdown and a figure.
rule data_card:
    input:
        index=store("{dataset}", "index.parquet"),
        sizes=store("{dataset}", "sizes.parquet"),
        quarantine=store("{dataset}", "quarantine.csv"),
        manifest=store("{dataset}", "manifest.json"),
        reading="<data>/{dataset}/reading.json",
        splits="<run>/splits/{dataset}/fold1.parquet",
        checked="<run>/checks/{dataset}.txt",
        # The script does not even get pixels that must not be shown.
        images=lambda wildcards: (
            store(wildcards.dataset, "images.npy") if CONFIG.datasets[wildcards.dataset].shareable else []
        ),
    output:
        **figure_outputs(
            "data_card",
            path="<run>/cards/{dataset}",
            labels={"dataset": "{dataset}", "shows": "counts, labels, sizes, views"},
            category="Data",
        ),
        md="<run>/cards/{dataset}.md",
        facts="<run>/cards/{dataset}.json",
    log:
        "<run>/logs/cards/{dataset}.log",
    conda:
        ENVIRONMENT
    params:
        dataset=lambda wildcards: wildcards.dataset,
        titles=titles,
        shareable=lambda wildcards: dataset_of(wildcards).shareable,
        split=lambda wildcards: dataset_of(wildcards).split.model_dump(),
        labels=lambda wildcards: dataset_of(wildcards).labels.model_dump(),
        learned=lambda wildcards: (
            wildcards.dataset
            in [*CONFIG.targets, *(CONFIG.encoders[name].weights.classes_of for name in CLASSIFIERS)]
        ),
        # The classes of other layouts are those of a release or of the configuration, not names of folders.
        declared=lambda wildcards: (
            dataset_of(wildcards).shareable or dataset_of(wildcards).adapter != "image_folder"
        ),
        # Without this column, each study or image counts as a patient.
        identified=lambda wildcards: (
            dataset_of(wildcards).shareable
            or dataset_of(wildcards).listing is None
            or dataset_of(wildcards).listing.roles["patient_id"] is not None
        ),
        note=lambda wildcards: data_note([wildcards.dataset]),
        seed=CONFIG.seed,
        code=code_of("scripts", "moco_transfer/report", "moco_transfer/data"),
    message:
        "The data card of {wildcards.dataset}"
    script:
        "../scripts/data_card.py"
