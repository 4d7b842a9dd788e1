"""The full-size experiment that needs no credentials: what it plans with NIH ChestX-ray14 alone."""

import re

import pytest
from running import ROOT, snakemake

pytestmark = pytest.mark.workflow
NIH = ("-n", "--configfile", ROOT / "config/nih.yaml")


@pytest.fixture
def release(tmp_path):
    """A folder with what the adapter looks for, all of it empty."""
    root = tmp_path / "data/nih-chestxray14"
    (root / "images_001/images").mkdir(parents=True)
    for name in ("Data_Entry_2017_v2020.csv", "train_val_list.txt", "test_list.txt"):
        (root / name).touch()
    return tmp_path


def test_nih_alone_plans_the_chest_half_of_the_papers_grid(release):
    run = snakemake(*NIH, "--printshellcmds", directory=release)
    counts = {
        rule: int(number) for rule, number in re.findall(r"^(\w+) +(\d+)$", run.stdout, flags=re.MULTILINE)
    }
    # 4 percentages x 3 subsets x (none, chest), and limited at three of them
    assert counts["linear"] == 24 + 9
    assert (counts["end_to_end"], counts["end_to_end_kept"]) == (16, 8)
    assert (counts["pretrain"], counts["pretrain_subset"]) == (1, 9)
    assert (counts["subset"], counts["index"], counts["phantom"]) == (12, 2, 1)
    # figures 1 to 3 and one of epochs, the similarity measures; tables 1 and 2 and the claims
    for rule in ("figure1", "figure2", "figure3", "figure_epochs", "similarity_measures", "augmentations"):
        assert counts[rule] == 1, rule
    assert counts["training_curves"] == counts["networks"] == counts["advice"] == 1
    # One out-of-domain source is nothing to rank.
    assert "similarity_ranks" not in counts
    for rule in ("table1", "table_aurocs", "claims"):
        assert counts[rule] == 1, rule
    assert "vindr" not in run.stdout + run.stderr


def test_without_the_release_the_plan_says_where_to_get_it(tmp_path):
    run = snakemake(*NIH, directory=tmp_path, fails=True)
    for part in ("dataset 'chest', NIH ChestX-ray14", "https://nihcc.app.box.com/v/ChestXray-NIHCC"):
        assert part in run.stdout + run.stderr
    assert "spine" not in run.stdout + run.stderr
