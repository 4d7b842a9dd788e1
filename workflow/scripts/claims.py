"""The claims table: what the paper says, tested on this run and, as far as they allow, on the paper's own tables."""

import pandas as pd

from moco_transfer.statistics.claims_table import claims_table
from moco_transfer.statistics.evidence import Evidence, read_reference
from moco_transfer.tables.claims import claims_summary
from moco_transfer.tables.render import write_table


def read_all(paths) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)


def main(inputs, outputs, params) -> None:
    covariances = {
        target: pd.read_parquet(path) for target, path in zip(params.targets, inputs.covariance, strict=True)
    }
    extra = read_all(inputs.extra) if inputs.extra else None
    claims = claims_table(
        Evidence.from_run(read_all(inputs.estimates), covariances, read_all(inputs.seeds), extra),
        pd.read_parquet(inputs.similarity),
        Evidence.from_tables(read_reference(*inputs.reference)),
        params.margin,
        params.level,
    )
    write_table(
        claims_summary(claims),
        dict(outputs.items()),
        "The paper's claims, tested on this run and on the paper's own tables. The effect is that of the comparison that "
        f"decides, with its {100 * (1 - 2 * params.level):g}% interval; equivalence margin {params.margin:g} AUROC.",
        params.note,
        claims,
    )


main(snakemake.input, snakemake.output, snakemake.params)
