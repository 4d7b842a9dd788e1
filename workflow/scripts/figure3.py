"""Figure 3: literal SVCCA between datasets by layer, with its permutation null."""

import pandas as pd

from moco_transfer.plotting.similarity import draw_similarity_by_layer
from moco_transfer.report import style


def main(inputs, outputs, params) -> None:
    figure = draw_similarity_by_layer(pd.read_parquet(inputs[0]), params.titles, params.note)
    style.save(figure, outputs.pdf, outputs.svg, outputs.png)


main(snakemake.input, snakemake.output, snakemake.params)
