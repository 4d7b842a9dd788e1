"""What tests share: the tiny run, made once for all that look at what a whole run leaves behind, and empty releases."""

import pytest
from running import TINY, snakemake


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items):
    """Keep the tests of the finished run in one process, which makes it once."""
    for item in items:
        if "finished" in item.fixturenames:
            item.add_marker(pytest.mark.xdist_group("finished"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The folder of a finished run of the tiny configuration; its chest dataset is not shareable."""
    folder = tmp_path_factory.mktemp("tiny")
    snakemake(*TINY, directory=folder)
    return folder


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
