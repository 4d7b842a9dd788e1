"""Run every benchmark; print one table per part of the project and write it to results/bench/<part>.csv."""

from __future__ import annotations

from pathlib import Path

import augmentation
import aurocs
import decoding
import indexing
import linear
import moco_step
import pandas as pd
import planning
import similarity
import startup
import store

from moco_transfer.files import write_csv

PARTS = {
    "data": (decoding, store, indexing),
    "training": (augmentation, moco_step, linear, startup),
    "statistics": (aurocs, similarity),
    "planning": (planning,),
}
FOLDER = Path(__file__).parents[2] / "results" / "bench"
COLUMNS = ("measure", "ours", "reference", "unit", "ratio", "goal")


def main() -> None:
    """Run the benchmarks and print missed goals; a missed goal is no error, because machines differ."""
    for part, modules in PARTS.items():
        measures = [measure for module in modules for measure in module.measure()]
        table = pd.DataFrame(
            {column: [getattr(measure, column) for measure in measures] for column in COLUMNS}
        )
        write_csv(table, FOLDER / f"{part}.csv", float_format="%.4g")
        print(table.to_string(index=False, float_format="{:.2f}".format))
        for measure in table[table["ratio"] < table["goal"]]["measure"]:
            print(f"goal missed: {measure}")
        print(f"written to results/bench/{part}.csv")


if __name__ == "__main__":
    main()
