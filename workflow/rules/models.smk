"""The finetuned models that are kept, each with its card: weights, a page of Markdown, and a figure."""


localrules:
    models,
    model,
    model_of_way,


rule models:
    input:
        model_files(),
    message:
        "All models are ready"


# The way to train that the advice names. The choice needs data, so all candidates are inputs.
rule model:
    input:
        advice="<run>/tables/advice.csv",
        predictions=candidates("predictions.parquet"),
        weights=candidates("weights"),
        encoders=candidate_encoders,
        subset=lambda wildcards: f"<run>/subsets/{wildcards.target}/{kept_cell(wildcards)}.parquet",
        index="<data>/{target}/store/index.parquet",
        splits=[splits(name) for name in learnt_datasets(CONFIG)],
    output:
        **figure_outputs(
            "model_card",
            path="<run>/models/{target}/{percent}pct/reliability",
            labels={"target": "{target}", "labels": "{percent}%", "shows": "calibration of the model"},
            category="Models",
        ),
        md="<run>/models/{target}/{percent}pct/model.md",
        model="<run>/models/{target}/{percent}pct/model.safetensors",
    log:
        "<run>/logs/models/{target}/{percent}pct.log",
    conda:
        ENVIRONMENT
    params:
        **RESULT_PARAMS,
        facts=model_facts,
    message:
        "The model of {wildcards.target}, {wildcards.percent}%, with its card"
    script:
        "../scripts/model_card.py"


use rule model as model_of_way with:
    output:
        **figure_outputs(
            "model_card",
            path="<run>/models/{target}/{percent}pct/{source}/{mode}/reliability",
            labels={
                "target": "{target}",
                "labels": "{percent}%",
                "shows": "calibration of the model, {source}, {mode}",
            },
            category="Models",
        ),
        md="<run>/models/{target}/{percent}pct/{source}/{mode}/model.md",
        model="<run>/models/{target}/{percent}pct/{source}/{mode}/model.safetensors",
    log:
        "<run>/logs/models/{target}/{percent}pct/{source}/{mode}.log",
    wildcard_constraints:
        mode="linear|end_to_end",
    message:
        "The model of {wildcards.target}, {wildcards.percent}%, {wildcards.source}, {wildcards.mode}, with its card"
