"""``make new`` with a table: what it understands of made-up folders, what it writes, and what it says of errors."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from made_up_folders import make, run_new, write_dicom, write_images

from moco_transfer.config.composition import PARTS
from moco_transfer.new import choose
from moco_transfer.new.choose import MOST_HOURS
from moco_transfer.new.write import comment, value

NAMES = [f"{number:03d}.jpg" for number in range(120)]
ROWS = np.arange(120)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Run in an empty folder, on a machine with four cores and no GPU."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr("moco_transfer.new.command.this_machine", lambda: choose.Machine(4, 16_000))
    return tmp_path


def spine(folder: Path, **columns) -> pd.DataFrame:
    """Write 120 images of 40 patients, and return their table: file, patient and a label, or the ``columns`` instead."""
    write_images(folder, NAMES)
    given = {"file": NAMES, "patient": [f"P{row // 3}" for row in ROWS], "lesion": ROWS // 3 % 2}
    return pd.DataFrame(
        {key: each for key, each in (given | columns).items() if each is not None}, dtype=object
    )


def test_a_folder_with_a_table_becomes_a_configuration_that_runs(here, capsys):
    table = spine(here / "Spines 2019")
    table.to_csv(here / "Spines 2019/labels.csv", index=False)
    made = make(capsys, here / "Spines 2019")
    assert made.config.run == made.config.data == "spines-2019"
    assert made.section == {
        "file": "labels.csv",
        "path": "file",
        "patient_id": "patient",
        "labels": ["lesion"],
    }
    assert made.index["lesion"].tolist() == list(table["lesion"])
    assert made.index["patient_id"].tolist() == list(table["patient"])
    dataset = made.config.datasets["spines-2019"]
    assert (dataset.shareable, dataset.store.colour, dataset.split.unit) == (False, False, "patient")
    target = made.config.targets["spines-2019"]
    assert (target.percents, target.limited) == (["30", "50", "100"], ["50"])  # of 72 images
    assert made.config.evaluation.unit == "patient"
    assert made.config.device == "cpu"
    assert (made.config.linear_recipe, made.config.compared_recipes) == ("logistic", ["paper"])
    assert "120 images of 40 patients" in made.out
    assert "72 train, 24 validation, 24 test" in made.out
    assert not list(Path.cwd().glob("*.csv"))


def test_the_configuration_names_the_schema_that_editors_read(here, capsys):
    spine(here / "spines").to_csv(here / "spines/labels.csv", index=False)
    make(capsys, here / "spines")
    first_line = Path("spines.yaml").read_text().splitlines()[0]
    assert Path(first_line.removeprefix("# yaml-language-server: $schema=")).samefile(PARTS / "schema.json")


def test_a_table_one_level_up_sets_the_root_to_its_folder(here, capsys):
    table = spine(here / "data/images")
    table.assign(file="images/" + table["file"]).to_csv(here / "data/knees.csv", index=False)
    made = make(capsys, here / "data/images")
    assert made.raw["datasets"]["images"]["root"] == str(here / "data")
    assert made.section["file"] == "knees.csv"
    assert len(made.index) == 120


@pytest.mark.parametrize(
    "respell",
    [
        lambda name: name.removesuffix(".jpg"),
        lambda name: f"C:\\Bilder\\{name}",
        lambda name: f"/mnt/pacs/export/{name}",
        lambda name: name.replace(".jpg", ".dcm"),
        lambda name: name.upper(),
    ],
    ids=["without suffix", "Windows", "another prefix", "another suffix", "capitals"],
)
def test_what_is_no_path_is_found_and_copied(here, capsys, respell):
    table = spine(here / "spines")
    table.assign(file=table["file"].map(respell)).to_csv(here / "spines/labels.csv", index=False)
    before = (here / "spines/labels.csv").read_bytes()
    made = make(capsys, here / "spines")
    assert (here / "spines/labels.csv").read_bytes() == before
    assert made.section["file"] == str(Path.cwd() / "spines.csv")
    assert made.index["path"].tolist() == NAMES
    assert made.index["lesion"].tolist() == list(table["lesion"])
    assert made.index["patient_id"].tolist() == list(table["patient"])
    assert "Written: spines.yaml and spines.csv" in made.out


def test_absolute_paths_into_the_folder_are_found(here, capsys):
    table = spine(here / "spines")
    table["file"] = str(here / "spines") + "/" + table["file"]
    table.to_csv(here / "spines/labels.csv", index=False)
    assert make(capsys, here / "spines").index["path"].tolist() == NAMES


def test_images_of_the_same_name_are_told_apart_by_their_folders(here, capsys):
    names = [f"{side}/{number}.png" for side in ("a", "b") for number in range(40)]
    write_images(here / "two", names)
    table = pd.DataFrame({"image": ["/pacs/" + name for name in names], "finding": [0, 1] * 40})
    table.to_csv(here / "two/t.csv", index=False)
    assert make(capsys, here / "two").index["path"].tolist() == names


def test_one_row_per_patient_describes_all_images_in_the_patients_folder(here, capsys):
    names = [f"{patient}/{view}.png" for patient in range(100, 140) for view in ("ap", "lat")]
    write_images(here / "hips", names)
    pd.DataFrame({"Patient": range(100, 140), "fracture": [0, 1] * 20}).to_csv(
        here / "hips/t.csv", index=False
    )
    made = make(capsys, here / "hips")
    assert sorted(made.index["path"]) == sorted(names)
    assert made.index["patient_id"].tolist() == [path.split("/")[0] for path in made.index["path"]]
    assert made.index["fracture"].tolist() == [int(path.split("/")[0]) % 2 for path in made.index["path"]]


@pytest.mark.parametrize(("separator", "encoding"), [(";", "latin-1"), ("\t", "utf-16"), (";", "utf-8-sig")])
def test_german_columns_semicolons_and_encodings(here, capsys, separator, encoding):
    table = spine(here / "knie").rename(
        columns={"file": "Bilddatei", "patient": "PATIENTEN-NR", "lesion": "Läsion"}
    )
    table["Läsion"] = table["Läsion"].map({1: "ja", 0: "nein"})
    table["Geschlecht"] = ["m", "w"] * 60
    table["Geburtsdatum"] = [f"{1920 + row // 3}-01-01" for row in ROWS]
    table["Seite"] = ["links", "rechts"] * 60
    table.to_csv(here / "knie/Tabelle.csv", index=False, sep=separator, encoding=encoding)
    made = make(capsys, here / "knie")
    assert made.section["patient_id"] == "PATIENTEN-NR"
    assert list(made.section["labels"]) == ["Läsion"]
    assert made.index["Läsion"].tolist() == list(ROWS // 3 % 2)


def test_spanish_columns_and_views(here, capsys):
    table = spine(here / "columna").rename(
        columns={"file": "Archivo", "patient": "ID Paciente", "lesion": "FRACTURA"}
    )
    table["FRACTURA"] = table["FRACTURA"].map({1: "Sí", 0: "No"})
    table["Edad"], table["Proyección"] = 20 + ROWS % 50, ["AP", "LAT", "AP"] * 40
    table["Estudio"] = table["ID Paciente"] + "-1"
    table.to_csv(here / "columna/datos.csv", index=False)
    made = make(capsys, here / "columna")
    roles = {key: made.section[key] for key in ("patient_id", "study_id", "view")}
    assert roles == {"patient_id": "ID Paciente", "study_id": "Estudio", "view": "Proyección"}
    assert made.index["FRACTURA"].tolist() == list(ROWS // 3 % 2)


def test_the_datas_own_splits_are_used_if_no_patient_crosses(here, capsys):
    sides = np.array(["Train", "Train", "Train", "Val", "Test"])[ROWS // 3 // 2 % 5]
    spine(here / "s", fold=sides).to_csv(here / "s/t.csv", index=False)
    made = make(capsys, here / "s")
    assert made.section["official_split"] == "fold"
    split = made.config.datasets["s"].split
    assert (split.train, split.validation, split.test, split.folds) == (1.0, "official", "official", 1)


def test_without_validation_images_some_training_images_become_them(here, capsys):
    sides = np.where(ROWS // 3 // 2 % 4 > 0, "train", "test")
    spine(here / "s", subset=sides).to_csv(here / "s/t.csv", index=False)
    split = make(capsys, here / "s").config.datasets["s"].split
    assert (split.train, split.validation, split.test) == (0.8, 0.2, "official")


def test_a_split_that_divides_patients_is_not_used(here, capsys):
    spine(here / "s", split=np.where(ROWS % 5, "train", "test")).to_csv(here / "s/t.csv", index=False)
    made = make(capsys, here / "s")
    assert "official_split" not in made.section
    assert made.config.datasets["s"].split.test == 0.2
    assert "patients that are in two of them" in made.text


def test_without_patients_it_says_what_that_means(here, capsys):
    spine(here / "s", patient=None).to_csv(here / "s/t.csv", index=False)
    made = make(capsys, here / "s")
    assert made.config.datasets["s"].split.unit == "image"
    assert "no column names the patient" in made.text
    spine(here / "s", patient=NAMES).to_csv(here / "s/t.csv", index=False)
    assert "another patient for each image" in make(capsys, here / "s", "--force").text


def test_blank_patients_are_patients_of_their_own(here, capsys):
    patients = [f"P{row // 3}" if row > 3 else "" for row in ROWS]
    spine(here / "s", patient=patients).to_csv(here / "s/t.csv", index=False)
    made = make(capsys, here / "s")
    assert made.index["patient_id"].tolist()[:6] == [*NAMES[:4], "P1", "P1"]


def test_two_texts_become_one_label(here, capsys):
    texts = np.array(["benign", "malignant"])[ROWS // 3 % 2]
    spine(here / "s", lesion=None, diagnosis=texts, device=np.array(["GE", "Siemens"])[ROWS % 2]).to_csv(
        here / "s/t.csv", index=False
    )
    made = make(capsys, here / "s")
    assert made.index["diagnosis"].tolist() == list(ROWS // 3 % 2)
    assert "'malignant' counts as positive" in made.text


def test_grades_become_a_threshold_that_is_told(here, capsys):
    spine(here / "s", lesion=None, KL_Grade=ROWS // 3 % 5).to_csv(here / "s/t.csv", index=False)
    made = make(capsys, here / "s")
    assert made.index["KL_Grade from 2"].tolist() == [float(row // 3 % 5 >= 2) for row in ROWS]
    assert "2 and above counts as positive" in made.out.split("Please check")[1]


def test_a_label_of_ones_and_zeros_wins_over_the_grade_that_it_was_made_of(here, capsys):
    spine(here / "s", kl_grade=ROWS // 3 % 5).to_csv(here / "s/t.csv", index=False)
    made = make(capsys, here / "s")
    assert made.section["labels"] == ["lesion"]
    assert "'kl_grade'" in made.out.split("Please check")[1]


def test_several_findings_in_a_cell_become_labels(here, capsys):
    cells = np.array(["No Finding", "Edema", "Edema|Mass", "Mass"])[ROWS // 3 % 4]
    spine(here / "s", lesion=None, Findings=cells).to_csv(here / "s/t.csv", index=False)
    index = make(capsys, here / "s").index
    assert list(index.columns[6:]) == ["Edema", "Mass"]
    assert index["Edema"].tolist() == [float(row // 3 % 4 in (1, 2)) for row in ROWS]
    assert index["Mass"].tolist() == [float(row // 3 % 4 in (2, 3)) for row in ROWS]


def test_classes_become_one_of_many(here, capsys):
    texts = np.array(["acne", "eczema", "psoriasis"])[ROWS // 3 % 3]
    spine(
        here / "s", lesion=None, dx=texts, localization=np.array(["arm", "leg", "back", "face"])[ROWS % 4]
    ).to_csv(here / "s/t.csv", index=False)
    made = make(capsys, here / "s")
    assert made.section["classes"] == {"from": "dx", "values": ["acne", "eczema", "psoriasis"]}
    assert made.raw["targets"]["s"]["task"] == "multiclass"
    assert made.index["eczema"].tolist() == [float(row // 3 % 3 == 1) for row in ROWS]


def test_uncertain_and_blank_labels(here, capsys):
    marks = np.array(["1", "0", "-1", ""])[ROWS // 3 % 4]
    spine(here / "s", lesion=None, effusion=marks, edema=np.where(ROWS // 3 % 2, "1.0", "")).to_csv(
        here / "s/t.csv", index=False
    )
    made = make(capsys, here / "s")
    assert made.section["labels"] == ["effusion", "edema"]
    assert made.config.datasets["s"].labels.unlabeled == "drop"
    spine(here / "s", lesion=np.where(ROWS // 3 % 2, "x", "")).to_csv(here / "s/t.csv", index=False)
    assert make(capsys, here / "s", "--force").config.datasets["s"].labels.unlabeled == "zero"


def test_several_rows_of_an_image_are_joined(here, capsys):
    table = spine(here / "s")
    boxes = pd.concat([table, table.assign(lesion=1 - table["lesion"]).head(30)])
    boxes.to_csv(here / "s/boxes.csv", index=False)
    made = make(capsys, here / "s")
    assert made.index.set_index("path")["lesion"].reindex(NAMES).tolist() == [1.0] * 30 + list(
        table["lesion"][30:]
    )
    assert "30 images are in several rows" in made.text


def test_rows_without_an_image_are_left_out_and_counted(here, capsys):
    table = spine(here / "s")
    pd.concat(
        [table, pd.DataFrame({"file": [f"x{n}.jpg" for n in range(20)], "patient": "Q", "lesion": 1})]
    ).to_csv(here / "s/t.csv", index=False)
    made = make(capsys, here / "s")
    assert len(made.index) == 120
    assert "20 rows name no image" in made.out


def test_several_tables_the_best_one_or_a_question(here, capsys):
    table = spine(here / "s")
    table.to_csv(here / "s/all.csv", index=False)
    table.head(70).to_csv(here / "s/some.csv", index=False)
    pd.DataFrame({"word": ["a", "b"]}).to_csv(here / "s/other.csv", index=False)
    assert make(capsys, here / "s").section["file"] == "all.csv"
    table.to_csv(here / "s/again.csv", index=False)
    assert "again.csv, all.csv; name one: TABLE=FILE" in run_new(capsys, here / "s", "--force", status=1)
    assert make(capsys, here / "s", "--force", "--table", here / "s/some.csv").section["file"] == "some.csv"


def test_a_parquet_file_with_dates_is_read(here, capsys):
    table = spine(here / "s").assign(taken=pd.Timestamp("2020-01-01"))
    table.to_parquet(here / "s/t.parquet")
    made = make(capsys, here / "s")
    assert made.index["lesion"].tolist() == list(table["lesion"])


def test_dicoms_of_any_name_with_a_table(here, capsys):
    names = [f"1.2.840.{row}" for row in range(60)]
    for name in names:
        write_dicom(here / "pacs" / name)
    pd.DataFrame(
        {"SOPInstanceUID": names, "PatientID": np.arange(60) // 2, "fracture": np.arange(60) // 2 % 2}
    ).to_csv(here / "pacs/t.csv", index=False)
    made = make(capsys, here / "pacs")
    assert made.section["path"] == "SOPInstanceUID"
    assert made.index["patient_id"].tolist() == [str(row // 2) for row in range(60)]
    assert "60 DICOM images" in made.out


def test_images_whose_patient_nobody_tells_are_counted(here, capsys):
    names = [f"{side}/{row}.dcm" for row in range(30) for side in ("sick", "well")]
    for number, name in enumerate(names):
        write_dicom(here / "d" / name, PatientID="" if number < 4 else f"P{number // 4}")
    out = make(capsys, here / "d").out.split("Please check")[1]
    assert "nothing tells the patient of 4 images; each counts as a patient of its own" in out


def test_colour_photos(here, capsys):
    spine(here / "skin").to_csv(here / "skin/t.csv", index=False)
    write_images(here / "skin", NAMES, colour=True)
    made = make(capsys, here / "skin")
    assert made.config.datasets["skin"].store.colour
    assert made.raw["moco"]["augment"] == "moco_v2"


def test_tiny_sets_are_told_what_cannot_work(here, capsys):
    names = NAMES[:20]
    write_images(here / "tiny", names)
    labels = [0, 1] * 4 + [0] * 12
    pd.DataFrame({"file": names, "lesion": labels}).to_csv(here / "tiny/t.csv", index=False)
    out = make(capsys, here / "tiny").out.split("Please check")[1]
    assert "20 images are too few" in out
    assert "fewer than 5 positive or negative test images" in out
    pd.DataFrame({"file": names, "lesion": [1] + [0] * 19}).to_csv(here / "tiny/t.csv", index=False)
    assert "this cannot run yet" in make(capsys, here / "tiny", "--force").out


def test_the_size_fits_the_machine(here, capsys, monkeypatch):
    spine(here / "s").to_csv(here / "s/t.csv", index=False)
    monkeypatch.setattr("moco_transfer.new.command.this_machine", lambda: choose.Machine(8, 64_000, 24_000))
    made = make(capsys, here / "s")
    assert made.raw["uses"] == ["protocol.yaml", "size/small-gpu.yaml"]
    assert made.config.device == "cuda" and made.config.linear_recipe == "logistic"
    monkeypatch.setattr("moco_transfer.new.choose.IMAGES_FOR_PAPER", 100)
    assert make(capsys, here / "s", "--force").raw["uses"][1] == "size/paper.yaml"


def test_few_test_patients_are_tested_in_folds_and_many_are_not(here, capsys):
    spine(here / "s").to_csv(here / "s/t.csv", index=False)
    made = make(capsys, here / "s")
    assert made.config.datasets["s"].split.folds == 5
    assert "72 train, 24 validation, 24 test in fold 1 of 5; each image is tested in one" in made.out
    assert "with 5 folds each is tested in one" in made.text and "in each of 5 folds" in made.text
    names = [f"{number}.jpg" for number in range(505)]
    write_images(here / "many", names)
    pd.DataFrame({"file": names, "patient": names, "lesion": np.arange(505) % 2}).to_csv(
        here / "many/t.csv", index=False
    )
    many = make(capsys, here / "many")
    assert many.config.datasets["many"].split.folds == 1
    assert "folds" not in many.raw["datasets"]["many"]["split"] and "folds" not in many.out


def test_without_time_for_every_fold_there_are_none(here, capsys, monkeypatch):
    spine(here / "s").to_csv(here / "s/t.csv", index=False)
    monkeypatch.setattr("moco_transfer.new.choose.SPEED", 0.5)
    made = make(capsys, here / "s")
    assert made.config.datasets["s"].split.folds == 1
    assert "folds: 5 would test every image, but takes too long here" in made.text


def test_a_class_that_a_fold_could_not_score_rules_out_folds(here, capsys):
    lesion = np.where(ROWS < 12, 1, 0)  # of 4 patients
    spine(here / "s", lesion=lesion).to_csv(here / "s/t.csv", index=False)
    made = make(capsys, here / "s")
    assert made.config.datasets["s"].split.folds == 1 and "folds" not in made.text


def test_epochs_shrink_until_the_run_takes_hours(here, capsys, monkeypatch):
    spine(here / "s").to_csv(here / "s/t.csv", index=False)
    epochs = []
    for speed in (65, 1, 0.2):
        monkeypatch.setattr("moco_transfer.new.choose.SPEED", speed)
        made = make(capsys, here / "s", "--force")
        epochs.append(made.config.pretraining.schedule("s").epochs)
    assert epochs == sorted(epochs, reverse=True)
    assert len(set(epochs)) == 3
    number, unit = made.out.split("Then run everything, in about ")[1].split()[:2]
    assert float(number) / (60 if unit.startswith("minute") else 1) <= MOST_HOURS


def test_nothing_is_replaced_without_force(here, capsys):
    spine(here / "s").to_csv(here / "s/t.csv", index=False)
    Path("s.yaml").write_text("mine")
    assert "it is there already" in run_new(capsys, here / "s", status=1)
    assert Path("s.yaml").read_text() == "mine"
    # of two files, neither is written if one is there
    Path("s.yaml").unlink()
    table = spine(here / "s").assign(file=[name.removesuffix(".jpg") for name in NAMES])
    table.to_csv(here / "s/t.csv", index=False)
    Path("s.csv").write_text("mine")
    assert "s.csv: it is there already" in run_new(capsys, here / "s", status=1)
    assert not Path("s.yaml").exists()
    assert make(capsys, here / "s", "--run", "other").config.run == "other"


def test_the_given_table_is_never_replaced(here, capsys):
    table = spine(here / "s").assign(file=[name.removesuffix(".jpg") for name in NAMES])
    table.to_csv("s.csv", index=False)
    before = Path("s.csv").read_bytes()
    assert "never replaced" in run_new(capsys, here / "s", "--table", "s.csv", "--force", status=1)
    assert Path("s.csv").read_bytes() == before


def test_errors_are_one_line(here, capsys):
    def refused(*arguments):
        err = run_new(capsys, *arguments, status=1)
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        return err

    assert "no such folder" in refused(here / "nowhere")
    (here / "empty").mkdir()
    assert "no image in it or below" in refused(here / "empty")
    (here / "empty/a.tif").touch()
    assert "convert them to PNG" in refused(here / "empty")
    table = spine(here / "s")
    table.to_csv(here / "s/t.csv", index=False)
    assert "not a name for a run" in refused(here / "s", "--run", "Ä b")
    assert "not a name for a run" in refused(here / "s", "--run", "limited")
    assert "no such file" in refused(here / "s", "--table", here / "no.csv")
    (here / "book.xlsx").write_bytes(b"PK\x03\x04")
    assert "CSV UTF-8" in refused(here / "s", "--table", here / "book.xlsx")
    table.assign(file="nothing" + table["file"]).to_csv(here / "other.csv", index=False)
    err = refused(here / "s", "--table", here / "other.csv")
    assert "no column names the 120 images" in err
    assert "file, patient, lesion" in err
    assert "P1" not in err
    table[["file", "patient"]].to_csv(here / "other.csv", index=False)
    assert "no column looks like a label" in refused(here / "s", "--table", here / "other.csv")
    table.assign(patient=table["patient"].replace("P1", "p2")).to_csv(here / "other.csv", index=False)
    err = refused(here / "s", "--table", here / "other.csv")
    assert "nothing was written" in err
    assert "other.csv, line" in err
    assert not list(Path.cwd().iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to(here, capsys):
    spine(here / "s").to_csv(here / "s/t.csv", index=False)
    Path.cwd().chmod(0o500)
    assert "may not be written to" in run_new(capsys, here / "s", status=1)


def test_odd_names_of_columns_and_classes_mean_the_same_in_the_file(here, capsys):
    odd = ["no", "1e5", "ü: 'x' # \"y\"", "- {a}", " blank ", "0x1F", "2020-01-01", "~"]
    table = spine(here / "ödd name: #1 'x'").rename(columns={"file": "no", "patient": "patient: #1"})
    for number, name in enumerate(odd[1:]):
        table[name] = (table["lesion"] + number) % 2
    table = table.drop(columns="lesion")
    table.to_csv(here / "ödd name: #1 'x'/t.csv", index=False)
    made = make(capsys, here / "ödd name: #1 'x'")
    assert made.config.run == "odd-name-1-x"
    assert made.section["path"] == "no"
    assert list(made.index.columns[6:]) == [name.strip() for name in odd[1:]]


@given(
    st.text()
    | st.lists(st.text())
    | st.dictionaries(st.text(), st.text() | st.booleans() | st.floats(allow_nan=False))
)
def test_values_and_comments_of_any_text_survive_yaml(anything):
    line = f"key: {value(anything)}" + comment(f"a # b: \n c {anything}")
    assert yaml.safe_load(line) == {"key": anything}


def test_what_a_machine_has_is_asked_without_pytorch():
    found = choose.this_machine()
    assert 1 <= found.cores <= (os.cpu_count() or 1)
    assert found.memory_mb > 100


def test_other_tables_beside_the_folder_do_not_count(here, capsys):
    write_images(here / "s", [f"P{n // 3:03d}_{n}.png" for n in range(90)])
    other = pd.DataFrame({"patient": [f"P{n:03d}" for n in range(30)], "lesion": [0, 1] * 15})
    other.to_csv(here / "other.csv", index=False)
    assert "fill in column 'label'" in make(capsys, here / "s").out
    assert make(capsys, here / "s", "--run", "x", "--table", here / "other.csv").index["lesion"].sum() == 45


def test_three_words_are_classes_even_if_each_says_good_or_bad(here, capsys):
    words = np.array(["normal", "benign", "malignant"])[ROWS // 3 % 3]
    spine(here / "s", lesion=None, finding=words).to_csv(here / "s/t.csv", index=False)
    assert make(capsys, here / "s").section["classes"]["values"] == ["benign", "malignant", "normal"]


def test_one_wins_over_uncertain_and_uncertain_over_zero_in_rows_of_an_image(here, capsys):
    marks = [("0.0", "-1.0"), ("1.0", "0.0"), ("-1.0", "1.0"), ("0.0", "0.0")]
    rows = [(name, f"P{n // 3}", mark) for n, name in enumerate(NAMES) for mark in marks[n // 3 % 4]]
    spine(here / "s")
    pd.DataFrame(rows, columns=["file", "patient", "edema"]).to_csv(here / "s/t.csv", index=False)
    index = make(capsys, here / "s").index.set_index("path")["edema"].reindex(NAMES)
    assert index.tolist() == [[-1.0, 1.0, 1.0, 0.0][n // 3 % 4] for n in ROWS]


def test_the_patient_is_taken_from_the_path_if_no_column_names_it(here, capsys):
    names = [f"patient{n // 3:05d}/study{n % 2}/{n}.png" for n in range(120)]
    write_images(here / "s", names)
    pd.DataFrame({"Path": names, "edema": ROWS // 3 % 2}).to_csv(here / "s/t.csv", index=False)
    made = make(capsys, here / "s")
    assert made.index["patient_id"].tolist() == [name.split("/")[0] for name in names]
    assert "folders or file names seem to hold the patient" in made.text


def test_a_split_that_divides_the_patients_of_the_path_is_not_used(here, capsys):
    names = [f"patient{n // 3:05d}/{n}.png" for n in range(120)]
    write_images(here / "s", names)
    table = pd.DataFrame(
        {"Path": names, "edema": ROWS // 3 % 2, "split": np.where(ROWS % 5, "train", "test")}
    )
    table.to_csv(here / "s/t.csv", index=False)
    made = make(capsys, here / "s")
    assert "official_split" not in made.section
    assert made.index["patient_id"].nunique() == 40
