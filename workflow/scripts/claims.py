"""The claims table: what the paper says, tested on this run and, as far as they allow, on the paper's own tables."""

import pandas as pd

from moco_transfer.report.tables import write_table
from moco_transfer.statistics.claims import claims_table
from moco_transfer.statistics.evidence import Evidence, read_reference, read_run
from moco_transfer.tables.claims import claims_summary


def main(inputs, outputs, params) -> None:
    _, evidence = read_run(inputs.estimates, inputs.covariance, inputs.subsets, inputs.extra)
    claims = claims_table(
        evidence,
        pd.read_parquet(inputs.similarity),
        Evidence.from_tables(read_reference(*inputs.reference)),
        params.margin,
        params.level,
    )
    write_table(
        claims_summary(claims),
        dict(outputs.items()),
        "The paper's claims, tested on this run and on the paper's own tables. The effect is that of the comparison that "
        "decides (the weakest of a claim said of all, the strongest of one said of some), with its "
        f"{100 * (1 - 2 * params.level):g}% interval, which is not adjusted for the choice; equivalence margin "
        f"{params.margin:g} AUROC. p is for the claim, 'p against' for its opposite. "
        "The paper's tables tell neither how their AUROCs vary together nor how labelled subsets differ: cells enter as "
        "independent, with the error of the test set alone, resampled by image as it seems, and every verdict on them says "
        "how much scatter between subsets would undo it.",
        params.note,
        claims,
    )


main(snakemake.input, snakemake.output, snakemake.params)
