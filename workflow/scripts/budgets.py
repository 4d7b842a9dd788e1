"""The epochs that all validation images choose, and those that as few as were labelled choose."""

import pandas as pd

from moco_transfer.report.tables import write_table
from moco_transfer.statistics.budgets import read_budgets
from moco_transfer.statistics.evidence import read_all
from moco_transfer.tables.budgets import budget_records, budget_table


def main(inputs, outputs, params) -> None:
    budgets = pd.concat(
        read_budgets(path).assign(target=target)
        for target, path in zip(params.targets, inputs.budgets, strict=True)
    )
    records = budget_records(budgets, read_all(inputs.estimates), params.sources)
    write_table(
        budget_table(records, params.titles),
        dict(outputs.items()),
        "Budgets. The epochs of end-to-end finetuning that all validation images choose (full) and that as many of them as "
        "there are labelled training images choose (matched), with the test AUROC after each, the mean over labelled "
        f"subsets. This run goes by the {params.validation} images. The last line counts the choices for which the matched "
        "images are fewer than the full ones; mean and largest difference are over these.",
        params.note,
        records,
    )


main(snakemake.input, snakemake.output, snakemake.params)
