"""Table 1: the hyperparameters of pretraining and finetuning, from the configuration."""

import pandas as pd

from moco_transfer.report.tables import write_table


def main(outputs, params) -> None:
    write_table(
        pd.DataFrame(params.rows),
        dict(outputs.items()),
        "Table 1. Training details of MoCo pretraining and finetuning.",
        params.note,
    )


main(snakemake.output, snakemake.params)
