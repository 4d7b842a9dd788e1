"""The claims table: what the paper says, tested on this run and on the paper's own tables."""

from collections.abc import Sequence
from typing import Literal

import pandas as pd

from moco_transfer.data.labels import split_rows
from moco_transfer.errors import in_one_line
from moco_transfer.files import read_parquet
from moco_transfer.report.names import left_out_note
from moco_transfer.report.tables import effect_text, p_value_text, write_table
from moco_transfer.statistics.claims import claims_table, not_asked
from moco_transfer.statistics.design import FEW_IN_THE_PAPER, Design
from moco_transfer.statistics.evidence import Evidence, comparable, read_reference, read_run

HEADING = "The paper's tables"
PAPER_NOTE = (
    " The paper, too, has one encoder of each source. Its tables do not say how AUROCs are correlated or how much labelled "
    "subsets differ: their cells count as independent, with only the error of the test set (apparently resampled by image). The "
    "CSV says how much scatter between subsets or encoders would undo each verdict on them."
)


def main(inputs, outputs, params) -> None:
    estimates, evidence = read_run(
        inputs.estimates, inputs.covariance, inputs.subsets, inputs.extra, params.seen, params.trained
    )
    design = read_design(params, inputs.splits)
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
    shown = "numbers" if params.papers else "verdicts" if params.like_papers else "nothing"
    write_table(
        claims_summary(claims, shown),
        outputs,
        f"The paper's claims in general terms, tested on this run{' and on the tables of the paper' if shown != 'nothing' else ''}. "
        f"{roles_text(design)}{not_asked(claims, evidence, design)} The effect is that of the "
        "comparison that decides: the weakest if the claim must hold for all, the strongest if for some, the weakest of just enough "
        f"if for most. Its {100 * (1 - 2 * params.level):g}% interval is not adjusted for this choice. The margin of claims 3, 4 "
        f"and 8 is {params.margin:g} AUROC. A small 'p' supports the claim, a small 'p against' its opposite; claims are not "
        "corrected for each other. 'About these encoders': a source has one trained encoder, and another training of it might "
        "change the verdict; the similarities of claim 10 are those in one encoder's features, of "
        f"the images at hand.{'' if shown == 'nothing' else PAPER_NOTE}{left_out_note(params.seen)}",
        params.note,
        claims,
    )


def read_design(params, splits: Sequence[str]) -> Design:
    """Return the roles of the run's sources; ``splits`` are the files of ``params.datasets``, in the same order."""
    return Design(
        roles=params.roles,
        datasets=params.seen_by_moco,
        images={
            name: len(split_rows(path, params.pretrained_on))
            for name, path in zip(params.datasets, splits, strict=True)
        },
        natural=params.natural,
        few={target: FEW_IN_THE_PAPER[target] for target in params.papers},
        network=params.network,
    )


def roles_text(design: Design) -> str:
    """Return which source is what the claims speak of, in one sentence for each target."""
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
        sentences.append(f"For {target}, MoCo is on {', '.join(parts) or 'no dataset'}.")
    return " ".join(sentences)


def claims_summary(claims: pd.DataFrame, paper: Literal["numbers", "verdicts", "nothing"]) -> pd.DataFrame:
    """Return ``claims_table`` as text, one row per claim; single comparisons are only in the CSV.

    ``paper`` says what of the paper stands beside the run: its words with the verdict on its tables and all numbers, without the
    numbers, or nothing.
    """
    whole = claims[claims["cell"] == "all"]
    columns = {("", "Claim"): whole["claim"], ("", "Claim tested"): whole["text"]}
    columns |= _columns("This run", whole, "", whole["one_encoder"] != "")
    # The paper has one encoder of each source.
    of_paper = _columns(HEADING, whole, "paper_", True)
    if paper == "numbers":
        columns |= {(HEADING, "Claim"): whole["paper_text"]} | of_paper
    elif paper == "verdicts":
        columns |= {
            (HEADING, "Claim"): whole["paper_text"],
            (HEADING, "Verdict"): of_paper[HEADING, "Verdict"],
        }
    return pd.DataFrame(columns)


def _columns(heading: str, whole: pd.DataFrame, prefix: str, one_encoder: pd.Series | bool) -> dict:
    """Return the columns of the run or of the paper, as text."""
    verdict = whole[f"{prefix}verdict"]
    effects = whole[[f"{prefix}{name}" for name in ("effect", "lower", "upper")]].to_numpy(dtype=float)
    about = one_encoder & ~verdict.str.startswith("cannot be tested")
    return {
        (heading, "Verdict"): verdict.mask(about, verdict + ", about these encoders"),
        (heading, "Effect"): [effect_text(*values) for values in effects],
        (heading, "p"): whole[f"{prefix}p"].map(p_value_text),
        (heading, "p against"): whole[f"{prefix}p_against"].map(p_value_text),
        (heading, "Comparisons"): whole[f"{prefix}remark"],
    }


if "snakemake" in globals():
    with in_one_line():
        main(snakemake.input, snakemake.output, snakemake.params)
