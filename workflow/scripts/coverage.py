"""How often the intervals of simulated AUROCs hold the truth."""

import pandas as pd

from moco_transfer.plotting.coverage import draw_coverage
from moco_transfer.report import style


def main(inputs, outputs, params) -> None:
    figure = draw_coverage(pd.read_parquet(inputs.coverage), params.percentiles)
    style.save(figure, outputs.pdf, outputs.svg, outputs.png)


main(snakemake.input, snakemake.output, snakemake.params)
