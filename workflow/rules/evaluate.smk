"""From predictions to budgets, estimates, intervals and standard errors, per target."""


rule select_budgets:
    input:
        predictions=lambda wildcards: finetuned("predictions.parquet", wildcards.target, ["end_to_end"]),
        subsets=lambda wildcards: subset_files(wildcards.target, [1]),
    output:
        "<run>/evaluate/{target}/budgets.csv",
    log:
        "<run>/logs/select_budgets/{target}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(8000),
    params:
        settings=as_json(
            lambda wildcards: stages.SelectBudgets(
                target=wildcards.target,
                jobs=finetuning_jobs(CONFIG, wildcards.target, ["end_to_end"]),
                percents=CONFIG.targets[wildcards.target].percents,
                validation=CONFIG.evaluation.validation,
                average=CONFIG.evaluation.average,
                seed=CONFIG.seed,
            )
        ),
        version=2,
    message:
        "Choosing the epochs of end-to-end finetuning on {wildcards.target} validation images"
    shell:
        "exec python -m moco_transfer select-budgets --settings {params.settings:q}"
        " --predictions {input.predictions:q} --subsets {input.subsets:q} --budgets {output:q} > {log:q} 2>&1"


rule evaluate:
    input:
        predictions=lambda wildcards: finetuned("predictions.parquet", wildcards.target),
        subsets=lambda wildcards: subset_files(wildcards.target, [1]),
        budgets="<run>/evaluate/{target}/budgets.csv",
    output:
        estimates="<run>/evaluate/{target}/estimates.parquet",
        subsets="<run>/evaluate/{target}/subsets.parquet",
        classes="<run>/evaluate/{target}/classes.parquet",
        replicates="<run>/evaluate/{target}/replicates.parquet",
        covariance="<run>/evaluate/{target}/covariance.parquet",
    log:
        "<run>/logs/evaluate/{target}.log",
    benchmark:
        "<run>/benchmarks/evaluate/{target}.tsv"
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=memory(16000),
        runtime=minutes(240),
    params:
        settings=as_json(
            lambda wildcards: stages.Evaluate(
                target=wildcards.target,
                jobs=finetuning_jobs(CONFIG, wildcards.target),
                percents=CONFIG.targets[wildcards.target].percents,
                evaluation=scoring(),
                seed=CONFIG.seed,
            )
        ),
        out=subpath(output.estimates, parent=True),
        version=3,
    message:
        "Scoring and bootstrapping the {wildcards.target} test images"
    shell:
        "exec env NUMBA_NUM_THREADS={threads} python -m moco_transfer evaluate --settings {params.settings:q}"
        " --predictions {input.predictions:q} --subsets {input.subsets:q} --budgets {input.budgets:q}"
        " --out {params.out:q} > {log:q} 2>&1"


rule coverage:
    output:
        "<run>/evaluate/coverage.parquet",
    log:
        "<run>/logs/coverage.log",
    benchmark:
        "<run>/benchmarks/coverage.tsv"
    conda:
        ENVIRONMENT
    params:
        settings=as_json(
            lambda wildcards: stages.SimulateCoverage(
                percentiles=CONFIG.evaluation.percentiles,
                replicates=CONFIG.evaluation.replicates,
                seed=CONFIG.seed,
            )
        ),
        version=1,
    message:
        "Simulating how often intervals contain the true value"
    shell:
        "exec env NUMBA_NUM_THREADS={threads} python -m moco_transfer coverage --settings {params.settings:q}"
        " --coverage {output:q} > {log:q} 2>&1"


# Like coverage, it needs no data of the run, and no figure or table of the run needs it: docs/statistics.md has its summary.
rule error_rates:
    output:
        "<run>/evaluate/error_rates.csv",
    log:
        "<run>/logs/error_rates.log",
    benchmark:
        "<run>/benchmarks/error_rates.tsv"
    conda:
        ENVIRONMENT
    params:
        settings=as_json(lambda wildcards: stages.SimulateErrorRates(seed=CONFIG.seed)),
        version=1,
    message:
        "Simulating how often tests and intervals of contrasts err"
    shell:
        "exec python -m moco_transfer error-rates --settings {params.settings:q} --error-rates {output:q} > {log:q} 2>&1"
