"""The environment files name the lock's versions, and the lock names no address."""

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


def locked_versions(python="3.11"):
    """Return the lock's version of each package on Linux under that Python."""
    versions = {}
    pattern = r"^([A-Za-z0-9._-]+)==(\S+)(?: ; (.*?))? \\$"
    for name, version, marker in re.findall(pattern, (ROOT / "requirements.txt").read_text(), re.MULTILINE):
        if "python_full_version >= '3.12'" not in marker:
            versions[name] = version
    return versions


def test_conda_pins_what_the_lock_pins_for_every_dependency():
    environment = yaml.safe_load((ROOT / "envs/moco-transfer.yaml").read_text())
    pinned = dict(re.sub(r"\[\w+\]", "", line).split("==") for line in environment["dependencies"][-1]["pip"])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {re.match(r"[A-Za-z0-9_-]+", line).group(0) for line in project["dependencies"]}
    locked = locked_versions()
    assert pinned == {name: locked[name] for name in wanted}


def test_the_version_is_the_same_everywhere():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest and newest[1] == version


def test_the_container_installs_the_lock():
    recipe = (ROOT / "envs/Dockerfile").read_text()
    assert "COPY requirements.txt" in recipe and "--require-hashes" in recipe


def test_the_lock_has_hashes_and_names_no_address():
    lock = (ROOT / "requirements.txt").read_text()
    assert "://" not in lock and "--index" not in lock and "--find-links" not in lock
    entries = re.split(r"\n(?=[A-Za-z0-9])", lock)
    assert all(
        "--hash=sha256:" in entry
        for entry in entries
        if "==" in entry.splitlines()[0] and not entry.startswith("#")
    )
    assert "+cpu" not in lock


@pytest.mark.parametrize(
    ("given", "root"),
    [
        ("/my data/nih", "/my data/nih"),
        ("my data", f"{ROOT}/my data"),
        ("~/my data", "~/my data"),
        ('/it\'s "a" {b}: c, \\d #e', '/it\'s "a" {b}: c, \\d #e'),
    ],
)
def test_make_real_hands_on_any_folder(given, root):
    lines = subprocess.run(
        ["make", "--dry-run", "real", f"DATA={given}"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    command = shlex.split(next(line for line in lines if "nih-sample.yaml" in line))
    assert yaml.safe_load(command[-1].removeprefix("datasets=")) == {"chest": {"root": root}}
