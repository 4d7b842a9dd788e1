"""``make new`` without a table: what the names of folders and files and the headers of DICOMs say."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from made_up_folders import make, run_new, write_dicom, write_images

from moco_transfer.data.image_list import list_files
from moco_transfer.new import choose


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Run in an empty folder, on a machine with four cores and no GPU."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr("moco_transfer.new.command.this_machine", lambda: choose.Machine(4, 16_000))
    return tmp_path


def test_two_class_folders_become_one_label(here, capsys):
    write_images(here / "skin", [f"{kind}/{n}.png" for kind in ("benign", "malignant") for n in range(40)])
    made = make(capsys, here / "skin")
    assert made.section["pattern"] == "{class}/{file}"
    assert made.index["malignant"].tolist() == [
        float(path.startswith("malignant")) for path in made.index["path"]
    ]
    assert len(made.index) == 80
    assert "each image counts as a patient" in made.text


def test_three_class_folders_with_splits_become_one_of_many(here, capsys):
    names = [
        f"{side}/{kind}/{n}.jpg" for side in ("train", "test") for kind in ("a", "b", "c") for n in range(30)
    ]
    write_images(here / "eyes", names)
    made = make(capsys, here / "eyes")
    assert made.section["pattern"] == "{split}/{class}/{file}"
    assert made.section["classes"] == {"from": "class", "values": ["a", "b", "c"]}
    assert made.raw["targets"]["eyes"]["task"] == "multiclass"
    assert (made.index["official_split"] == made.index["path"].str.split("/").str[0]).all()
    assert (made.index["b"] == made.index["path"].str.contains("/b/")).all()
    split = made.config.datasets["eyes"].split
    assert (split.train, split.validation, split.test) == (0.8, 0.2, "official")


def test_the_deepest_classes_are_the_labels(here, capsys):
    names = [
        f"XR_{part}/patient{p:05d}/study1_{('positive', 'negative')[p % 2]}/{n}.png"
        for part in ("ELBOW", "HAND")
        for p in range(30)
        for n in range(2)
    ]
    write_images(here / "mura", names)
    made = make(capsys, here / "mura")
    assert made.index.iloc[:, 6].tolist() == [float("positive" in path) for path in made.index["path"]]
    assert made.index["patient_id"].tolist() == [path.split("/")[1] for path in made.index["path"]]


def test_grades_as_folders_and_patients_in_file_names(here, capsys):
    names = [
        f"{side}/{person % 5}/90{person:05d}{leg}.png"
        for person in range(60)
        for side in [("train", "val", "test")[person // 5 % 3]]
        for leg in "LR"
    ]
    write_images(here / "knees", names)
    made = make(capsys, here / "knees")
    assert made.index["grade from 2"].tolist() == [
        float(path.split("/")[1] in "234") for path in made.index["path"]
    ]
    assert made.index["patient_id"].tolist() == [path.split("/")[2][:7] for path in made.index["path"]]
    assert made.config.datasets["knees"].split.test == "official"
    assert made.config.evaluation.unit == "patient"


def test_folders_that_split_a_patient_are_not_used_as_splits(here, capsys):
    names = [
        f"{'train' if n % 4 else 'test'}/{kind}/person{person}_{n}.jpeg"
        for kind, start in (("NORMAL", 0), ("PNEUMONIA", 20))
        for person in range(start, start + 20)
        for n in range(4)
    ]
    write_images(here / "chest", names)
    made = make(capsys, here / "chest")
    assert made.config.run == "chest-images"
    assert made.config.datasets["chest-images"].split.test == 0.2
    assert "that scores come out too high: 40" in made.out
    patients = [path.split("/")[2].split("_")[0] for path in made.index["path"]]
    assert made.index["patient_id"].tolist() == patients
    assert made.index["PNEUMONIA"].tolist() == [float("PNEUMONIA" in path) for path in made.index["path"]]


def test_patients_in_only_some_file_names_become_a_table(here, capsys):
    normal = [f"NORMAL/IM-{n:04d}-0001.jpeg" for n in range(50)]
    sick = [f"PNEUMONIA/person{n // 2}_virus_{n}.jpeg" for n in range(80)]
    write_images(here / "kids", normal + sick)
    made = make(capsys, here / "kids")
    assert made.section["file"] == str(Path.cwd() / "kids.csv")
    patients = made.index.set_index("path")["patient_id"]
    assert patients["PNEUMONIA/person3_virus_7.jpeg"] == "person3"
    assert patients[normal[3]] == normal[3]
    assert made.index["PNEUMONIA"].sum() == 80


def test_classes_and_patients_as_parts_of_file_names(here, capsys):
    names = [f"p{n // 3:03d}_{('virus', 'bacteria')[n // 3 % 2]}_{n % 3}.png" for n in range(120)]
    write_images(here / "flat", names)
    made = make(capsys, here / "flat")
    assert made.index["patient_id"].nunique() == 40
    assert made.index.columns[6] in ("virus", "bacteria")
    assert made.index.iloc[:, 6].sum() == 60


def test_folders_of_patients_and_studies_without_labels_become_a_table_to_fill_in(here, capsys):
    names = [f"P{p:03d}/study{s}/{n}.png" for p in range(20) for s in range(2) for n in range(2)]
    write_images(here / "hips", names)
    made = make(capsys, here / "hips")
    assert "fill in column 'label' of hips.csv" in made.out
    table = pd.read_csv("hips.csv", dtype=str)
    assert table["patient_id"].tolist() == [path.split("/")[0] for path in sorted(names)]
    assert table["label"].isna().all()
    table.assign(label=[n % 2 for n in range(80)]).to_csv("hips.csv", index=False)
    before = Path("hips.csv").read_bytes()
    assert "TABLE=hips.csv" in run_new(capsys, here / "hips", "--force", status=1)
    filled = make(capsys, here / "hips", "--force", "--table", "hips.csv")
    assert filled.index["label"].sum() == 40
    assert Path("hips.csv").read_bytes() == before


def test_dicoms_without_a_table_take_patients_from_their_headers(here, capsys):
    for n in range(60):
        write_dicom(
            here / f"pacs/{'fracture' if n % 2 else 'normal'}/IM{n:05d}",
            PatientID=f"X{n // 2 % 15}",
            StudyInstanceUID=f"1.2.{n // 2 % 15}",
            ViewPosition="AP" if n % 4 else "LL",
            Modality="DX",
        )
    made = make(capsys, here / "pacs")
    assert made.index["patient_id"].nunique() == 15
    assert made.index["study_id"].nunique() == 15
    assert set(made.index["view"]) == {"AP", "LL"}
    assert made.index["fracture"].tolist() == [
        float(path.startswith("fracture")) for path in made.index["path"]
    ]
    assert "do not share it" in made.out
    assert "DICOM modality: DX" in made.out


def test_dicoms_without_labels_and_with_one_anonymous_patient(here, capsys):
    for n in range(50):
        write_dicom(here / f"pacs/{n}", PatientID="ANON", Modality="CT")
    made = make(capsys, here / "pacs")
    assert len(made.index) == 50
    assert "do not tell patients apart" in made.out
    assert "slices of volumes" in made.out


def test_folders_of_different_depth(here, capsys):
    names = [f"{kind}/{n}.png" for kind in ("sick", "healthy") for n in range(30)]
    names += [f"{kind}/more/{n}.png" for kind in ("sick", "healthy") for n in range(30)]
    write_images(here / "deep", names)
    made = make(capsys, here / "deep")
    assert len(made.index) == 120
    assert made.index["sick"].tolist() == [float(path.startswith("sick")) for path in made.index["path"]]


def test_odd_names_of_classes_and_folders(here, capsys):
    kinds = ["no", "1e5: {x}", "ü # 'y'"]
    write_images(here / "odd {a} #", [f"all {{of}} it/{kind}/{n}.png" for kind in kinds for n in range(40)])
    made = make(capsys, here / "odd {a} #")
    assert made.section["classes"]["values"] == sorted(kinds)
    for kind in kinds:
        assert made.index[kind].sum() == 40


def test_a_known_release_is_read_by_its_own_adapter(here, capsys):
    names = [f"{n // 2:08d}_{n % 2:03d}.png" for n in range(80)]
    write_images(here / "nih/images_001/images", names)
    table = pd.DataFrame({"Image Index": names, "Finding Labels": ["No Finding", "Mass|Edema"] * 40})
    table.assign(**{"Patient ID": [n // 2 for n in range(80)], "View Position": "PA"}).to_csv(
        here / "nih/Data_Entry_2017_v2020.csv", index=False
    )
    made = make(capsys, here / "nih")
    (dataset,) = made.config.datasets.values()
    assert dataset.adapter == "nih_chestxray14"
    assert not dataset.shareable
    assert "NIH ChestX-ray14" in made.out
    assert made.index["Mass"].sum() == 40


def test_a_workbook_beside_unlabelled_images_is_refused(here, capsys):
    write_images(here / "x", [f"{n}.png" for n in range(40)])
    (here / "x/labels.xlsx").write_bytes(b"PK\x03\x04")
    assert "CSV UTF-8" in run_new(capsys, here / "x", status=1)


def test_files_whose_suffix_tells_are_not_opened(here, monkeypatch):
    def refuse(path):
        raise AssertionError(path)

    (here / "many").mkdir()
    for number in range(100):
        (here / f"many/{number}.png").touch()
    monkeypatch.setattr("moco_transfer.data.image_file.open_image", refuse)
    images, others = list_files(here / "many")
    assert (len(images), others) == (100, [])
    (here / "many/1.2.840").touch()
    with pytest.raises(AssertionError):
        list_files(here / "many")
