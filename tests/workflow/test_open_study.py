"""The configuration of the open study makes a cell of its results from the real radiographs, at reduced size."""

import os
from pathlib import Path

import pytest
import yaml
from running import ROOT, snakemake

from moco_transfer.statistics.auroc import average_auroc
from moco_transfer.statistics.predictions import read_split

RADIOGRAPHS = os.environ.get("MOCO_TRANSFER_OPEN_DATA")
CELL = "results/open-small/finetune/{0}/{1}/replicate1/linear/100pct/fold1/subset1/predictions.parquet"
CONFIGURATION = [ROOT / "config" / name for name in ("open-cpu.yaml", "open-copies.yaml", "open-small.yaml")]


@pytest.mark.skipif(
    RADIOGRAPHS is None,
    reason="MOCO_TRANSFER_OPEN_DATA names no folder with the copies of the open radiographs",
)
def test_a_cell_of_the_open_study(tmp_path):
    mine = tmp_path / "mine.yaml"
    roots = {"knee": "knee_chen", "child-chest": "chest_kermany"}
    short = {
        "datasets": {
            **{name: {"root": str(Path(RADIOGRAPHS, folder))} for name, folder in roots.items()},
            "natural": {"phantom": {"images": 200}},
        },
        "model": {"initial_weights": {"weights": {"epochs": 1}}},
        "pretraining": {"schedules": {"child-chest": {"epochs": 2}}},
    }
    mine.write_text(yaml.safe_dump(short))
    chests = [CELL.format("child-chest", source) for source in ("none", "child-chest")]
    knees = CELL.format("knee", "none")
    snakemake(*chests, knees, "--cores", "2", "--configfile", *CONFIGURATION, mine, directory=tmp_path)
    for path in (*chests, knees):
        (scored,) = read_split(tmp_path / path, "test").values()
        assert len(scored.labels) == 1656 if path == knees else 1600 < len(scored.labels) < 1800
        assert average_auroc(scored.labels, scored.scores, "weighted") > (0.52 if path == knees else 0.6)
