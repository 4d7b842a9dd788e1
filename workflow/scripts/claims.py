"""The claims table: what the paper says, tested on this run and, as far as they allow, on the paper's own tables."""

import pandas as pd

from moco_transfer.statistics.claims_table import claims_table
from moco_transfer.statistics.evidence import Evidence, read_reference, read_run
from moco_transfer.tables.claims import claims_summary
from moco_transfer.tables.render import write_table


def main(inputs, outputs, params) -> None:
    _, evidence = read_run(inputs.estimates, inputs.covariance, inputs.seeds, inputs.extra)
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
        f"decides, with its {100 * (1 - 2 * params.level):g}% interval; equivalence margin {params.margin:g} AUROC. "
        "The paper's tables tell neither how their AUROCs vary together nor how labelled subsets differ: cells enter as "
        "independent and without the variance between subsets.",
        params.note,
        claims,
    )


main(snakemake.input, snakemake.output, snakemake.params)
