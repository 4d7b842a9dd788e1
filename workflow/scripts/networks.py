"""How far each pretraining moved the network, layer by layer."""

import pandas as pd

from moco_transfer.plotting.networks import draw_moved_networks
from moco_transfer.report import style


def main(inputs, outputs, params) -> None:
    figure = draw_moved_networks(pd.read_parquet(inputs[0]), params.titles, params.sources, params.note)
    style.save(figure, outputs.pdf, outputs.svg, outputs.png)


main(snakemake.input, snakemake.output, snakemake.params)
