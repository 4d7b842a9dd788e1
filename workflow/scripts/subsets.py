"""The subsets table: how much the test AUROC differs between labelled subsets of one size."""

import numpy as np
import pandas as pd

from moco_transfer.errors import in_one_line
from moco_transfer.report.tables import write_table
from moco_transfer.statistics.controls import subset_scatter
from moco_transfer.statistics.evidence import read_all


def main(inputs, outputs, params) -> None:
    scatter = subset_scatter(read_all(inputs.subsets), read_all(inputs.extra), params.level)
    write_table(
        subsets_summary(scatter),
        outputs,
        "Labelled subsets. The standard deviation of the test AUROC of linear finetuning between labelled "
        f"subsets of one size ({100 * (1 - 2 * params.level):g}% interval, for normally distributed "
        "AUROCs), and the standard deviation between the run's own subsets alone. Subsets meet the encoders of a "
        "source in turn, so what these differ by is part of it. All subsets are drawn "
        "from the same training images, so large subsets overlap and scatter less than subsets of new "
        "images would.",
        params.note,
        scatter,
    )


def subsets_summary(scatter: pd.DataFrame) -> pd.DataFrame:
    """Return ``subset_scatter`` as text, one row per cell."""
    return pd.DataFrame(
        {
            "Cell": scatter["target"] + " " + scatter["percent"] + "%",
            "Source": scatter["source"],
            "Subsets": scatter["subsets"],
            "Standard deviation": [
                f"{row.sd:.4f} ({row.lower:.4f}–{row.upper:.4f})" for row in scatter.itertuples()
            ],
            "Run's own subsets": scatter["run_sd"].map(lambda sd: "" if np.isnan(sd) else f"{sd:.4f}"),
        }
    )


if "snakemake" in globals():
    with in_one_line():
        main(snakemake.input, snakemake.output, snakemake.params)
