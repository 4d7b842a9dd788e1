"""From predictions to budgets, estimates, intervals and standard errors, a target at a time."""


rule select_budgets:
    input:
        predictions=lambda wildcards: prediction_files(wildcards.target, ["end_to_end"]),
        subsets=lambda wildcards: subset_files(
            wildcards.target, CONFIG.targets[wildcards.target].percents, [1]
        ),
    output:
        "<run>/evaluate/{target}/budgets.csv",
    log:
        "<run>/logs/select_budgets/{target}.log",
    conda:
        "../../envs/moco-transfer.yaml"
    threads: 1
    resources:
        mem_mb=memory(8000),
        runtime=minutes(60),
    params:
        settings=settings(
            target=lambda wildcards: wildcards.target,
            cells=lambda wildcards: finetuning_jobs(CONFIG, wildcards.target, ["end_to_end"]),
            percents=lambda wildcards: CONFIG.targets[wildcards.target].percents,
            validation=CONFIG.evaluation.validation,
            average=CONFIG.evaluation.average,
            seed=CONFIG.seed,
        ),
        version=2,
    message:
        "Choosing the epochs of end-to-end finetuning on {wildcards.target} validation images"
    shell:
        "exec python -m moco_transfer select-budgets --settings {params.settings:q}"
        " --predictions {input.predictions:q} --subsets {input.subsets:q} --budgets {output:q} > {log:q} 2>&1"


rule evaluate:
    input:
        predictions=lambda wildcards: prediction_files(wildcards.target),
        subsets=lambda wildcards: subset_files(
            wildcards.target, CONFIG.targets[wildcards.target].percents, [1]
        ),
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
        "../../envs/moco-transfer.yaml"
    threads: 2
    resources:
        mem_mb=memory(16000),
        runtime=minutes(240),
    params:
        settings=settings(
            target=lambda wildcards: wildcards.target,
            cells=lambda wildcards: finetuning_jobs(CONFIG, wildcards.target),
            percents=lambda wildcards: CONFIG.targets[wildcards.target].percents,
            evaluation=CONFIG.evaluation.model_dump(),
            seed=CONFIG.seed,
        ),
        version=3,
    message:
        "Scoring and bootstrapping the {wildcards.target} test images"
    shell:
        "exec env NUMBA_NUM_THREADS={threads} python -m moco_transfer evaluate --settings {params.settings:q}"
        " --predictions {input.predictions:q} --subsets {input.subsets:q} --budgets {input.budgets:q} --estimates {output.estimates:q}"
        " --subset-aurocs {output.subsets:q} --classes {output.classes:q} --replicates {output.replicates:q}"
        " --covariance {output.covariance:q} > {log:q} 2>&1"


rule coverage:
    output:
        "<run>/evaluate/coverage.parquet",
    log:
        "<run>/logs/coverage.log",
    benchmark:
        "<run>/benchmarks/coverage.tsv"
    conda:
        "../../envs/moco-transfer.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=minutes(30),
    params:
        settings=settings(
            percentiles=CONFIG.evaluation.percentiles,
            replicates=CONFIG.evaluation.replicates,
            seed=CONFIG.seed,
        ),
        version=1,
    message:
        "Simulating how often intervals hold the truth"
    shell:
        "exec env NUMBA_NUM_THREADS={threads} python -m moco_transfer coverage --settings {params.settings:q}"
        " --coverage {output:q} > {log:q} 2>&1"
