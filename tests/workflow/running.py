"""Runs Snakemake as a user does, in a folder of the test's own."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TINY = ("--cores", "2", "--configfile", ROOT / "config/demo.yaml", ROOT / "tests/workflow/tiny.yaml")


def snakemake(*arguments, directory, fails=False):
    """Run Snakemake on the repository's Snakefile in ``directory``; its exit status must be as expected."""
    command = [Path(sys.executable).with_name("snakemake"), "--snakefile", ROOT / "Snakefile", *arguments]
    run = subprocess.run(
        list(map(str, command)), cwd=directory, capture_output=True, text=True, timeout=900, check=False
    )
    assert (run.returncode != 0) == fails, run.stdout[-6000:] + run.stderr[-6000:]
    return run


def planned(output):
    """Return the number of jobs by rule from a dry run's table of job counts."""
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", output, flags=re.MULTILINE)}
