"""MoCo-Transfer, the whole experiment: from raw releases to every figure and table.

snakemake --configfile config/demo.yaml            everything, on built-in phantom data
snakemake figures                                  or: tables, similarity, cards, models
snakemake results/demo/figures/figure2.pdf --configfile config/demo.yaml
"""

from snakemake.utils import min_version

min_version("9.19")


include: "workflow/rules/common.smk"
include: "workflow/rules/settings.smk"


pathvars:
    run=f"results/{CONFIG.run}",
    data=f"results/data/{CONFIG.data}",


wildcard_constraints:
    dataset=one_of(CONFIG.datasets),
    target=one_of(CONFIG.targets),
    source=one_of([*ALL_SOURCES, *SUBSET_SOURCES]),
    percent=one_of(percent for target in CONFIG.targets.values() for percent in target.percents),
    subset=one_of(map(str, SUBSETS)),
    replicate=one_of(str(number) for source in ALL_SOURCES for number in replicates(CONFIG, source)),
    fold=one_of(str(number) for dataset in CONFIG.datasets for number in folds(CONFIG, dataset)),


report: "workflow/report/workflow.rst"


onstart:
    require_gpus(workflow.dag.needrun_jobs())
    say_recipe()
    look_for_jobs_only_when_one_ends()


onsuccess:
    forget_finished(Path(f"results/{CONFIG.run}"))
    say_what_to_read()


localrules:
    all,
    figures,
    tables,
    similarity,
    cards,


rule all:
    default_target: True
    input:
        figure_files(),
        table_files(),
        card_files(),
        model_files(),
        check_files(),
        "<run>/report.html",
    message:
        "The report, all figures, tables, data cards and models are ready"


rule figures:
    input:
        figure_files(),
        check_files(),
    message:
        "All figures are ready"


rule tables:
    input:
        table_files(),
        check_files(),
    message:
        "All tables are ready"


rule cards:
    input:
        card_files(),
        check_files(),
    message:
        "All data cards are ready"


rule similarity:
    input:
        figure_files(["figure3", "similarity_measures"]),
    message:
        "The similarity of the datasets is ready"


include: "workflow/rules/data.smk"
include: "workflow/rules/pretrain.smk"
include: "workflow/rules/finetune.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/similarity.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/report.smk"
