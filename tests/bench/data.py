"""How fast and in how much memory a release is read: every benchmark of the data, as a table and in results/bench/data.csv."""

from __future__ import annotations

from pathlib import Path

import decoding
import indexing
import pandas as pd
import store

from moco_transfer.atomic import write_csv

TABLE = Path(__file__).parents[2] / "results" / "bench" / "data.csv"
COLUMNS = ("measure", "ours", "reference", "unit", "ratio", "goal")


def main() -> None:
    """Run the benchmarks and say which goals are missed; a missed goal is no error, for machines differ."""
    measures = [measure for module in (decoding, store, indexing) for measure in module.measure()]
    table = pd.DataFrame({column: [getattr(measure, column) for measure in measures] for column in COLUMNS})
    write_csv(table, TABLE, float_format="%.4g")
    print(table.to_string(index=False, float_format="{:.2f}".format))
    for measure in table[table["ratio"] < table["goal"]]["measure"]:
        print(f"goal missed: {measure}")
    print(f"written to {TABLE.relative_to(Path.cwd()) if TABLE.is_relative_to(Path.cwd()) else TABLE}")


if __name__ == "__main__":
    main()
