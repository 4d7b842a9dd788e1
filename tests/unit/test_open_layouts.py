"""The parts of config/data/ for public sets, on stand-ins of their layouts with tiny images."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from made_up_folders import write_images
from made_up_images import pack
from PIL import Image

from moco_transfer import cli
from moco_transfer.config import stages
from moco_transfer.config.composition import read_config
from moco_transfer.config.datasets import Dataset
from moco_transfer.data import adapters
from moco_transfer.data.public_sets import PUBLIC_SETS
from moco_transfer.data.split import assign_splits
from moco_transfer.errors import UserError
from moco_transfer.image_counts import count_images
from moco_transfer.plan import plan_text

CONFIG = Path(__file__).parents[2] / "config"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def configured(part: str, **keys: object):
    """Return the checked configuration of a run on the public set of the file ``part`` alone; ``keys`` change its dataset."""
    name = PUBLIC_SETS[part].dataset
    run = {
        "uses": ["protocol.yaml", "size/cpu.yaml", f"data/{part}.yaml", "data/natural-phantoms.yaml"],
        "run": "r",
        "data": "r",
        "datasets": {name: keys},
        "targets": {name: {"percents": ["100"], "limited": []}},
        "sources": {"none": [], name: [name]},
    }
    Path("run.yaml").write_text(yaml.safe_dump(run))
    return read_config([Path("run.yaml")])


def read(part: str, root: Path) -> tuple[pd.DataFrame, pd.Series, Dataset]:
    """Return the index of the set in ``root`` by path, the split of each image, and the configured dataset."""
    config = configured(part, root=str(root))
    dataset = config.datasets[PUBLIC_SETS[part].dataset]
    settings = stages.Index(**{key: getattr(dataset, key) for key in stages.Index.model_fields})
    index, _ = adapters.read_release(settings, Path(dataset.root), dataset.store.max_quarantined)
    splits = assign_splits(index, dataset.split, dataset.labels, config.seed, 1)
    return index.set_index("path", drop=False), splits.set_index("image_id")["split"], dataset


def test_children_are_patients_across_the_releases_folders(tmp_path):
    names = [
        *(f"train/PNEUMONIA/person{n}_bacteria_{n + 1}.jpeg" for n in range(1, 21)),
        *(f"test/PNEUMONIA/person{n}_virus_{n + 7}.jpeg" for n in range(1, 11)),
        "val/PNEUMONIA/person447_virus_921_1.jpeg",
    ]
    left_out = ["train/NORMAL/IM-0115-0001.jpeg", "chest_xray/train/PNEUMONIA/person3_virus_4.jpeg"]
    write_images(tmp_path, names + left_out)
    index, splits, _ = read("kermany", tmp_path)
    assert sorted(index.index) == sorted(names)
    assert index["bacterial"].to_dict() == {name: float("bacteria" in name) for name in names}
    assert index["patient_id"].nunique() == 21
    # person1 of train and person1 of test may be two children, but are never divided.
    patient = index.set_index("image_id")["patient_id"]
    assert splits.groupby(patient).nunique().eq(1).all() and set(splits) == {"train", "validation", "test"}


def test_knees_keep_the_releases_split_and_grades_from_2_are_osteoarthritis(tmp_path):
    names = [
        f"{side}/{grade}/{9000000 + 10 * number + grade}{knee}.png"
        for number, side in enumerate(("train", "val", "test"))
        for grade in range(5)
        for knee in "LR"
    ]
    left_out = ["auto_test/0/9656070_2.png", "auto_test/3/9656071_1.png"]
    write_images(tmp_path, names + left_out)
    index, splits, _ = read("knee-oai", tmp_path)
    assert sorted(index.index) == sorted(names)
    assert index["osteoarthritis"].to_dict() == {name: float(name.split("/")[1] in "234") for name in names}
    assert index["patient_id"].nunique() == 15
    expected = {"train": "train", "val": "validation", "test": "test"}
    assert splits.to_dict() == {name: expected[name.split("/")[0]] for name in names}


def test_limbs_have_the_tables_label_where_an_image_lies_in_both_folders(tmp_path):
    fractured = [f"images/Fractured/IMG000{number}.jpg" for number in (3375, 3376, 3377)]
    others = [f"images/Non_fractured/IMG000{number}.jpg" for number in (3374, 3378, 3379, 4028)]
    both = [f"images/Non_fractured/IMG000{number}.jpg" for number in (3375, 3376)]
    write_images(tmp_path, [*fractured, *others, *both, "Annotations/example.jpg"])
    index, _, dataset = read("fracatlas", tmp_path)
    assert index["fracture"].to_dict() == dict.fromkeys(fractured, 1.0) | dict.fromkeys(others, 0.0)
    # Nobody knows the patients, so each image counts as one.
    assert index["patient_id"].is_unique and dataset.split.unit == "image"
    assert 59 / PUBLIC_SETS["fracatlas"].images[None] < dataset.store.max_quarantined


def test_wrists_are_read_from_the_table_that_open_data_makes(tmp_path, capsys):
    root = tmp_path / "open/grazpedwri-dx"
    rows = ["filestem,patient_id,study_number,laterality,projection,fracture_visible,metal"]
    rng = np.random.default_rng(1)
    for patient in range(1, 21):
        for view in (1, 2):
            stem = f"{patient:04}_{1297860395 + view}_01_WRI-L{view}_M014"
            rows.append(f"{stem},{patient},1,L,{view},{'1.0' if patient % 2 else ''},")
            path = root / f"images_part{1 + patient % 4}" / f"{stem}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 4096, (20, 12), dtype=np.uint16)).save(path)
    (root / "dataset.csv").write_text("\n".join(rows) + "\n")
    assert cli.main(["open-data", "--sets", "grazpedwri-dx", "--", str(root.parent)]) == 0
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed[printed.index("\ndatasets:") :])["datasets"]["wrist"]["root"] == str(root)

    index, splits, dataset = read("grazpedwri-dx", root)
    assert len(index) == 40 and index["patient_id"].nunique() == 20 and set(index["view"]) == {"1", "2"}
    odd = index["patient_id"].astype(int) % 2 == 1
    assert index["fracture"][odd].eq(1).all() and index["fracture"][~odd].isna().all()
    # A blank is no visible fracture, so these images are not left out.
    assert splits.notna().all()
    assert splits.groupby(index.set_index("image_id")["patient_id"]).nunique().eq(1).all()
    pack(index.reset_index(drop=True), root, dataset.store, tmp_path / "store")
    images = np.load(tmp_path / "store/images.npy")
    assert len(images) == 40 and images.max() == 255  # stretched to 8 bits


@pytest.mark.parametrize("part", [name for name, each in PUBLIC_SETS.items() if name != "nih-chestxray14"])
def test_the_plan_knows_a_public_set_before_it_is_there(part):
    config = configured(part)
    name = PUBLIC_SETS[part].dataset
    found = count_images(config)[name]
    assert found.sides.total() == sum(PUBLIC_SETS[part].images.values())
    assert part in found.basis and found.may_be_fewer
    assert config.datasets[name].shareable  # as its licence allows
    assert PUBLIC_SETS[part].licence == "CC BY 4.0"
    if part == "knee-oai":
        assert found.sides == Counter(train=5_778, validation=826, test=1_656)


def test_the_plan_says_which_folder_is_missing_if_nothing_is_known():
    config = configured("knee-oai", public_set=None)
    with pytest.raises(
        UserError, match=r"datasets\.knee: no images can be counted, because .*kneeKL224 is missing; set"
    ):
        plan_text(config)
    config = configured("grazpedwri-dx", public_set=None)
    with pytest.raises(UserError, match=r"datasets\.wrist: .*grazpedwri-dx/images\.csv is missing"):
        plan_text(config)
