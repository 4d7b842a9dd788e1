"""Another repository imports the workflow as a module, with this package installed or not."""

import os
import shutil
import subprocess
import sys
import sysconfig

import pytest
import yaml
from running import ROOT, TINY
from snakemake.utils import update_config

pytestmark = pytest.mark.workflow
SNAKEFILE = f"""
configfile: "mine.yaml"

module moco:
    snakefile: "{ROOT}/Snakefile"
    config: config

use rule * from moco
"""


@pytest.fixture
def importing(finished, tmp_path):
    """A repository that imports the workflow, with the results of the tiny run; its configuration is an overlay."""
    shutil.copytree(finished, tmp_path, symlinks=True, dirs_exist_ok=True)
    config = {}
    for path in TINY[3:]:
        update_config(config, yaml.safe_load(path.read_text()))
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    return tmp_path


def run(folder, *arguments, installed):
    """Run Snakemake; not installed: Python ignores the .pth file that an editable installation leaves."""
    python = [sys.executable] if installed else [sys.executable, "-S"]
    known = {} if installed else {"PYTHONPATH": sysconfig.get_paths()["purelib"]}
    command = [*python, "-m", "snakemake", "--rerun-triggers", "mtime", "params", "input", "--cores", "2"]
    return subprocess.run(
        [*command, *arguments],
        cwd=folder,
        env={**os.environ, **known},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("installed", [True, False])
def test_results_are_the_same_and_nothing_else_runs_again(importing, installed):
    path = importing / "results/tiny/tables/claims.csv"
    before = path.read_bytes()
    path.unlink()
    made = run(importing, installed=installed)
    assert made.returncode == 0, made.stderr
    assert path.read_bytes() == before
    assert (
        "3 of 3 steps (100%) done" in made.stdout + made.stderr
    )  # the table, the report, and the target `all`


def test_a_script_finds_those_beside_it(importing):
    """``advice.py`` imports ``decide.py``, and that ``claims.py`` and ``controls.py``."""
    path = importing / "results/tiny/tables/advice.csv"
    before = path.read_bytes()
    path.unlink()
    made = run(importing, "results/tiny/tables/advice.csv", installed=False)
    assert made.returncode == 0 and path.read_bytes() == before, made.stderr
    assert "1 of 1 steps (100%) done" in made.stdout + made.stderr


def test_a_new_stage_runs_without_the_package(importing):
    target = "results/tiny/evaluate/coverage.parquet"
    made = run(importing, target, "--config", 'evaluation={"replicates": 10}', installed=False)
    assert made.returncode == 0 and (importing / target).exists(), made.stderr
