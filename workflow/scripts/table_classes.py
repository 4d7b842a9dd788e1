"""The test AUROC of every class, beside the weighted and the macro average."""

import pandas as pd

from moco_transfer.report.tables import interval_name, write_table
from moco_transfer.tables.classes import class_records, class_table


def read_all(paths, sources) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(path) for path in paths]).query("source in @sources")


def main(inputs, outputs, params) -> None:
    classes = read_all(inputs.classes, params.sources)
    estimates = read_all(inputs.estimates, params.sources)
    lower, upper = params.percentiles
    write_table(
        class_table(classes, estimates, params.titles, params.average),
        dict(outputs.items()),
        "Classes. The test AUROC of each class, the mean over labelled subsets, with its logit interval "
        f"({upper - lower:g}%, clustered by patient), and the averages over classes of the test set itself; the interval of "
        f"the {params.average} average is that of tables 2 and 3 ({interval_name(params.percentiles)}, resampled by "
        f"{params.unit}). Intervals hold the test set's variance alone, not that between labelled subsets.",
        params.note,
        class_records(classes, estimates),
    )


main(snakemake.input, snakemake.output, snakemake.params)
