"""What tests share: the tiny run, made once for all that look at what a whole run leaves behind, and empty releases."""

import fcntl
import os
import shutil

import pytest
from running import TINY, snakemake


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The folder of a finished run of the tiny configuration; its chest dataset is not shareable.

    One of pytest-xdist's processes makes the run, and each of them works on a copy.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "made").exists():
            (shared / "run").mkdir()
            snakemake(*TINY, directory=shared / "run")
            (shared / "made").touch()
    return shutil.copytree(shared / "run", tmp_path_factory.mktemp("tiny") / "run", symlinks=True)


@pytest.fixture(scope="session")
def report(finished, tmp_path_factory):
    """The report of the finished run, an HTML file."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    snakemake("--report", path, *TINY, directory=finished)
    return path


@pytest.fixture(scope="session")
def empty_releases(tmp_path_factory):
    """Folders with the tables that the adapters look for, all of them empty."""
    root = tmp_path_factory.mktemp("releases")
    for name in (
        "data/vindr-spinexr/annotations/train.csv",
        "data/vindr-spinexr/annotations/test.csv",
        "data/mimic-cxr-jpg/mimic-cxr-2.0.0-chexpert.csv.gz",
        "data/mimic-cxr-jpg/mimic-cxr-2.0.0-metadata.csv.gz",
        "data/mimic-cxr-jpg/mimic-cxr-2.0.0-split.csv.gz",
        "data/imagenet/n01440764/0.jpg",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root
