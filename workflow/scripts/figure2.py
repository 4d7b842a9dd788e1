"""Figure 2: test AUROC by the percentage of labelled data, linear and end to end."""

import pandas as pd

from moco_transfer.plotting.label_fraction import draw_auroc_by_labels
from moco_transfer.report import style
from moco_transfer.statistics.evidence import read_reference


def main(inputs, outputs, params) -> None:
    figure = draw_auroc_by_labels(
        pd.concat([pd.read_parquet(path) for path in inputs.estimates], ignore_index=True),
        params.titles,
        params.sources,
        params.note,
        read_reference(*inputs.reference) if inputs.reference else None,
    )
    style.save(figure, outputs.pdf, outputs.svg, outputs.png)


main(snakemake.input, snakemake.output, snakemake.params)
