"""The advice: for each target and number of labels the best way to train, how sure that is, and why."""

import pandas as pd

from moco_transfer.statistics.advice import advice_table
from moco_transfer.statistics.evidence import Evidence
from moco_transfer.tables.advice import advice_summary
from moco_transfer.tables.render import write_table


def read_all(paths) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)


def main(inputs, outputs, params) -> None:
    covariances = {
        target: pd.read_parquet(path) for target, path in zip(params.targets, inputs.covariance, strict=True)
    }
    extra = read_all(inputs.extra) if inputs.extra else None
    estimates = read_all(inputs.estimates)
    evidence = Evidence.from_run(estimates, covariances, read_all(inputs.seeds), extra)
    advice = advice_table(estimates[estimates["source"].isin(params.sources)], evidence, params.level)
    controls = pd.read_csv(inputs.controls[0], dtype={"percent": str}) if inputs.controls else None
    write_table(
        advice_summary(advice, controls, params.titles),
        dict(outputs.items()),
        "What to do with so many labels. The best by test AUROC, end-to-end training at its selected budget; its AUROC is too "
        "high on average, because the luckiest is chosen. What cannot be told from it are the ways not significantly worse "
        f"than any other ({100 * (1 - params.level):g}% confidence set of the best, Bonferroni within a row). One encoder of "
        "each source was trained: another might rank otherwise.",
        params.note,
        advice,
    )


main(snakemake.input, snakemake.output, snakemake.params)
