"""A user's own folders, from the names of files to the data card."""

import numpy as np
import pytest
import yaml
from PIL import Image
from running import TINY, planned, snakemake

pytestmark = pytest.mark.workflow
CHEST = {
    "adapter": "folders",
    "folders": {
        "pattern": "{split}/{grade}/{patient_id,[0-9]+}{side,[LR]}.png",
        "labels": {"osteoarthritis": {"from": "grade", "positive": [2, 3, 4]}},
    },
    "split": {"unit": "patient", "train": 1.0, "validation": "official", "test": "official"},
}


def test_folders_are_read_and_the_card_shows_how(tmp_path):
    root = tmp_path / "knees"
    draw = np.random.default_rng(0)
    for patient in range(9000, 9020):
        for side, grade in (("L", patient % 5), ("R", 1)):
            split = ("train", "train", "val", "test")[patient % 4]
            path = root / split / str(grade) / f"{patient}{side}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw.integers(0, 256, (48, 48), dtype=np.uint8)).save(path)
    mine = tmp_path / "mine.yaml"
    target = {"chest": {"percents": ["50"], "end_to_end": None, "limited": []}}
    mine.write_text(
        yaml.safe_dump({"datasets": {"chest": CHEST | {"root": str(root)}}, "targets": target, "controls": {"size": {"chest-as-spine": None}}})
    )  # fmt: skip
    card = "results/tiny/cards/chest.md"
    snakemake(card, *TINY, mine, directory=tmp_path)
    page = (tmp_path / card).read_text()
    assert "## How the folders were read" in page
    assert "40 images, 40 studies, 20 patients, 2 images each (median; at most 2)" in page
    assert "| osteoarthritis | grade | '2', '3' or '4' | 12 | 28 | 0 | 0 |" in page
    assert "| not used | side |" in page and "9000" not in page
    for other in (".DS_Store", "notes.txt", "train/loose.png"):
        (root / other).touch()
    assert "Nothing to be done" in snakemake("-n", card, *TINY, mine, directory=tmp_path).stdout
    (root / "train" / "3" / "9100L.png").touch()
    assert planned(snakemake("-n", card, *TINY, mine, directory=tmp_path).stdout)["index"] == 1
