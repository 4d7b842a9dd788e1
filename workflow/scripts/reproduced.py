"""The paper's AUROCs beside those of this run, each with a verdict: reproduced, or not?"""

import pandas as pd

from moco_transfer.errors import in_one_line
from moco_transfer.report.names import MODE_LABELS
from moco_transfer.report.tables import effect_text, write_table
from moco_transfer.statistics.evidence import read_reference, read_run
from moco_transfer.statistics.reproduction import reproduction


def main(inputs, outputs, params) -> None:
    estimates, evidence = read_run(
        inputs.estimates, inputs.covariance, inputs.subsets, inputs.extra, params.seen, params.trained
    )
    table = reproduction(estimates, evidence, read_reference(*inputs.reference), params.margin, params.level)
    write_table(
        reproduction_summary(table),
        outputs,
        "Are the paper's numbers reproduced? Medians over bootstrap replicates of the test set, where this run has as many labels as "
        f"the paper (to 2%). The difference has a {1 - 2 * params.level:.0%} interval with the variance due to test patients of "
        "both, and due to labelled subsets and encoders of this run, twice, because the paper does not publish its own. 'Yes': "
        f"the whole interval is within {params.margin:g} of zero. 'No': it excludes zero. 'Within its interval': it includes zero but is "
        "wider. 'One encoder': how much another pretraining would differ is unknown, so a difference may be due to that.",
        params.note,
        table,
    )


def reproduction_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return ``reproduction`` as text, one row per cell."""
    numbers = table[["difference", "lower", "upper"]].to_numpy(dtype=float)
    one = table["one_encoder"].map(lambda sources: ", one encoder" if sources else "")
    return pd.DataFrame(
        {
            "Cell": table["target"] + " " + table["percent"] + "%, " + table["mode"].map(MODE_LABELS),
            "Source": table["source"],
            "This run": table["auroc"].map("{:.3f}".format),
            "Paper": table["paper"].map("{:.3f}".format),
            "Difference": [effect_text(*values) for values in numbers],
            "Reproduced": table["verdict"] + one,
        }
    )


if "snakemake" in globals():
    with in_one_line():
        main(snakemake.input, snakemake.output, snakemake.params)
