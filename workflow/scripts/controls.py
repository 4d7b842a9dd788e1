"""The controls table: does domain, size or compute make the difference?"""

from collections.abc import Sequence

import pandas as pd

from moco_transfer.config.analysis import Controls
from moco_transfer.config.training import Schedule
from moco_transfer.data.labels import split_rows
from moco_transfer.errors import in_one_line
from moco_transfer.report.names import MODE_LABELS, left_out_note
from moco_transfer.report.tables import effect_text, p_value_text, write_table
from moco_transfer.statistics.controls import Pretrainings, control_questions, controls_table
from moco_transfer.statistics.evidence import read_run

ABOUT_ENCODERS = ", about these encoders"
COLUMNS = ["Control", "Question", "Cell", "Difference in AUROC", "Effect", "p", "p against", "Answer"]


def main(inputs, outputs, params) -> None:
    _, evidence = read_run(
        inputs.estimates, inputs.covariance, inputs.subsets, inputs.extra, params.seen, params.trained
    )
    controls = Controls.model_validate(params.controls)
    questions = control_questions(
        controls,
        params.percents,
        params.sources_of_one,
        read_pretrainings(params, inputs.splits),
        params.augmented,
    )
    answers = controls_table(questions, evidence, params.level)
    write_table(
        controls_summary(answers),
        outputs,
        "The controls. Each question says how its two sources differ; 'no' means that the opposite is "
        f"shown. Effects are differences in test AUROC with their {100 * (1 - 2 * params.level):g}% "
        "intervals, which are not adjusted. P-values are one-sided, with Holm's correction within a "
        "question: 'p' is for yes, 'p against' for no."
        + _encoders_note(answers)
        + left_out_note(params.seen),
        params.note,
        answers,
    )


def read_pretrainings(params, splits: Sequence[str]) -> Pretrainings:
    """Return what tells the MoCo trainings apart; ``splits`` are the files of ``params.datasets``, in the same order."""
    images = {
        dataset: len(split_rows(path, params.pretrained_on))
        for dataset, path in zip(params.datasets, splits, strict=True)
    }
    schedules = {name: Schedule.model_validate(each) for name, each in params.schedules.items()}
    return Pretrainings(images, schedules, params.queue)


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
            f"{row.answer}{ABOUT_ENCODERS if row.one_encoder else ''}",
        )
        for row in controls.itertuples()
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _encoders_note(controls: pd.DataFrame) -> str:
    """Return why some answers are about encoders, and not about sources."""
    if not controls["one_encoder"].any():
        return ""
    return (
        " Answers 'about these encoders' rest on a single encoder of a source; another one, from the same images, "
        "might give another answer (pretraining.replicates)."
    )


if "snakemake" in globals():
    with in_one_line():
        main(snakemake.input, snakemake.output, snakemake.params)
