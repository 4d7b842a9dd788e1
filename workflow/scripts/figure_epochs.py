"""Figures 4 and 5: test AUROC of one target by the epochs of end-to-end finetuning."""

import pandas as pd

from moco_transfer.plotting.epochs import draw_auroc_by_epochs
from moco_transfer.report import style


def main(inputs, outputs, params) -> None:
    figure = draw_auroc_by_epochs(
        pd.read_parquet(inputs.estimates), params.target, params.titles, params.sources, params.note
    )
    style.save(figure, outputs.pdf, outputs.svg, outputs.png)


main(snakemake.input, snakemake.output, snakemake.params)
