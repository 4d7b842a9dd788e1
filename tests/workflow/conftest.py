"""The tiny run, made once for all tests that look at what a whole run leaves behind."""

import pytest
from running import ROOT, snakemake

TINY = ("--cores", "2", "--configfile", ROOT / "config/demo.yaml", ROOT / "tests/workflow/tiny.yaml")


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The folder of a finished run of the tiny configuration; its chest dataset is not shareable."""
    folder = tmp_path_factory.mktemp("tiny")
    snakemake(*TINY, directory=folder)
    return folder
