"""The advice: for each target and number of labels the best way to train, how sure that is, and why."""

import pandas as pd

from moco_transfer.report.tables import write_table
from moco_transfer.statistics.advice import advice_table
from moco_transfer.statistics.evidence import read_run
from moco_transfer.tables.advice import advice_summary


def main(inputs, outputs, params) -> None:
    estimates, evidence = read_run(inputs.estimates, inputs.covariance, inputs.subsets, inputs.extra)
    advice = advice_table(estimates[estimates["source"].isin(params.sources)], evidence, params.level)
    controls = pd.read_csv(inputs.controls[0], dtype={"percent": str}) if inputs.controls else None
    write_table(
        advice_summary(advice, controls, params.titles),
        dict(outputs.items()),
        "What to do with so many labels. The best by test AUROC, end-to-end training at its selected budget; its AUROC is too "
        "high on average, because the luckiest is chosen. What cannot be told from it are the ways not significantly worse "
        f"than any other ({100 * (1 - params.level):g}% confidence set of the best, Bonferroni within a row). One encoder of "
        "each source was trained, and one choice of budget made: others might rank otherwise.",
        params.note,
        advice,
    )


main(snakemake.input, snakemake.output, snakemake.params)
