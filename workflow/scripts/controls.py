"""The controls table: does domain, size or compute make the difference?"""

import pandas as pd

from moco_transfer.config.analysis import Controls
from moco_transfer.errors import in_one_line
from moco_transfer.report.names import MODE_LABELS, left_out_note
from moco_transfer.report.tables import effect_text, p_value_text, write_table
from moco_transfer.statistics.controls import control_questions, controls_table
from moco_transfer.statistics.evidence import read_run

COLUMNS = ["Control", "Question", "Cell", "Difference in AUROC", "Effect", "p", "p against", "Answer"]


def main(inputs, outputs, params) -> None:
    _, evidence = read_run(
        inputs.estimates, inputs.covariance, inputs.subsets, inputs.extra, params.seen, params.trained
    )
    controls = Controls.model_validate(params.controls)
    questions = control_questions(controls, params.percents, params.sources_of_one)
    answers = controls_table(list(questions), evidence, params.level)
    write_table(
        controls_summary(answers),
        outputs,
        "The controls. Each question says how its two sources differ; 'no' means that the opposite is "
        f"shown. Effects are differences in test AUROC with their {100 * (1 - 2 * params.level):g}% "
        "intervals, which are not adjusted. P-values are one-sided, with Holm's correction within a "
        "question: 'p' is for yes, 'p against' for no." + left_out_note(params.seen),
        params.note,
        answers,
    )


def controls_summary(controls: pd.DataFrame) -> pd.DataFrame:
    """Return ``controls_table`` as text, one row per cell."""
    rows = [
        (
            row.control,
            row.question,
            f"{row.target} {row.percent}%, {MODE_LABELS[row.mode]}",
            f"{row.a} minus {row.b}",
            effect_text(row.effect, row.lower, row.upper),
            p_value_text(row.p),
            p_value_text(row.p_against),
            row.answer,
        )
        for row in controls.itertuples()
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


if "snakemake" in globals():
    with in_one_line():
        main(snakemake.input, snakemake.output, snakemake.params)
