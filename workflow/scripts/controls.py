"""The controls' table: do domain, size or compute make the difference?"""

from moco_transfer.config.experiment import Controls
from moco_transfer.report.tables import write_table
from moco_transfer.statistics.controls import control_questions, controls_table
from moco_transfer.statistics.evidence import read_run
from moco_transfer.tables.controls import controls_summary


def main(inputs, outputs, params) -> None:
    _, evidence = read_run(inputs.estimates, inputs.covariance, inputs.subsets, inputs.extra)
    questions = control_questions(
        Controls.model_validate(params.controls), params.percents, params.sources_of_one
    )
    answers = controls_table(list(questions), evidence, params.level)
    write_table(
        controls_summary(answers),
        dict(outputs.items()),
        "The controls. Each question says in what its two sources differ; 'no' means that the opposite is shown. Effects are "
        f"differences in test AUROC with their {100 * (1 - 2 * params.level):g}% interval, which is not adjusted; p-values are "
        "one-sided, Holm's within a question: p for yes, 'p against' for no.",
        params.note,
        answers,
    )


main(snakemake.input, snakemake.output, snakemake.params)
