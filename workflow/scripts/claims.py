"""The claims table: what the paper says, tested on this run and on the paper's own tables."""

import pandas as pd

from moco_transfer.errors import in_one_line
from moco_transfer.files import read_parquet
from moco_transfer.report.names import left_out_note
from moco_transfer.report.tables import effect_text, p_value_text, write_table
from moco_transfer.statistics.claims import claims_table
from moco_transfer.statistics.evidence import Evidence, read_reference, read_run


def main(inputs, outputs, params) -> None:
    _, evidence = read_run(
        inputs.estimates, inputs.covariance, inputs.subsets, inputs.extra, params.seen, params.trained
    )
    claims = claims_table(
        evidence,
        read_parquet(inputs.similarity[0]) if inputs.similarity else None,
        Evidence.from_tables(read_reference(*inputs.reference)),
        params.margin,
        params.level,
    )
    write_table(
        claims_summary(claims),
        outputs,
        "The paper's claims, tested on this run and on the paper's own tables. The effect is that of the "
        "comparison that decides (the weakest for a claim about all cells, the strongest for a claim about "
        f"some), with its {100 * (1 - 2 * params.level):g}% interval, which is not adjusted for this "
        f"choice. The equivalence margin is {params.margin:g} AUROC. 'p' is for the claim, 'p against' for "
        "its opposite. The paper's tables do not say how their AUROCs vary together or how much labelled "
        "subsets differ. So their cells count as independent, with only the error of the test set "
        "(apparently resampled by image), and each verdict on them says how much scatter between subsets "
        "would undo it." + left_out_note(params.seen),
        params.note,
        claims,
    )


def claims_summary(claims: pd.DataFrame) -> pd.DataFrame:
    """Return ``claims_table`` as text, one row per claim; single comparisons are only in the CSV."""
    whole = claims[claims["cell"] == "all"]
    columns = {("", "Claim"): whole["claim"], ("", "Claim tested"): whole["text"]}
    for heading, prefix in [("This run", ""), ("The paper's tables", "paper_")]:
        effects = whole[[f"{prefix}{name}" for name in ("effect", "lower", "upper")]].to_numpy(dtype=float)
        columns |= {
            (heading, "Verdict"): whole[f"{prefix}verdict"],
            (heading, "Effect"): [effect_text(*values) for values in effects],
            (heading, "p"): whole[f"{prefix}p"].map(p_value_text),
            (heading, "p against"): whole[f"{prefix}p_against"].map(p_value_text),
            (heading, "Comparisons"): whole[f"{prefix}remark"],
        }
    return pd.DataFrame(columns)


if "snakemake" in globals():
    with in_one_line():
        main(snakemake.input, snakemake.output, snakemake.params)
