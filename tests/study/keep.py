"""Copy what docs/open-study.md needs from a finished run to docs/open-study/RUN/: numbers, tables and figures, no images or weights.

``python tests/study/keep.py results/open-cpu``
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pandas as pd

KEPT = Path(__file__).parents[2] / "docs/open-study"
FIGURES = ("figure2", "figure3", "components")  # those that show no radiographs


def keep(run: Path) -> Path:
    """Write the files of ``run``, a folder results/RUN, and return the folder that they are in."""
    folder = KEPT / run.name
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    for name in ("estimates", "covariance", "subsets"):
        tables = []
        for path in sorted(run.glob(f"evaluate/*/{name}.parquet")):
            table = pd.read_parquet(path)
            if "target" not in table:
                table.insert(0, "target", path.parent.name)
            tables.append(table)
        pd.concat(tables).to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")
    for table in sorted(run.glob("tables/*.csv")):
        shutil.copyfile(table, folder / "tables" / table.name)
    for figure in FIGURES:
        shutil.copyfile(run / f"figures/{figure}.png", folder / f"{figure}.png")
    return folder


if __name__ == "__main__":
    print(keep(Path(sys.argv[1])))
