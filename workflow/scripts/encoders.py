"""The encoders table: what each encoder that MoCo does not train here is, and where its weights come from.

Sources of MoCo have the architecture and the input of the initial weights, from which they start.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors import safe_open

from moco_transfer import checksums
from moco_transfer.config.encoders import Network
from moco_transfer.config.experiment import INITIAL
from moco_transfer.errors import in_one_line
from moco_transfer.report.names import source_title
from moco_transfer.report.tables import write_table

# What batch normalisation counts is stored beside the parameters.
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def main(inputs, outputs, params) -> None:
    records = encoder_records(params.encoders, inputs, params.weights, params.trained_on)
    write_table(
        encoder_summary(records),
        outputs,
        "The encoders. No MoCo and every source of MoCo start from the initial weights, other encoders from "
        "weights of their own. Each takes the same centre crop of an image, resized and normalised; means "
        "and standard deviations are for values from 0 to 1. The last column names the datasets that the "
        "weights are declared to have seen (trained_on); if it is empty, nothing is declared. SHA-256 is that "
        "of the file of weights.",
        params.note,
        records,
    )


def encoder_records(
    names: Sequence[str], paths: Sequence[str | Path], weights: Sequence[str], trained_on: Sequence[list[str]]
) -> pd.DataFrame:
    """Return one row per encoder: its network, from its file, and its origin, from the configuration.

    Raises UserError if a file is damaged.
    """
    rows = []
    for name, path, origin, seen in zip(names, paths, weights, trained_on, strict=True):
        network, row = _read_encoder(Path(path))
        row = {"source": name, "architecture": network.name, "weights": origin} | row
        row |= {"input_pixels": network.size, "channels": network.channels}
        row |= {key: " ".join(f"{value:g}" for value in getattr(network, key)) for key in ("mean", "std")}
        rows.append(row | {"trained_on": ", ".join(seen)})
    return pd.DataFrame(rows)


def _read_encoder(path: Path) -> tuple[Network, dict[str, Any]]:
    checksums.check(path)
    with safe_open(path, framework="numpy") as file:
        about = json.loads(file.metadata()["about"])
        sizes = {name: math.prod(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    parameters = sum(size for name, size in sizes.items() if not name.endswith(BUFFERS))
    row = {"sha256": about.get("weights_sha256", ""), "width": about["width"], "parameters": parameters}
    return Network.model_validate(about["network"]), row


def encoder_summary(records: pd.DataFrame) -> pd.DataFrame:
    """Return ``encoder_records`` as text."""
    return pd.DataFrame(
        [
            {
                "Source": "Initial weights" if row.source == INITIAL else source_title(row.source, "encoder"),
                "Architecture": row.architecture,
                "Weights": row.weights,
                "SHA-256": row.sha256,
                "Input": f"{row.channels} x {row.input_pixels} x {row.input_pixels}",
                "Mean": row.mean,
                "Standard deviation": row.std,
                "Features": f"{row.width:,}",
                "Parameters": f"{row.parameters:,}",
                "Trained on": row.trained_on,
            }
            for row in records.itertuples()
        ]
    )


if "snakemake" in globals():
    with in_one_line():
        main(snakemake.input, snakemake.output, snakemake.params)
