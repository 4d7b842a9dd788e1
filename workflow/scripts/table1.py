"""Table 1: the hyperparameters of pretraining and finetuning, from the configuration."""

from moco_transfer.config import Config
from moco_transfer.tables.hyperparameters import hyperparameter_table
from moco_transfer.tables.render import write_table


def main(outputs, params) -> None:
    write_table(
        hyperparameter_table(Config.model_validate(params.config)),
        dict(outputs.items()),
        "Table 1. Training details of MoCo pretraining and finetuning.",
        params.note,
    )


main(snakemake.output, snakemake.params)
