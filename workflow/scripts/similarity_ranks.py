"""Does similarity predict the best source? The table of who ranks first, and the points behind it."""

import pandas as pd

from moco_transfer.plotting.source_ranking import draw_gain_by_similarity
from moco_transfer.report import style
from moco_transfer.report.tables import write_table
from moco_transfer.statistics.evidence import read_run
from moco_transfer.statistics.similarity_ranks import source_gains, source_ranks
from moco_transfer.tables.source_ranking import ranks_summary


def main(inputs, outputs, params) -> None:
    estimates, evidence = read_run(inputs.estimates, inputs.covariance, inputs.subsets, inputs.extra)
    gains = source_gains(
        pd.read_parquet(inputs.similarity), estimates, evidence, params.datasets, params.level
    )
    ranks = source_ranks(gains, evidence, params.level)
    write_table(
        ranks_summary(ranks, params.titles),
        {kind: path for kind, path in outputs.items() if kind in ("csv", "md", "tex", "html")},
        "Does similarity predict the best source? Out-of-domain sources of one dataset, linear, similarity at the deepest "
        "layer; sources of several datasets have no single similarity and are left out. Differences in test AUROC with their "
        f"{100 * (1 - 2 * params.level):g}% interval. So few sources prove nothing: of two, a measure that knows nothing "
        "names the best half of the time, and rows of one target share their datasets.",
        params.note,
        ranks,
    )
    figure = draw_gain_by_similarity(gains, params.titles, params.sources, params.note)
    style.save(figure, outputs.pdf, outputs.svg, outputs.png)


main(snakemake.input, snakemake.output, snakemake.params)
