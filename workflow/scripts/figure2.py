"""Figure 2: test AUROC by the percentage of labelled data, linear and end to end."""

import pandas as pd

from moco_transfer.plotting import style
from moco_transfer.plotting.label_fraction import draw_auroc_by_labels


def main(inputs, outputs, params) -> None:
    tables = [pd.read_csv(path, dtype={"percent": str}) for path in inputs.reference]
    figure = draw_auroc_by_labels(
        pd.concat([pd.read_parquet(path) for path in inputs.estimates], ignore_index=True),
        params.titles,
        params.sources,
        params.note,
        pd.concat(tables, ignore_index=True) if tables else None,
    )
    style.save(figure, outputs.pdf, outputs.svg, outputs.png)


main(snakemake.input, snakemake.output, snakemake.params)
