"""The curves of every training: a table for each kind from the metrics of its trainings, and the page that shows them."""

import pandas as pd

from moco_transfer.plotting.training_curves import draw_training_curves
from moco_transfer.report import style


def read_curves(paths: list[str], names: list[dict]) -> pd.DataFrame:
    """Return the metrics of all trainings of a kind, each with its number and with what names it."""
    tables = [
        pd.read_csv(path).assign(training=number, **name)
        for number, (path, name) in enumerate(zip(paths, names, strict=True))
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def main(inputs, outputs, params) -> None:
    curves = {kind: read_curves(inputs[kind], names) for kind, names in params.trainings.items()}
    figure = draw_training_curves(curves, params.sources, params.note)
    style.save(figure, outputs.pdf, outputs.svg, outputs.png)


main(snakemake.input, snakemake.output, snakemake.params)
