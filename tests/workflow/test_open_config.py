"""The full-size experiment on open radiographs: what it plans with stand-ins, and what it says without any."""

import pytest
from running import ROOT, planned, snakemake

pytestmark = pytest.mark.workflow
OPEN = ("-n", "--configfile", ROOT / "config/open.yaml")


@pytest.fixture
def releases(tmp_path):
    """A folder with a stand-in of each release where config/open.yaml looks for it."""
    files = [
        *(
            f"nih-chestxray14/{name}"
            for name in ("Data_Entry_2017_v2020.csv", "train_val_list.txt", "test_list.txt")
        ),
        "nih-chestxray14/images_001/images/00000001_000.png",
        "kermany/chest_xray/train/PNEUMONIA/person1_bacteria_1.jpeg",
        "knee-oai/KneeXrayData/ClsKLData/kneeKL224/train/0/9003175L.png",
    ]
    for file in files:
        path = tmp_path / "data" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def test_three_targets_and_five_sources_are_planned(releases):
    jobs = planned(snakemake(*OPEN, directory=releases).stdout)
    # (3 + 3 + 4 percentages) x 3 subsets x 5 sources and the size control, and limited at 2 + 2 + 3 of the percentages
    assert jobs["linear"] == 10 * 3 * (5 + 1) + 7 * 3
    # three encoders of four sources and of the size control, and one of each labelled subset that is limited
    assert (jobs["pretrain"], jobs["pretrain_sample"], jobs["pretrain_subset"]) == (12, 3, 21)
    assert (jobs["index"], jobs["phantom"]) == (4, 1)
    for name in ("figure1", "figure2", "figure3", "claims", "controls", "recipes", "advice"):
        assert jobs[name] == 1, name


def test_what_is_missing_is_named_with_where_to_get_it(tmp_path):
    run = snakemake(*OPEN, directory=tmp_path, fails=True)
    said = run.stdout + run.stderr
    for part in ("SETS=kermany", "SETS=knee-oai", "https://nihcc.app.box.com", "docs/open-data.md"):
        assert part in said
