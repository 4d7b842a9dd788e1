"""``make new`` with folders that are easily misunderstood: grades in words, copies of images, unrelated tables, odd places."""

from __future__ import annotations

import os
import shlex
import subprocess

import numpy as np
import pandas as pd
import pytest
from made_up_folders import make, run_new, write_dicom, write_images

from moco_transfer.new import choose, words
from moco_transfer.new.tables import MOST_TABLES, read_any

NAMES = [f"{number:03d}.jpg" for number in range(60)]
ROWS = np.arange(60)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Run in an empty folder, on a machine with four cores and no GPU."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr("moco_transfer.new.command.this_machine", lambda: choose.Machine(4, 16_000))
    return tmp_path


def labelled(folder, column: str, values: list[str]) -> None:
    """Write 60 images of 30 patients and a table in which patients have the ``values`` in turn."""
    write_images(folder, NAMES)
    table = {
        "file": NAMES,
        "patient": ROWS // 2,
        column: np.array(values, dtype=object)[ROWS // 2 % len(values)],
    }
    pd.DataFrame(table).to_csv(folder / "t.csv", index=False)


def positive_rows(values: list[str], positive: set[str]) -> list[float]:
    return [float(values[row // 2 % len(values)] in positive) for row in ROWS]


@pytest.mark.parametrize(
    ("column", "values", "positive"),
    [
        ("KL", ["KL0", "KL1", "KL2", "KL3", "KL4"], {"KL2", "KL3", "KL4"}),
        ("Severity", ["Grade 3", "Grade 0", "Grade 2", "Grade 1"], {"Grade 2", "Grade 3"}),
        ("stage", ["I", "II", "III", "IV"], {"III", "IV"}),
        ("stenosis", ["none", "mild", "moderate", "severe"], {"moderate", "severe"}),
        ("birads", ["BI-RADS 1", "BI-RADS 2", "BI-RADS 4", "BI-RADS 5"], {"BI-RADS 4", "BI-RADS 5"}),
    ],
)
def test_grades_in_words_become_a_threshold_that_is_told(here, capsys, column, values, positive):
    labelled(here / "s", column, values)
    made = make(capsys, here / "s")
    assert made.index.iloc[:, 6].tolist() == positive_rows(values, positive)
    assert "and above counts as positive" in made.out.split("Please check")[1]


@pytest.mark.parametrize(
    ("values", "positive"),
    [(["+", "-"], {"+"}), (["none", "fracture"], {"fracture"}), (["+", "-", "-"], {"+"})],
)
def test_signs_and_the_word_none(here, capsys, values, positive):
    labelled(here / "s", "fracture", values)
    assert make(capsys, here / "s").index["fracture"].tolist() == positive_rows(values, positive)


def test_unknown_is_uncertain_beside_yes_and_no(here, capsys):
    labelled(here / "s", "fracture", ["yes", "no", "unknown"])
    made = make(capsys, here / "s")
    assert made.index["fracture"].tolist() == [[1.0, 0.0, -1.0][row // 2 % 3] for row in ROWS]
    assert "uncertain labels count as absent" in made.out.split("Please check")[1]


def test_the_word_none_among_several_findings_is_no_finding(here, capsys):
    values = ["none", "mass;edema", "edema"]
    labelled(here / "s", "findings", values)
    made = make(capsys, here / "s")
    assert made.config.datasets["s"].labels.unlabeled == "zero"
    assert (made.index["edema"] == 1).tolist() == [bool(row // 2 % 3) for row in ROWS]


@pytest.mark.parametrize(
    ("values", "ranks"),
    [
        (["T1", "L2", "L1"], None),
        (["normal", "fracture", "tumour"], None),
        (["mild", "severe", "none"], [1, 2, 0]),
        (["severe", "marked", "mild"], None),  # two words of one rank
        (["Type 1", "Type 2"], None),
        (["grade II", "grade IV"], [2, 4]),
        (["Kellgren-Lawrence 3", "Kellgren-Lawrence 12"], None),
    ],
)
def test_what_grades_are(values, ranks):
    assert words.ranks(values) == ranks


@pytest.mark.parametrize("column", ["angle", "stenosis", "boneage"])
def test_measurements_are_refused_by_name_and_not_replaced_by_the_sex(here, capsys, column):
    write_images(here / "s", NAMES)
    marks = {"angle": [f"{row / 7:.1f}" for row in ROWS], "stenosis": [f"{row % 30}%" for row in ROWS]}
    table = {"file": NAMES, column: marks.get(column, ROWS % 40), "male": ROWS % 2}
    pd.DataFrame(table).to_csv(here / "s/t.csv", index=False)
    assert f"there is no regression): {column};" in run_new(capsys, here / "s", status=1)
    pd.DataFrame(table | {"lesion": ROWS // 3 % 2}).to_csv(here / "s/t.csv", index=False)
    made = make(capsys, here / "s")
    assert made.section["labels"] == ["lesion"]
    assert f"no regression: '{column}'" in made.out.split("Please check")[1]


def test_words_that_repeat_ones_and_zeros_are_no_second_label(here, capsys):
    labelled(here / "s", "benign_malignant", ["benign", "malignant"])
    table = pd.read_csv(here / "s/t.csv")
    table["target"] = (table["benign_malignant"] == "malignant").astype(int)
    table.to_csv(here / "s/t.csv", index=False)
    made = make(capsys, here / "s")
    assert made.section["labels"] == ["target"]
    assert "'benign_malignant' says the same as 'target'" in made.out


def test_grades_ages_and_labels_never_name_the_images(here, capsys):
    """Folders and files are called 0 to 4, as are the values of tables that have nothing to do with them."""
    write_images(here / "knees", [f"{row % 5}/{row}.png" for row in ROWS])
    stray = pd.DataFrame({"KL": ROWS % 5, "lesion": ROWS % 2, "age": ROWS % 50, "sex": ["m", "f"] * 30})
    for place in (here, here / "knees", here / "work"):
        stray.to_csv(place / "other.csv", index=False)
        made = make(capsys, here / "knees", "--force")
        assert made.section["pattern"] == "{grade}/{file}"
        (place / "other.csv").unlink()


def test_of_columns_that_fit_names_of_files_the_one_with_most_images_is_taken(here, capsys):
    write_images(here / "s", [f"{row}.png" for row in ROWS])
    table = {"label": ROWS // 2 % 2, "fold": ROWS % 5, "angle": 20 + ROWS % 40, "id": ROWS}
    pd.DataFrame(table).to_csv(here / "s/t.csv", index=False)
    index = make(capsys, here / "s").index
    assert index["path"].tolist() == [f"{row}.png" for row in ROWS]
    assert index["label"].tolist() == list(ROWS // 2 % 2)


def test_one_row_per_study_describes_the_images_of_that_study_only(here, capsys):
    names = [f"p{row // 4:02d}/s{row // 2 % 2}/{row % 2}.png" for row in ROWS]
    write_images(here / "s", names)
    studies = [(f"p{patient:02d}", f"s{study}", study) for patient in range(15) for study in (0, 1)]
    pd.DataFrame(studies, columns=["patient", "study", "fracture"]).to_csv(here / "s/t.csv", index=False)
    made = make(capsys, here / "s")
    assert dict(zip(made.index["path"], made.index["fracture"], strict=True)) == {
        name: float(name.split("/")[1] == "s1") for name in names
    }


def test_tables_called_train_and_test_are_joined(here, capsys):
    sides = ["train"] * 40 + ["test"] * 20
    names = [f"{side}/{name}" for side, name in zip(sides, NAMES, strict=True)]
    write_images(here / "s", names)
    table = pd.DataFrame({"image": NAMES, "lesion": ROWS % 2})
    table[:40].to_csv(here / "s/train.csv", index=False)
    table[40:].to_csv(here / "s/test.csv", index=False)
    made = make(capsys, here / "s")
    assert sorted(made.index["path"]) == sorted(names)
    assert made.config.datasets["s"].split.test == "official"
    # A submission says nothing of the test images, whatever it predicts.
    table[["image"]][40:].to_csv(here / "s/test.csv", index=False)
    table[40:].assign(lesion=0).to_csv(here / "s/sample_submission.csv", index=False)
    made = make(capsys, here / "s", "--force")
    assert len(made.index) == 40
    assert "other tables that name these images are not used: sample_submission.csv, test.csv" in made.out


def test_a_table_in_the_current_folder_is_found_but_no_copy_of_make_new(here, capsys):
    write_images(here / "s", NAMES)
    assert "fill in column 'label'" in make(capsys, here / "s").out
    assert "fill in column 'label'" in make(capsys, here / "s", "--run", "again").out
    pd.DataFrame({"file": NAMES, "lesion": ROWS % 2}).to_csv("labels.txt", index=False, sep="\t")
    made = make(capsys, here / "s", "--run", "third")
    assert made.index["lesion"].tolist() == list(ROWS % 2)


def test_masks_thumbnails_and_copies_of_dicoms_are_left_out(here, capsys):
    names = [f"{kind}/{row:02d}" for kind in ("benign", "malignant") for row in range(30)]
    write_images(here / "a", [name + end for name in names for end in (".png", "_mask.png")])
    made = make(capsys, here / "a")
    assert sorted(made.index["path"]) == sorted(name + ".png" for name in names)
    assert "60 files" in made.out.split("Please check")[1]
    write_images(here / "b", [f"{kind}/thumbnails/{row}.png" for kind in ("x", "y") for row in range(30)])
    write_images(here / "b", [f"{kind}/images/{row}.png" for kind in ("x", "y") for row in range(30)])
    made = make(capsys, here / "b")
    assert made.section["pattern"] == "{class}/images/{file}"
    assert len(made.index) == 60
    for row in range(30):
        write_dicom(here / f"c/dicom/{row:02d}.dcm", PatientID=f"P{row // 2}")
    write_images(here / "c", [f"jpg/{row:02d}.jpg" for row in range(30)])
    pd.DataFrame({"id": [f"{row:02d}" for row in range(30)], "lesion": np.arange(30) // 2 % 2}).to_csv(
        here / "c/t.csv", index=False
    )
    made = make(capsys, here / "c")
    assert made.index["path"].str.endswith(".dcm").all()
    assert made.index["patient_id"].nunique() == 15


@pytest.mark.parametrize("where", ["test", "test/unknown"])
def test_test_images_without_classes_have_no_label(here, capsys, where):
    names = [f"train/{'cat' if row % 2 else 'dog'}/{row}.png" for row in range(40)]
    write_images(here / "s", names + [f"{where}/{row}.png" for row in range(40, 55)])
    made = make(capsys, here / "s")
    assert made.index.set_index("path")["dog"].reindex(names).tolist() == [1.0, 0.0] * 20
    assert made.index["dog"].isna().sum() == 15
    assert "in no folder of a class: 15" in made.out.split("Please check")[1]


def test_numbered_studies_that_end_with_the_label(here, capsys):
    names = [
        f"train/patient{row // 4:03d}/study{row // 2 % 2 + 1}_{'positive' if row // 6 % 2 else 'negative'}/{row}.png"
        for row in range(120)
    ]
    write_images(here / "s", names)
    index = make(capsys, here / "s").index
    assert index["positive"].tolist() == [float("positive" in path) for path in index["path"]]
    assert index["patient_id"].tolist() == [path.split("/")[1] for path in index["path"]]


@pytest.mark.parametrize("name", ["kind{}", "class_{}"])
def test_thirty_classes(here, capsys, name):
    letters = [chr(97 + number // 6) + chr(97 + number % 6) for number in range(30)]
    kinds = [name.format(letters[row % 30] if name == "kind{}" else row % 30) for row in range(360)]
    write_images(here / "s", [f"{kind}/{row}.png" for row, kind in enumerate(kinds)])
    assert len(make(capsys, here / "s").section["classes"]["values"]) == 30


def test_errors_say_what_is_there_instead_of_images(here, capsys):
    (here / "s").mkdir()
    (here / "s/all.zip").touch()
    assert "found 1 archive; unpack first" in run_new(capsys, here / "s", status=1)
    write_images(here / "elsewhere", NAMES[:2])
    (here / "t").mkdir()
    (here / "t/images").symlink_to(here / "elsewhere")
    assert "found 1 link to folders" in run_new(capsys, here / "t", status=1)
    for name in NAMES:
        (here / "s" / name).touch()
    assert "none of a sample of 50 images can be read" in run_new(capsys, here / "s", status=1)


def test_what_is_printed_counts_as_people_do_and_runs_from_this_folder(here, capsys):
    labelled(here / "s 'ü' {x}", "lesion", ["0", "1"])
    out = make(capsys, here / "s 'ü' {x}").out
    assert "; 1 other file\n" in out
    assert "shorter side has 20 pixels" in out
    commands = [line.strip() for line in out.splitlines() if line.endswith("--configfile s-u-x.yaml")]
    assert len(commands) == 2
    for command in commands:
        done = subprocess.run(
            [*shlex.split(command), "-n", "-q"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_names_of_patients_are_not_printed(here, capsys):
    names = [f"MUSTERMANN{row // 2}/{row}.jpg" for row in ROWS]
    write_images(here / "s", names)
    table = {
        "file": names,
        "Name": [f"MUSTERMANN {row // 20}" for row in ROWS],
        "doctor": ["DR SECRET", "DR HIDDEN"] * 30,
    }
    pd.DataFrame(table | {"finding": ["a", "b"] * 30}).to_csv(here / "s/t.csv", index=False)
    made = make(capsys, here / "s")
    assert not {"MUSTERMANN", "SECRET", "HIDDEN"} & set((made.out + made.text).replace('"', " ").split())
    assert "'doctor'" not in made.out.split("Please check")[1]


def test_folders_of_views_years_and_odd_splits_are_no_classes(here, capsys):
    for levels in (("AP", "LAT"), ("2019", "2020"), ("train_images", "test_images")):
        folder = here / levels[0]
        write_images(
            folder, [f"{levels[row % 2]}/{'ill' if row // 2 % 2 else 'healthy'}/{row}.png" for row in ROWS]
        )
        made = make(capsys, folder, "--run", f"run-{levels[0].lower()}")
        assert made.index["ill"].tolist() == [float("ill" in path) for path in made.index["path"]]
        assert list(made.section["labels"]) == ["ill"]
        assert made.config.datasets[made.config.run].split.unit == "image"
    assert "seem to be splits" in made.out.split("Please check")[1]
    write_images(here / "flat", [f"{'test' if row % 4 else 'train'}_images/{row}.png" for row in ROWS])
    assert "fill in column 'label'" in make(capsys, here / "flat").out


def test_a_table_is_found_among_a_text_for_each_image(here, capsys, monkeypatch):
    """As detectors write them; to read and match thousands of files would take hours."""
    write_images(here / "s", NAMES)
    for name in NAMES:
        (here / "s" / name).with_suffix(".txt").write_text("0 0.5 0.5 0.1 0.1\n1 0.2 0.2 0.1 0.1\n")
    pd.DataFrame({"file": NAMES, "lesion": ROWS % 2}).to_csv(here / "s/z.csv", index=False)
    read = []
    monkeypatch.setattr("moco_transfer.new.tables.read_any", lambda path: read.append(path) or read_any(path))
    assert make(capsys, here / "s").section["file"] == "z.csv"
    assert len(read) <= MOST_TABLES


def test_a_german_date_of_a_study_is_no_study(here, capsys):
    labelled(here / "s", "Befund", ["ja", "nein"])
    table = pd.read_csv(here / "s/t.csv").assign(
        Untersuchungsdatum=[f"2020-01-{row // 2 + 1:02d}" for row in ROWS]
    )
    table.to_csv(here / "s/t.csv", index=False)
    made = make(capsys, here / "s")
    assert "study_id" not in made.section


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_folders_and_tables_that_may_not_be_read(here, capsys):
    write_images(here / "s/in", NAMES)
    write_images(here / "classes", [f"{'ill' if row % 2 else 'healthy'}/{row}.png" for row in ROWS])
    (here / "other.csv").touch(mode=0)  # another one's table beside the folder
    assert make(capsys, here / "classes").section["pattern"] == "{class}/{file}"
    (here / "s").chmod(0)
    assert "s: cannot be read" in run_new(capsys, here / "s", status=1)
    assert "s/in: cannot be read" in run_new(capsys, here / "s/in", status=1)
    (here / "s").chmod(0o700)
