"""``make new`` and the dry run of what it wrote, as a user types them."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from running import ROOT, planned, snakemake

pytestmark = pytest.mark.workflow


def make(directory, *arguments):
    """Run ``make new`` in ``directory`` with the Python of the tests."""
    command = [
        "make",
        "-f",
        ROOT / "Makefile",
        "new",
        "READY=",
        f"BIN={Path(sys.executable).parent}",
        *arguments,
    ]
    return subprocess.run(
        list(map(str, command)),
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(ROOT / "workflow")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def folder(tmp_path):
    """Images and a table with semicolons, in a folder whose name needs quotes everywhere."""
    folder = tmp_path / 'Bob\'s "spines" #1 äö'
    folder.mkdir()
    names = [f"{number}.png" for number in range(90)]
    for number, name in enumerate(names):
        Image.fromarray(np.full((20, 20), 2 * number, np.uint8)).save(folder / name)
    table = pd.DataFrame(
        {"Bild": names, "Patient": [n // 2 for n in range(90)], "Bruch": ["ja", "nein", "nein"] * 30}
    )
    table.to_csv(tmp_path / "Bob's table; 1.csv", sep=";", index=False)
    return folder


def test_make_new_and_then_the_dry_run(folder):
    directory = folder.parent
    run = make(directory, f"FOLDER={folder}", f"TABLE={directory}/Bob's table; 1.csv", "RUN=spines")
    assert run.returncode == 0, run.stderr
    assert "Please check" in run.stdout or "Then run everything" in run.stdout
    commands = [shlex.split(line)[1:] for line in run.stdout.splitlines() if "--configfile" in line]
    card, everything = [planned(snakemake(*each, "-n", directory=directory).stdout) for each in commands]
    assert everything["index"] == everything["data_card"] == 1
    # Few images are tested in five folds, and MoCo on them sees the training images of one fold.
    assert everything["pretrain"] == everything["split"] == 5
    assert everything["subset"] == 5 * 9
    assert card["data_card"] == 1
    assert "pretrain" not in card

    again = make(directory, f"FOLDER={folder}", "RUN=spines")
    assert again.returncode != 0
    assert "it is there already" in again.stderr


def test_make_new_without_a_folder_says_what_it_needs(tmp_path):
    run = make(tmp_path)
    assert run.returncode != 0
    assert "make new FOLDER=DIR" in run.stdout
