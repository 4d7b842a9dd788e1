"""Tables 2 and 3: the test AUROC of one target, by percentage of labels, mode and source."""

import pandas as pd

from moco_transfer.report.tables import auroc_records, auroc_table, interval_name, write_table
from moco_transfer.statistics.evidence import read_reference


def main(inputs, outputs, params, table: str) -> None:
    estimates = pd.read_parquet(inputs.estimates).query("source in @params.sources")
    reference = read_reference(*inputs.reference) if inputs.reference else None
    write_table(
        auroc_table(estimates, params.target, params.title, reference),
        dict(outputs.items()),
        f"{table.replace('table', 'Table ')}. The test AUROC on {params.title} of models finetuned linearly and end to "
        "end on different proportions of labelled data: median over bootstrap replicates of the test set "
        f"({interval_name(params.percentiles)}, resampled by {params.unit}). Intervals hold the test set's variance alone, not that between labelled "
        "subsets. A macro average, of the test set itself, counts all classes alike.",
        params.note,
        auroc_records(estimates, params.target, reference),
    )


main(snakemake.input, snakemake.output, snakemake.params, snakemake.wildcards.table)
