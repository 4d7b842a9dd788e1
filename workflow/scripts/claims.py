"""The claims table: what the paper says, tested on this run and on the paper's own tables."""

import pandas as pd

from moco_transfer.errors import in_one_line
from moco_transfer.files import read_parquet
from moco_transfer.report.names import left_out_note
from moco_transfer.report.tables import effect_text, p_value_text, write_table
from moco_transfer.statistics.claims import claims_table, not_asked
from moco_transfer.statistics.design import FEW_IN_THE_PAPER, Design
from moco_transfer.statistics.evidence import Evidence, comparable, read_reference, read_run


def main(inputs, outputs, params) -> None:
    estimates, evidence = read_run(
        inputs.estimates, inputs.covariance, inputs.subsets, inputs.extra, params.seen, params.trained
    )
    design = Design(
        roles=params.roles,
        datasets=params.sources,
        images={
            name: int(read_parquet(path)["split"].isin(params.pretrained_on).sum())
            for name, path in zip(params.used, inputs.splits, strict=True)
        },
        natural=params.natural,
        few={target: FEW_IN_THE_PAPER[target] for target in params.papers},
        network=params.network,
    )
    reference = read_reference(*inputs.reference)
    same = comparable(reference[reference["target"].isin(params.papers)], estimates)
    claims = claims_table(
        evidence,
        design,
        read_parquet(inputs.similarity[0]) if inputs.similarity else None,
        Evidence.from_tables(reference),
        params.margin,
        params.level,
        set(zip(same["target"], same["percent"], strict=True)),
    )
    write_table(
        claims_summary(claims, in_full=bool(params.papers)),
        outputs,
        "The paper's claims in general words, tested on this run and on the paper's own tables. "
        f"{roles_text(design)}{not_asked(claims, evidence, design)} The effect is that of the "
        "comparison that decides (the weakest for a claim about all cells, the strongest for a claim about "
        f"some), with its {100 * (1 - 2 * params.level):g}% interval, which is not adjusted for this "
        f"choice. The margin of claims 3, 4 and 8 is {params.margin:g} AUROC. 'p' is for the claim, 'p against' for "
        "its opposite. 'About these encoders': some sources have one trained encoder, so nothing is said about "
        "MoCo on these datasets in general. This holds for the paper too, whose tables also do not say how AUROCs vary "
        "together or how much labelled subsets differ: their cells count as independent, with only the error of the test set "
        "(apparently resampled by image), and the CSV says how much scatter between subsets or pretrainings would undo "
        "each verdict on them." + left_out_note(params.seen),
        params.note,
        claims,
    )


def roles_text(design: Design) -> str:
    """Return on which images MoCo is trained, as the claims speak of them, in one sentence for each target."""
    names = {
        "own": "the target's own dataset",
        "other": "another dataset",
        "natural": "natural images",
        "mixture": "a mixture",
    }
    sentences = []
    for target in design.roles:
        here = {said: design.of(target, role) for role, said in names.items()}
        parts = [f"{said} ({', '.join(found)})" for said, found in here.items() if found]
        sentences.append(f"MoCo for {target} is on {'; '.join(parts) or 'no dataset'}.")
    return " ".join(sentences)


def claims_summary(claims: pd.DataFrame, in_full: bool) -> pd.DataFrame:
    """Return ``claims_table`` as text, one row per claim; single comparisons are only in the CSV.

    ``in_full`` shows the paper's words and numbers beside its verdict, which belong to its own datasets.
    """
    whole = claims[claims["cell"] == "all"]
    one_encoder = {"": whole["one_encoder"] != "", "paper_": True}
    columns = {("", "Claim"): whole["claim"], ("", "Claim tested"): whole["text"]}
    for heading, prefix in [("This run", ""), ("The paper's tables", "paper_")]:
        verdict = whole[f"{prefix}verdict"]
        about = one_encoder[prefix] & ~verdict.str.startswith("cannot be tested")
        columns |= {(heading, "Verdict"): verdict.mask(about, verdict + ", about these encoders")}
        if prefix and not in_full:
            continue
        effects = whole[[f"{prefix}{name}" for name in ("effect", "lower", "upper")]].to_numpy(dtype=float)
        columns |= {
            (heading, "Effect"): [effect_text(*values) for values in effects],
            (heading, "p"): whole[f"{prefix}p"].map(p_value_text),
            (heading, "p against"): whole[f"{prefix}p_against"].map(p_value_text),
            (heading, "Comparisons"): whole[f"{prefix}remark"],
        }
        if prefix:
            columns |= {(heading, "In the paper's words"): whole["paper_text"]}
    return pd.DataFrame(columns)


if "snakemake" in globals():
    with in_one_line():
        main(snakemake.input, snakemake.output, snakemake.params)
