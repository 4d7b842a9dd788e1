"""Every table, as CSV, Markdown, LaTeX and HTML."""

# The inputs of all tests of differences in AUROC.
EVIDENCE = {
    "estimates": estimate_files(["estimates"]),
    "subsets": estimate_files(["subsets"]),
    "covariance": estimate_files(["covariance"]),
    "extra": extra_subset_aurocs(),
}
# The claims, the controls and the ranks of sources compare no other encoders than those of MoCo and the initial weights.
TRAINED = trained_sources(CONFIG)
EVIDENCE_PARAMS = RESULT_PARAMS | {
    "trained": TRAINED,
    "seen": seen_tests(CONFIG, [name for name in ALL_SOURCES if name not in CONFIG.encoders]),
}
# What each source is in the claims.
DESIGN_PARAMS = {
    "datasets": stored_datasets(CONFIG),
    "pretrained_on": CONFIG.pretraining.images.split("+"),
    "roles": source_roles(CONFIG),
    "seen_by_moco": CONFIG.moco_sources,
    "natural": natural_datasets(CONFIG),
    # The targets on the paper's own data.
    "papers": list(PAPER_FILES),
    # The similarity of datasets rests on one encoder, whose training is a matter of chance unless its weights are given.
    "network": CONFIG.similarity.network if is_trained(CONFIG, CONFIG.similarity.network) else "",
}
# What the controls ask, and in what the trainings of a question differ.
CONTROL_PARAMS = {
    "datasets": stored_datasets(CONFIG),
    "pretrained_on": CONFIG.pretraining.images.split("+"),
    "controls": CONFIG.controls.model_dump(),
    "percents": {name: target.percents for name, target in CONFIG.targets.items()},
    "sources_of_one": {seen[0]: name for name, seen in CONFIG.moco_sources.items() if len(seen) == 1},
    "schedules": moco_schedules(),
    "queue": CONFIG.moco.queue,
    "augmented": CONFIG.finetune.augment != "none",
}


localrules:
    table1,
    encoders,
    table_aurocs,
    classes,
    budgets,
    claims,
    controls,
    subsets,
    recipes,
    reproduced,
    advice,
    decide,
    similarity_ranks,
    components,


rule table1:
    output:
        **table_outputs("table1", "hyperparameters"),
    log:
        "<run>/logs/tables/table1.log",
    conda:
        ENVIRONMENT
    params:
        **RESULT_PARAMS,
        config=CONFIG.model_dump(include={"targets", "moco", "finetune"})
        | {"sources": CONFIG.moco_sources, "schedules": moco_schedules(), "optimizers": target_optimizers()}
        | {"recipe": CONFIG.linear_recipe},
    message:
        "Table 1: hyperparameters"
    script:
        "../scripts/table1.py"


rule encoders:
    input:
        [f"<run>/encoders/{name}/replicate1/encoder.safetensors" for name in CONFIG.encoders],
    output:
        **table_outputs("encoders", "architecture and origin of each encoder"),
    log:
        "<run>/logs/tables/encoders.log",
    conda:
        ENVIRONMENT
    params:
        **RESULT_PARAMS,
        encoders=list(CONFIG.encoders),
        weights=[weights_text(each) for each in CONFIG.encoders.values()],
        trained_on=[each.trained_on for each in CONFIG.encoders.values()],
    message:
        "The encoders: architecture, input and origin"
    script:
        "../scripts/encoders.py"


rule table_aurocs:
    input:
        estimates=lambda wildcards: f"<run>/evaluate/{RESULT_TABLES[wildcards.table]}/estimates.parquet",
        reference=lambda wildcards: PAPER_FILES.get(RESULT_TABLES[wildcards.table], []),
    output:
        **table_outputs(
            "{table}",
            labels=numbered_labels("table", RESULT_TABLES, "test AUROC"),
            caption="table_aurocs",
        ),
    log:
        "<run>/logs/tables/{table}.log",
    wildcard_constraints:
        table=one_of(RESULT_TABLES),
    conda:
        ENVIRONMENT
    params:
        **RESULT_PARAMS,
        number=lambda wildcards: wildcards.table.removeprefix("table"),
        target=lambda wildcards: RESULT_TABLES[wildcards.table],
        sources=PAPER_SOURCES,
        multiclass=MULTICLASS,
        percentiles=CONFIG.evaluation.percentiles,
        unit=CONFIG.evaluation.unit,
    message:
        "{wildcards.table}: test AUROC"
    script:
        "../scripts/table_aurocs.py"


rule classes:
    input:
        estimates=estimate_files(["estimates"]),
        classes=estimate_files(["classes"]),
    output:
        **table_outputs("classes", "test AUROC of every class"),
    log:
        "<run>/logs/tables/classes.log",
    conda:
        ENVIRONMENT
    params:
        **RESULT_PARAMS,
        sources=PAPER_SOURCES,
        percentiles=CONFIG.evaluation.percentiles,
        unit=CONFIG.evaluation.unit,
        average=CONFIG.evaluation.average,
        multiclass=MULTICLASS,
    message:
        "Test AUROC of every class"
    script:
        "../scripts/classes.py"


rule budgets:
    input:
        budgets=[f"<run>/evaluate/{target}/budgets.csv" for target in CONFIG.targets],
        estimates=estimate_files(["estimates"]),
    output:
        **table_outputs("budgets", "epochs chosen with few validation labels"),
    log:
        "<run>/logs/tables/budgets.log",
    conda:
        ENVIRONMENT
    params:
        **RESULT_PARAMS,
        targets=list(CONFIG.targets),
        sources=PAPER_SOURCES,
        validation=CONFIG.evaluation.validation,
    message:
        "Budgets chosen on full and on matched validation images"
    script:
        "../scripts/budgets.py"


rule claims:
    input:
        **EVIDENCE,
        similarity=["<run>/similarity/similarity.parquet"] if SIMILAR_DATASETS else [],
        splits=[splits(name) for name in stored_datasets(CONFIG)],
        reference=[f"{HOME}/workflow/reference/{name}.csv" for name in ("table2", "table3")],
    output:
        **table_outputs("claims", "the paper's claims, tested"),
    log:
        "<run>/logs/tables/claims.log",
    conda:
        ENVIRONMENT
    params:
        **EVIDENCE_PARAMS | SIMILARITY_NOTE,
        **DESIGN_PARAMS,
        like_papers=list(paper_tables(CONFIG, phantoms=True)),
        margin=CONFIG.evaluation.margin,
        level=CONFIG.evaluation.level,
    message:
        "The paper's claims, tested"
    script:
        "../scripts/claims.py"


rule controls:
    input:
        **EVIDENCE,
        splits=[splits(name) for name in stored_datasets(CONFIG)],
    output:
        **table_outputs("controls", "domain, size or compute?"),
    log:
        "<run>/logs/tables/controls.log",
    conda:
        ENVIRONMENT
    params:
        **EVIDENCE_PARAMS,
        **CONTROL_PARAMS,
        level=CONFIG.evaluation.level,
    message:
        "The controls: domain, size or compute"
    script:
        "../scripts/controls.py"


rule reproduced:
    input:
        **EVIDENCE,
        reference=list(PAPER_FILES.values()),
    output:
        **table_outputs("reproduced", "are the paper's numbers reproduced?"),
    log:
        "<run>/logs/tables/reproduced.log",
    conda:
        ENVIRONMENT
    params:
        **EVIDENCE_PARAMS,
        margin=CONFIG.evaluation.margin,
        level=CONFIG.evaluation.level,
    message:
        "The paper's AUROCs beside those of this run"
    script:
        "../scripts/reproduced.py"


rule subsets:
    input:
        subsets=estimate_files(["subsets"]),
        extra=extra_subset_aurocs(),
    output:
        **table_outputs("subsets", "scatter between labelled subsets"),
    log:
        "<run>/logs/tables/subsets.log",
    conda:
        ENVIRONMENT
    params:
        **RESULT_PARAMS,
        level=CONFIG.evaluation.level,
    message:
        "The scatter between labelled subsets"
    script:
        "../scripts/subsets.py"


rule recipes:
    input:
        recipe_aurocs(),
    output:
        **table_outputs("recipes", "does the recipe of linear finetuning decide?"),
    log:
        "<run>/logs/tables/recipes.log",
    conda:
        ENVIRONMENT
    params:
        **RESULT_PARAMS,
        recipe=CONFIG.linear_recipe,
        sources=PAPER_SOURCES,
    message:
        "Recipes of linear finetuning: the order of the sources"
    script:
        "../scripts/recipes.py"


rule advice:
    input:
        **EVIDENCE,
        classes=estimate_files(["classes"]),
        splits=[splits(name) for name in learnt_datasets(CONFIG)],
        controls=["<run>/tables/controls.csv"] if has_controls(CONFIG) else [],
        decide="<run>/tables/decide.csv",
    output:
        **table_outputs("advice", "what to do with a given number of labels"),
    log:
        "<run>/logs/tables/advice.log",
    conda:
        ENVIRONMENT
    params:
        **RESULT_PARAMS,
        trained=TRAINED,
        sources=PAPER_SOURCES,
        level=CONFIG.evaluation.level,
        datasets=learnt_datasets(CONFIG),
        trainings=way_trainings(),
        views=CONFIG.finetune.linear.views,
        folded=[target for target in CONFIG.targets if len(folds(CONFIG, target)) > 1],
        device=CONFIG.device,
        ranks=CONFIG.pretraining.ranks,
    message:
        "The advice: what to do with a given number of labels"
    script:
        "../scripts/advice.py"


rule decide:
    input:
        **EVIDENCE,
        tested=[splits(target, fold) for target in CONFIG.targets for fold in folds(CONFIG, target)],
        # With them, the plan of more trainings counts the images of this run.
        splits=[splits(name) for name in stored_datasets(CONFIG)],
    output:
        **table_outputs("decide", "what would decide what is undecided"),
    log:
        "<run>/logs/tables/decide.log",
    conda:
        ENVIRONMENT
    params:
        **EVIDENCE_PARAMS,
        **DESIGN_PARAMS | CONTROL_PARAMS,
        # The ways to train among which the advice chooses, and those of them that it leaves out.
        choices=list(PAPER_SOURCES),
        all_seen=seen_tests(CONFIG),
        margin=CONFIG.evaluation.margin,
        level=CONFIG.evaluation.level,
        device=CONFIG.device,
    message:
        "What would decide what this run leaves undecided"
    script:
        "../scripts/decide.py"


rule similarity_ranks:
    input:
        **EVIDENCE,
        similarity="<run>/similarity/similarity.parquet",
    output:
        **table_outputs("similarity_ranks", "does similarity predict the best source?"),
        **figure_outputs("similarity_ranks", "gain by similarity of source and target"),
    log:
        "<run>/logs/similarity_ranks.log",
    conda:
        ENVIRONMENT
    params:
        **EVIDENCE_PARAMS | SIMILARITY_NOTE,
        datasets=compared_sources(CONFIG),
        level=CONFIG.evaluation.level,
        sources=PAPER_SOURCES,
    message:
        "Does similarity predict the best source?"
    script:
        "../scripts/similarity_ranks.py"


rule components:
    input:
        **EVIDENCE,
    output:
        **table_outputs("components", "what intervals consist of"),
        **figure_outputs("components", "shares of patients, subsets and encoders in the variance"),
    log:
        "<run>/logs/components.log",
    conda:
        ENVIRONMENT
    params:
        **RESULT_PARAMS,
        trained=TRAINED,
    message:
        "What intervals consist of: test patients, labelled subsets and encoders"
    script:
        "../scripts/components.py"
