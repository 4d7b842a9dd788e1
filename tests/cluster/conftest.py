"""The pretended cluster, started once for all tests, and what has run on it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from slurm_node import SlurmNode

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "config/demo.yaml", ROOT / "tests/cluster/dozen.yaml"
TARGETS = (
    "results/dozen/finetune/spine/none/replicate1/linear/100pct/fold1/subset1/predictions.parquet",
    "results/dozen/finetune/spine/chest/replicate1/linear/100pct/fold1/subset1/predictions.parquet",
    "results/dozen/finetune/spine/chest/replicate1/end_to_end/100pct/fold1/subset1/predictions.parquet",
    "results/dozen/tables/table1.md",
)


def snakemake(folder: Path, *arguments: str, targets: Sequence[str] = TARGETS) -> subprocess.Popen:
    """Start Snakemake in ``folder``; what it prints is appended to its file snakemake.log."""
    command = [str(Path(sys.executable).with_name("snakemake")), "--snakefile", str(ROOT / "Snakefile")]
    command += [*targets, *arguments, "--configfile", *map(str, CONFIG)]
    with (folder / "snakemake.log").open("a") as log:
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)


def submitted(folder: Path, *more: str, targets: Sequence[str] = TARGETS) -> subprocess.Popen:
    """Start Snakemake in ``folder`` with the Slurm profile."""
    # The first look at jobs' states after 40 s, as the plugin has it, would be most of the test's time.
    often = "--slurm-init-seconds-before-status-checks=3"
    options = (
        "--workflow-profile",
        str(ROOT / "profiles/slurm"),
        often,
        "--latency-wait=5",
        "--verbose",
        *more,
    )
    return snakemake(folder, *options, targets=targets)


def finish(process: subprocess.Popen, folder: Path, seconds: float = 600) -> None:
    """Wait for ``process``, which must succeed."""
    status = process.wait(seconds)
    assert status == 0, (folder / "snakemake.log").read_text()[-8000:]


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    with SlurmNode(tmp_path_factory.mktemp("slurm")) as node:
        yield node


@pytest.fixture(autouse=True)
def what_slurm_says(cluster):
    """Print what the cluster has to say, which pytest shows of tests that fail."""
    yield
    print(cluster.told())


@pytest.fixture(scope="session")
def undisturbed(cluster, tmp_path_factory):
    """The folder of a whole run that was submitted to the cluster."""
    folder = tmp_path_factory.mktemp("undisturbed")
    finish(submitted(folder), folder)
    return folder
