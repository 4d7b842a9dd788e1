"""The similarity of datasets by measures on shared channels, with nulls and ceilings."""

import pandas as pd

from moco_transfer.plotting.similarity import draw_similarity_measures
from moco_transfer.report import style


def main(inputs, outputs, params) -> None:
    figure = draw_similarity_measures(pd.read_parquet(inputs[0]), params.titles, params.note)
    style.save(figure, outputs.pdf, outputs.svg, outputs.png)


main(snakemake.input, snakemake.output, snakemake.params)
