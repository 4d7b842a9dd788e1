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
SNAKEFILE = """
configfile: "mine.yaml"

module moco:
    snakefile: {place}
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
    (tmp_path / "Snakefile").write_text(SNAKEFILE.format(place=f'"{ROOT}/Snakefile"'))
    return tmp_path


@pytest.fixture
def hosted(tmp_path_factory):
    """Variables with which git finds this repository, tagged v1, as someone/moco-transfer on GitHub; Snakemake's cache is empty."""
    folder = tmp_path_factory.mktemp("host")
    repository = folder / "someone" / "moco-transfer"
    for name in ("workflow", "config", "envs"):
        shutil.copytree(ROOT / name, repository / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", repository)
    author = ("-c", "user.name=Someone", "-c", "user.email=someone@example.org")
    for command in (["init"], ["add", "."], [*author, "commit", "--message", "all"], ["tag", "v1"]):
        subprocess.run(["git", *command], cwd=repository, check=True, capture_output=True)
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{folder.as_uri()}/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/",
        "XDG_CACHE_HOME": str(folder / "cache"),
    }


def run(folder, *arguments, installed, **variables):
    """Run Snakemake; not installed: Python ignores the .pth file that an editable installation leaves."""
    python = [sys.executable] if installed else [sys.executable, "-S"]
    known = variables if installed else {"PYTHONPATH": sysconfig.get_paths()["purelib"], **variables}
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


def test_the_module_may_come_from_github(importing, hosted):
    """As `snakedeploy deploy-workflow` writes it. Scripts, the package and the parts of the configuration come from the tag."""
    place = 'github("someone/moco-transfer", path="Snakefile", tag="v1")'
    (importing / "Snakefile").write_text(SNAKEFILE.format(place=place))
    path = importing / "results/tiny/tables/advice.csv"
    before = path.read_bytes()
    path.unlink()
    made = run(importing, "results/tiny/tables/advice.csv", installed=False, **hosted)
    assert made.returncode == 0 and path.read_bytes() == before, made.stderr


def test_a_new_stage_runs_without_the_package(importing):
    target = "results/tiny/evaluate/coverage.parquet"
    made = run(importing, target, "--config", 'evaluation={"replicates": 10}', installed=False)
    assert made.returncode == 0 and (importing / target).exists(), made.stderr
