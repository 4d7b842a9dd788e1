"""Every table, as CSV, Markdown, LaTeX and HTML."""


localrules:
    table1,
    table_aurocs,
    table_classes,
    budgets_table,
    claims,
    controls_table,
    subsets_table,
    advice,
    similarity_ranks,


rule table1:
    output:
        csv="<run>/tables/table1.csv",
        md="<run>/tables/table1.md",
        tex="<run>/tables/table1.tex",
        html=report(
            "<run>/tables/table1.html",
            caption="../report/table1.rst",
            category="Tables",
            labels={"table": "1", "shows": "hyperparameters"},
        ),
    log:
        "<run>/logs/tables/table1.log",
    conda:
        "../../envs/moco-transfer.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        rows=lambda wildcards: hyperparameter_rows(CONFIG),
        note=data_note(),
        code=RESULTS_CODE,
    message:
        "Table 1: hyperparameters"
    script:
        "../scripts/table1.py"


rule table_aurocs:
    input:
        estimates=lambda wildcards: f"<run>/evaluate/{RESULT_TABLES[wildcards.table]}/estimates.parquet",
        reference=lambda wildcards: paper_tables([RESULT_TABLES[wildcards.table]]),
    output:
        csv="<run>/tables/{table}.csv",
        md="<run>/tables/{table}.md",
        tex="<run>/tables/{table}.tex",
        html=report(
            "<run>/tables/{table}.html",
            caption="../report/table_aurocs.rst",
            category="Tables",
            labels=numbered_labels("table", RESULT_TABLES, "test AUROC"),
        ),
    log:
        "<run>/logs/tables/{table}.log",
    wildcard_constraints:
        table=one_of(RESULT_TABLES),
    conda:
        "../../envs/moco-transfer.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        target=lambda wildcards: RESULT_TABLES[wildcards.table],
        title=lambda wildcards: CONFIG.datasets[RESULT_TABLES[wildcards.table]].title,
        sources=PAPER_SOURCES,
        percentiles=CONFIG.evaluation.percentiles,
        unit=CONFIG.evaluation.unit,
        note=data_note(),
        code=RESULTS_CODE,
    message:
        "{wildcards.table}: test AUROC"
    script:
        "../scripts/table_aurocs.py"


rule table_classes:
    input:
        estimates=estimate_files(["estimates"]),
        classes=estimate_files(["classes"]),
    output:
        csv="<run>/tables/classes.csv",
        md="<run>/tables/classes.md",
        tex="<run>/tables/classes.tex",
        html=report(
            "<run>/tables/classes.html",
            caption="../report/table_classes.rst",
            category="Tables",
            labels={"table": "classes", "shows": "test AUROC of every class"},
        ),
    log:
        "<run>/logs/tables/classes.log",
    conda:
        "../../envs/moco-transfer.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        titles=titles(),
        sources=PAPER_SOURCES,
        percentiles=CONFIG.evaluation.percentiles,
        unit=CONFIG.evaluation.unit,
        average=CONFIG.evaluation.average,
        note=data_note(),
        code=RESULTS_CODE,
    message:
        "Test AUROC of every class"
    script:
        "../scripts/table_classes.py"


rule budgets_table:
    input:
        budgets=[f"<run>/evaluate/{target}/budgets.csv" for target in CONFIG.targets],
        estimates=estimate_files(["estimates"]),
    output:
        csv="<run>/tables/budgets.csv",
        md="<run>/tables/budgets.md",
        tex="<run>/tables/budgets.tex",
        html=report(
            "<run>/tables/budgets.html",
            caption="../report/budgets.rst",
            category="Tables",
            labels={"table": "budgets", "shows": "epochs chosen with few validation labels"},
        ),
    log:
        "<run>/logs/tables/budgets.log",
    conda:
        "../../envs/moco-transfer.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        targets=list(CONFIG.targets),
        titles=titles(),
        sources=PAPER_SOURCES,
        validation=CONFIG.evaluation.validation,
        note=data_note(),
        code=RESULTS_CODE,
    message:
        "Budgets chosen on full and on matched validation images"
    script:
        "../scripts/budgets.py"


rule claims:
    input:
        estimates=estimate_files(["estimates"]),
        subsets=estimate_files(["subsets"]),
        covariance=estimate_files(["covariance"]),
        extra=extra_subset_aurocs(),
        similarity="<run>/similarity/similarity.parquet",
        reference=[f"{HOME}/workflow/reference/{name}.csv" for name in ("table2", "table3")],
    output:
        csv="<run>/tables/claims.csv",
        md="<run>/tables/claims.md",
        tex="<run>/tables/claims.tex",
        html=report(
            "<run>/tables/claims.html",
            caption="../report/claims.rst",
            category="Tables",
            labels={"table": "claims", "shows": "the paper's claims, tested"},
        ),
    log:
        "<run>/logs/tables/claims.log",
    conda:
        "../../envs/moco-transfer.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        margin=CONFIG.evaluation.margin,
        level=CONFIG.evaluation.level,
        note=data_note(),
        code=RESULTS_CODE,
    message:
        "The paper's claims, tested"
    script:
        "../scripts/claims.py"


rule controls_table:
    input:
        estimates=estimate_files(["estimates"]),
        subsets=estimate_files(["subsets"]),
        covariance=estimate_files(["covariance"]),
        extra=extra_subset_aurocs(),
    output:
        csv="<run>/tables/controls.csv",
        md="<run>/tables/controls.md",
        tex="<run>/tables/controls.tex",
        html=report(
            "<run>/tables/controls.html",
            caption="../report/controls.rst",
            category="Tables",
            labels={"table": "controls", "shows": "domain, size or compute?"},
        ),
    log:
        "<run>/logs/tables/controls.log",
    conda:
        "../../envs/moco-transfer.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        controls=CONFIG.controls.model_dump(),
        percents={name: target.percents for name, target in CONFIG.targets.items()},
        sources_of_one={seen[0]: name for name, seen in CONFIG.sources.items() if len(seen) == 1},
        level=CONFIG.evaluation.level,
        note=data_note(),
        code=RESULTS_CODE,
    message:
        "The controls: domain, size or compute"
    script:
        "../scripts/controls.py"


rule subsets_table:
    input:
        subsets=estimate_files(["subsets"]),
        extra=extra_subset_aurocs(),
    output:
        csv="<run>/tables/subsets.csv",
        md="<run>/tables/subsets.md",
        tex="<run>/tables/subsets.tex",
        html=report(
            "<run>/tables/subsets.html",
            caption="../report/subsets.rst",
            category="Tables",
            labels={"table": "subsets", "shows": "scatter between labelled subsets"},
        ),
    log:
        "<run>/logs/tables/subsets.log",
    conda:
        "../../envs/moco-transfer.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        level=CONFIG.evaluation.level,
        note=data_note(),
        code=RESULTS_CODE,
    message:
        "The scatter between labelled subsets"
    script:
        "../scripts/subsets.py"


rule advice:
    input:
        estimates=estimate_files(["estimates"]),
        subsets=estimate_files(["subsets"]),
        covariance=estimate_files(["covariance"]),
        extra=extra_subset_aurocs(),
        controls=["<run>/tables/controls.csv"] if has_controls(CONFIG) else [],
    output:
        csv="<run>/tables/advice.csv",
        md="<run>/tables/advice.md",
        tex="<run>/tables/advice.tex",
        html=report(
            "<run>/tables/advice.html",
            caption="../report/advice.rst",
            category="Tables",
            labels={"table": "advice", "shows": "what to do with so many labels"},
        ),
    log:
        "<run>/logs/tables/advice.log",
    conda:
        "../../envs/moco-transfer.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        # MoCo on fewer images than there are explains something, but nobody would choose it.
        sources=[source for source in ALL_SOURCES if source not in CONFIG.controls.size],
        level=CONFIG.evaluation.level,
        titles=titles(),
        note=data_note(),
        code=RESULTS_CODE,
    message:
        "The advice: what to do with so many labels"
    script:
        "../scripts/advice.py"


rule similarity_ranks:
    input:
        estimates=estimate_files(["estimates"]),
        subsets=estimate_files(["subsets"]),
        covariance=estimate_files(["covariance"]),
        extra=extra_subset_aurocs(),
        similarity="<run>/similarity/similarity.parquet",
    output:
        csv="<run>/tables/similarity_ranks.csv",
        md="<run>/tables/similarity_ranks.md",
        tex="<run>/tables/similarity_ranks.tex",
        html=report(
            "<run>/tables/similarity_ranks.html",
            caption="../report/similarity_ranks.rst",
            category="Tables",
            labels={"table": "similarity ranks", "shows": "does similarity predict the best source?"},
        ),
        pdf="<run>/figures/similarity_ranks.pdf",
        svg=report(
            "<run>/figures/similarity_ranks.svg",
            caption="../report/similarity_ranks.rst",
            category="Figures",
            labels={"figure": "similarity ranks", "shows": "gain by similarity of source and target"},
        ),
        png="<run>/figures/similarity_ranks.png",
    log:
        "<run>/logs/similarity_ranks.log",
    conda:
        "../../envs/moco-transfer.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=minutes(30),
    params:
        datasets=compared_sources(CONFIG),
        level=CONFIG.evaluation.level,
        titles=titles(),
        sources=PAPER_SOURCES,
        note=data_note(),
        code=RESULTS_CODE,
    message:
        "Does similarity predict the best source?"
    script:
        "../scripts/similarity_ranks.py"
