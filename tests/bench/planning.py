"""Planning: how long Snakemake takes to find every job of the paper's grid and of one ten times as large.

A dry run is timed as a user starts it, and so is `snakemake --version`: the difference is due to this
workflow. The releases are made up, with empty tables, because planning reads none. Memory is measured in a
process of its own.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from measure import Measure, best_seconds

from moco_transfer.config.composition import composed
from moco_transfer.data.releases import RELEASES

ROOT = Path(__file__).parents[2]
PLAN = ("--snakefile", str(ROOT / "Snakefile"), "--dry-run", "--quiet", "all")
GRIDS = {
    "the paper's grid": ((), 2),
    "one ten times as large": (("--configfile", str(ROOT / "tests/workflow/tenfold.yaml")), 15),
}
MEGABYTES = 1000
# Not ru_maxrss, which a process inherits from the one that starts it.
ALONE = """
import atexit, sys
from snakemake.cli import main
status = open("/proc/self/status")
peak = lambda: next(line for line in status if line.startswith("VmHWM")).split()[1]
atexit.register(lambda: print(peak(), file=sys.stderr))
main()
"""


def measure() -> list[Measure]:
    """Return the seconds beyond those of `snakemake --version`, and the megabytes, with their limits."""
    snakemake = str(Path(sys.executable).with_name("snakemake"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_up_releases(folder)
        commands = [[snakemake, "--version"], *([snakemake, *PLAN, *files] for files, _ in GRIDS.values())]
        start, *plans = best_seconds(
            *(lambda command=command: _run(command, folder) for command in commands), repeats=3
        )
        measures = []
        for (grid, (files, limit)), seconds in zip(GRIDS.items(), plans, strict=True):
            told = _run([sys.executable, "-c", ALONE, *PLAN, *files], folder).splitlines()
            megabytes = int(told[-1]) * 1024 / 1e6
            measures += [
                Measure(f"planning {grid}, beyond start-up", seconds - start, limit, "s", 1),
                Measure(f"planning {grid}, peak memory", megabytes, MEGABYTES, "MB", 1),
            ]
        return measures


def make_up_releases(folder: Path) -> None:
    """Make in ``folder`` the empty files and folders that the adapters of config.yaml look for."""
    config = composed({})
    for dataset in config["datasets"].values():
        for pattern in RELEASES[dataset["adapter"]].tables:
            path = folder / dataset["root"] / pattern.format(labeler="chexpert").replace("*", "0")
            if ".csv" in path.name:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
            else:
                path.mkdir(parents=True)


def _run(command: list[str], folder: Path) -> str:
    """Run ``command`` in ``folder``; return what it writes to standard error."""
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {run.stderr}")
    return run.stderr
