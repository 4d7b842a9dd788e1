"""How much the test AUROC differs between labelled subsets of one size."""

from moco_transfer.report.tables import write_table
from moco_transfer.statistics.controls import subset_scatter
from moco_transfer.statistics.evidence import read_all
from moco_transfer.tables.controls import subsets_summary


def main(inputs, outputs, params) -> None:
    scatter = subset_scatter(read_all(inputs.subsets), read_all(inputs.extra), params.level)
    write_table(
        subsets_summary(scatter),
        dict(outputs.items()),
        "Labelled subsets. The standard deviation of the test AUROC of linear finetuning between labelled subsets of one "
        f"size ({100 * (1 - 2 * params.level):g}% interval, taking AUROCs as normal), and what the run's own subsets alone "
        "would have said. Subsets come from the same training images, so that large ones overlap and scatter less than subsets "
        "of fresh images would.",
        params.note,
        scatter,
    )


main(snakemake.input, snakemake.output, snakemake.params)
