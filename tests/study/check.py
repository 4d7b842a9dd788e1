"""Train a fixed part of the open study again and compare its AUROCs with the stored ones (``make study-check DATA=DIR``).

The part is the first encoder of one source and the initial weights that it starts from, with linear heads on the first labelled subset. On
the same kind of processor the AUROCs are equal. Another processor rounds differently, so that chance gives another encoder: then a new
AUROC may differ from the stored one as much as AUROCs of the stored encoders and subsets differ among themselves. With 1% of the labels,
that is so much that a comparison would say nothing.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from moco_transfer.statistics.auroc import average_auroc
from moco_transfer.statistics.predictions import read_split

ROOT = Path(__file__).parents[2]
STORED = ROOT / "docs/open-study/open-small/subsets.csv"
CONFIGURATION = ("config/open-cpu.yaml", "config/open-copies.yaml", "config/open-small.yaml")
TARGET, SOURCES, PERCENTS = "child-chest", ("none", "child-chest"), ("10", "100")
ERROR = 0.001
"""The chance that a sound rerun is called another result, over all cells."""


def compared(stored: pd.DataFrame, new: dict[tuple[str, str], float]) -> pd.DataFrame:
    """Return stored and new AUROC by source and percent, how far they may be apart, and whether they are not.

    ``stored`` has the columns source, percent, subset and auroc of one target's linear heads. Two AUROCs of one source with different
    encoders and subsets have a difference of the variance 2 s^2, with s^2 pooled over the stored sources of a percentage, so that it is
    compared with Student's distribution, for ``ERROR`` divided by the number of cells.
    """
    from scipy.stats import t

    rows = []
    for (source, percent), value in new.items():
        alike = stored[stored["percent"] == percent]
        freedom = len(alike) - alike["source"].nunique()
        apart = alike["auroc"] - alike.groupby("source")["auroc"].transform("mean")
        allowed = t.ppf(1 - ERROR / len(new) / 2, freedom) * np.sqrt(2 * (apart**2).sum() / freedom)
        first = alike.loc[(alike["source"] == source) & (alike["subset"] == 1), "auroc"].item()
        rows.append((source, percent, first, value, allowed, abs(value - first) <= allowed))
    return pd.DataFrame(rows, columns=["source", "percent", "stored", "new", "allowed", "agrees"])


def main(data: Path) -> None:
    stored = pd.read_csv(STORED, dtype={"percent": str})
    stored = stored[(stored["target"] == TARGET) & (stored["mode"] == "linear")]
    mine = ROOT / "results/study-check.yaml"
    roots = {"knee": data / "knee_chen", TARGET: data / "chest_kermany"}
    overlay = {"run": "study-check", "datasets": {name: {"root": str(path)} for name, path in roots.items()}}
    mine.write_text(yaml.safe_dump(overlay))
    cell = "results/study-check/finetune/{}/{}/replicate1/linear/{}pct/fold1/subset1/predictions.parquet"
    paths = {
        (source, percent): cell.format(TARGET, source, percent) for source in SOURCES for percent in PERCENTS
    }
    snakemake = Path(sys.executable).with_name("snakemake")
    subprocess.run([snakemake, *paths.values(), "--configfile", *CONFIGURATION, mine], cwd=ROOT, check=True)
    new = {}
    for cell, path in paths.items():
        (scored,) = read_split(ROOT / path, "test").values()
        new[cell] = average_auroc(scored.labels, scored.scores, "weighted")
    table = compared(stored, new)
    print(table.to_string(index=False, float_format="{:.4f}".format))
    if not table["agrees"].all():
        sys.exit("study-check: AUROCs differ from those of docs/open-study.md by more than chance explains")
    print("study-check: agrees with docs/open-study.md")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
