"""Images whose folders and names say what they are: patterns, roles, what is refused, and that nothing is named in messages."""

from __future__ import annotations

import functools
import json
import logging
import os
import re
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_releases import read_release, touch
from pydantic import ValidationError
from snakemake.io import regex_from_filepattern

from moco_transfer.config import stages
from moco_transfer.config.composition import composed, merge
from moco_transfer.config.datasets import Folders
from moco_transfer.config.experiment import check
from moco_transfer.data import adapters
from moco_transfer.data.adapters.folders import find_images
from moco_transfer.data.pattern import names_digest, path_regex, wildcard_names
from moco_transfer.data.releases import describe_missing, find_tables
from moco_transfer.errors import UserError
from moco_transfer.experiment import may_have_seen
from moco_transfer.image_counts import count_images

KNEES = "{split}/{grade}/{patient_id,[0-9]+}{side,[LR]}.png"
ARTHRITIS = {"osteoarthritis": {"from": "grade", "positive": ["2", "3", "4"]}}


def folders(pattern: str = KNEES, **keys) -> Folders:
    return Folders(pattern=pattern, **(keys or {"labels": ARTHRITIS}))


@pytest.fixture
def knees(tmp_path) -> Path:
    """Two knees of each of 20 patients, the left with grade 0 to 4, the right with grade 1."""
    root = tmp_path / "knees"
    for patient in range(9000, 9020):
        split = ("train", "train", "val", "test")[patient % 4]
        touch(root / split / str(patient % 5) / f"{patient}L.png")
        touch(root / split / "1" / f"{patient}R.png")
    return root


def test_the_knees_of_the_issue_become_an_index(knees):
    index = read_release("folders", knees, folders=folders())
    assert len(index) == 40 and index["path"].is_monotonic_increasing
    for row in index.itertuples():
        split, grade, name = row.path.split("/")
        assert row.official_split == {"val": "validation"}.get(split, split)
        assert row.patient_id == name[:4] and row.image_id == row.study_id == row.path
        assert row.osteoarthritis == (int(grade) >= 2)
    assert index["view"].isna().all()


def test_a_grade_is_also_a_threshold_or_many_classes(knees):
    found = read_release("folders", knees, folders=folders(labels={"oa": {"from": "grade", "at_least": 2}}))
    classes = read_release(
        "folders", knees, folders=folders(classes={"from": "grade", "values": [0, 1, 2, 3, 4]})
    )
    grades = found["path"].str.split("/").str[1].astype(int)
    np.testing.assert_array_equal(found["oa"], grades >= 2)
    np.testing.assert_array_equal(classes[[f"grade {n}" for n in range(5)]], np.eye(5)[grades])


def test_studies_views_and_image_ids_come_from_wildcards(tmp_path):
    for patient, study, view, name in (("a", "1", "AP", "x"), ("a", "1", "LAT", "y"), ("b", "1", "AP", "z")):
        touch(tmp_path / patient / f"study{study}" / f"{view}_{name}.dcm")
    pattern = "{patient_id}/{study_id}/{view}_{image_id}.dcm"
    listing = folders(pattern, labels={"frontal": {"from": "view", "positive": ["AP"]}})
    index = read_release("folders", tmp_path, folders=listing)
    # the folder study1 of two patients is two studies
    assert index["study_id"].tolist() == ["a/study1", "a/study1", "b/study1"]
    assert index["image_id"].tolist() == ["x", "y", "z"] and index["patient_id"].tolist() == ["a", "a", "b"]
    assert index["frontal"].tolist() == [1, 0, 1] and index["view"].tolist() == ["AP", "LAT", "AP"]
    kept = read_release("folders", tmp_path, folders=listing, views=["AP"])
    assert kept["image_id"].tolist() == ["x", "z"]
    alone = read_release(
        "folders", tmp_path, folders=folders("{p}/{study_id}/{view}_{n}.dcm", labels={"l": {"from": "p", "positive": ["a"]}})
    )  # fmt: skip
    assert alone["patient_id"].tolist() == ["study1"] * 3


def test_a_list_of_labels_takes_ones_and_zeros(tmp_path):
    for name in ("1_a.png", "0_b.png", "-1_c.png"):
        touch(tmp_path / name)
    index = read_release("folders", tmp_path, folders=folders("{sick}_{n}.png", labels=["sick"]))
    assert dict(zip(index["path"], index["sick"], strict=True)) == {
        "1_a.png": 1,
        "0_b.png": 0,
        "-1_c.png": -1,
    }


PARTS = {
    "{a}": "ab/",
    "{b,[0-9]+}": "07a",
    "{c,a|b}": "ab0",
    "{d,b{1,2}}": "ba",
    "/": "/",
    "a": "a",
    ".": ".b",
    "+": "+",
}
filled = st.sampled_from(list(PARTS)).flatmap(
    lambda part: st.tuples(st.just(part), st.text(PARTS[part], min_size=1, max_size=2))
)


@given(st.lists(filled, min_size=1, max_size=6))
def test_a_pattern_matches_as_snakemakes_does(parts):
    pattern, path, seen = "x", "x", set()
    for part, text in parts:  # an expression is allowed only at a wildcard's first place
        name = part[1:2] if part.startswith("{") else ""
        pattern += f"{{{name}}}" if name in seen else part
        path += text
        seen |= {name} - {""}
    theirs = pattern.replace("{a}", "{a,[^/]+}", 1)  # the one difference: no slash by default
    expected = re.compile(regex_from_filepattern(theirs)).match(path)
    found = path_regex(pattern).fullmatch(path)
    assert (found and found.groupdict()) == (expected and expected.groupdict())


@pytest.mark.parametrize(
    ("pattern", "keys", "message"),
    [
        ("/data/{grade}.png", {}, "relative to the root"),
        ("../{grade}.png", {}, "relative to the root"),
        ("{grade/x.png", {}, "'{' belongs to no wildcard"),
        ("{grade}}.png", {}, "'}' belongs to no wildcard"),
        ("{grade,[0-9}.png", {}, "not a regular expression"),
        ("{1a}{grade}.png", {}, "not a regular expression"),
        ("{grade}/{grade,[0-9]}.png", {}, "'grade' occurs twice"),
        ("{kl}.png", {}, "'grade' is not a wildcard of the pattern; choose from kl"),
        ("a.png", {}, "'grade' is not a wildcard of the pattern; it has none"),
        ("{kl}.png", {"labels": ["grade"]}, "'grade' is not a wildcard"),
        ("{kl}.png", {"classes": {"from": "grade", "values": [1, 2]}}, "'grade' is not a wildcard"),
        ("{kl}.png", {"labels": ["kl"] * 60_000}, "that fit into a command; choose fewer labels"),
    ],
)
def test_a_pattern_that_cannot_work_is_refused(pattern, keys, message):
    with pytest.raises(ValidationError, match=message):
        folders(pattern, **keys)


def test_accents_match_in_both_forms_of_unicode(tmp_path):
    for number, form in enumerate(("NFC", "NFD")):
        touch(
            tmp_path
            / unicodedata.normalize(form, "Brüche")
            / unicodedata.normalize(form, "gutärtig")
            / f"{number}.png"
        )
    chosen = {"pattern": "Brüche/{kind}/{n}.png", "classes": {"from": "kind", "values": ["gutärtig", "bös"]}}
    index = read_release("folders", tmp_path, folders=Folders(**chosen))
    assert index["gutärtig"].tolist() == [1, 1]
    assert all((tmp_path / path).exists() for path in index["path"])


def test_what_does_not_match_is_counted_and_not_named(knees, caplog):
    touch(knees / "train" / "DOE JANE" / "1L.jpg")
    touch(knees / "DOE.PNG")
    touch(knees / "train" / "notes.txt")
    touch(knees / ".hidden" / "1" / "9999L.png")
    touch(knees / "train" / "1" / ".9998L.png")
    with caplog.at_level(logging.INFO):
        index = read_release("folders", knees, folders=folders())
    assert len(index) == 40
    assert [record.getMessage() for record in caplog.records] == [
        f"{knees}: images left out because they do not match the pattern: 2"
    ]
    with pytest.raises(UserError) as caught:
        find_images(knees, "{grade}/{name}.dcm")
    assert str(caught.value) == (
        f"{knees}: none of its 42 images (.png, .jpg) matches the pattern '{{grade}}/{{name}}.dcm', which has 1 level of "
        "folders; found 1 below 0 levels of folders, 41 below 2 levels of folders. Correct folders.pattern"
    )


def test_files_that_match_and_are_no_images_are_left_out(tmp_path, caplog):
    dicom = tmp_path / "1" / "1.2.840.113"
    touch(dicom)
    dicom.write_bytes(bytes(128) + b"DICM")
    touch(tmp_path / "1" / "Thumbs.db")
    listing = folders("{sick}/{name}", labels=["sick"])
    assert read_release("folders", tmp_path, folders=listing)["path"].tolist() == ["1/1.2.840.113"]
    assert "no images: 1" in caplog.text
    dicom.unlink()
    with pytest.raises(
        UserError, match=r"no image \(.dcm, .* among the 1 files below it; check the dataset's root"
    ):
        read_release("folders", tmp_path, folders=listing)


def refused(root: Path, message: str, *secrets: str, pattern: str = KNEES, **keys) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_release("folders", root, folders=folders(pattern, **keys))
    text = str(caught.value).replace(str(root), "")
    assert "\n" not in text and not any(secret in text for secret in secrets)


def test_mistakes_in_the_names_are_one_line_without_names(knees):
    touch(knees / "SECRET" / "3" / "777L.png")
    refused(knees, r"image 1, wildcard 'split': expected train, validation, test or a blank", "SECRET", "777")
    (knees / "SECRET" / "3" / "777L.png").unlink()
    touch(knees / "test" / "SECRET" / "9003L.png")
    classes = {"from": "grade", "values": [0, 1, 2, 3, 4]}
    refused(
        knees, r"image \d+, wildcard 'grade': expected one of the values", "SECRET", "9003", classes=classes
    )
    refused(
        knees, "wildcard 'grade': 'at_least' expects a number", "SECRET", labels={"l": {"from": "grade", "at_least": 2}}
    )  # fmt: skip
    touch(knees / "train" / "3" / "9003L.png")  # a patient of the test images
    refused(knees, "'patient_id': this patient is also in another official split", "9003", "SECRET")
    refused(
        knees, "'image_id': another image has the same; without this wildcard", "9003",
        pattern=KNEES.replace("side", "image_id"),
    )  # fmt: skip


def test_spellings_and_blanks_of_patients_are_refused(tmp_path):
    touch(tmp_path / "1" / "P1" / "a.png")
    touch(tmp_path / "0" / "p01" / "b.png")
    pattern = "{sick}/{patient_id}/{n}.png"
    refused(
        tmp_path,
        "image 2, wildcard 'patient_id'|image 1, wildcard 'patient_id'",
        "P1",
        "p01",
        pattern=pattern,
        labels=["sick"],
    )
    touch(tmp_path / "1" / "None" / "c.png")
    refused(tmp_path, "expected an identifier, found a blank", "None", pattern=pattern, labels=["sick"])


def test_links_stay_in_the_root(knees, tmp_path, caplog):
    elsewhere = tmp_path / "elsewhere"
    touch(elsewhere / "3" / "1L.png")
    (knees / "train" / "linked").symlink_to(elsewhere)
    (knees / "again").symlink_to(knees)
    assert len(read_release("folders", knees, folders=folders())) == 40
    assert "links to folders, which are not followed: 2" in caplog.text
    (knees / "train" / "1" / "8000L.png").symlink_to(knees / "train" / "1" / "9001R.png")
    assert len(read_release("folders", knees, folders=folders())) == 41
    (knees / "train" / "1" / "8001L.png").symlink_to(elsewhere / "3" / "1L.png")
    with pytest.raises(UserError, match="a symbolic link in the path of an image leaves the root"):
        read_release("folders", knees, folders=folders())


def test_names_that_cannot_be_printed_are_refused(knees):
    Path(os.fsdecode(os.fsencode(knees / "train" / "1") + b"/\xff1L.png")).touch()
    refused(knees, "a character that is not UTF-8", pattern="{split}/{grade}/{name}.png")


def test_new_images_are_noticed_quickly_anywhere_below_the_root_and_other_files_are_not(tmp_path):
    for number in range(2_000):
        touch(tmp_path / str(number % 7) / str(number % 100) / f"{number}.png")

    def digest() -> str:
        return names_digest(tmp_path, "{grade}/{patient_id}/{name}.png")

    start = time.perf_counter()
    first = digest()
    assert time.perf_counter() - start < 1
    assert digest() == first
    new = tmp_path / "3" / "3" / "new.png"
    new.touch()
    assert digest() != first
    new.unlink()
    assert digest() == first
    for other in (".DS_Store", "3/3/Thumbs.db", "notes.txt", "3/loose.png", "3/3/.hidden.png"):
        (tmp_path / other).touch()
    (tmp_path / "deep" / "er").mkdir(parents=True)
    assert digest() == first
    (tmp_path / "6").rename(tmp_path / "8")
    assert digest() != first


def test_folders_that_are_missing_are_described(tmp_path):
    assert find_tables("folders", tmp_path / "no") == ([], ["images"])
    line = describe_missing({"own": ("folders", str(tmp_path / "no"))}).splitlines()[0]
    assert line.startswith("dataset 'own', folders of your own: no images in ") and "missing" in line


def config(*overlays: dict):
    return check(composed(functools.reduce(merge, overlays, {})))


def chest(root: Path | str = "/own", **keys) -> dict:
    own = {"adapter": "folders", "root": str(root), "folders": {"pattern": KNEES, "labels": ARTHRITIS}}
    return {"datasets": {"chest": own | keys}}


OFFICIAL = {"unit": "patient", "train": 1.0, "validation": "official", "test": "official"}


def test_a_configuration_with_folders():
    found = config(chest(split=OFFICIAL)).datasets["chest"]
    assert (found.title, found.shareable) == ("chest", False)
    assert found.listing.label_names == ["osteoarthritis"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"folders": None}, "the adapter 'folders' needs the section 'folders'"),
        ({"adapter": "mimic_cxr_jpg"}, "the adapter 'folders' needs the section 'folders'; no other"),
        (
            {"folders": {"pattern": "{grade}/{n}.png"}, "split": OFFICIAL},
            "split.validation is 'official', but folders.pattern has no wildcard {split}; add it, or give a share",
        ),
        ({"views": ["AP"]}, "folders.pattern has no wildcard {view}; add it, or set views to null"),
        ({"folders": {"pattern": "{kl}/{n}.png"}}, "'grade' is not a wildcard of the pattern; choose from kl, n"),
        (
            {"folders": {"labels": {"osteoarthritis": {"form": "grade"}}}},
            "unknown key 'datasets.chest.folders.labels.osteoarthritis.form'; did you mean 'from'",
        ),
        (
            {"folders": {"labels": {"osteoarthritis": {"positive": [True]}}}},
            "'datasets.chest.folders.labels.osteoarthritis.positive.0': write it in quotes",
        ),
        ({"folders": {"labels": "grade"}}, "'datasets.chest.folders.labels': Input should be a valid list"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_configuration_is_one_line(keys, message):
    with pytest.raises(UserError) as caught:
        config(chest(), {"datasets": {"chest": keys}})
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_the_plan_counts_the_images_that_the_index_will_hold(knees, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touch(knees / "left out.png")
    overlay = chest(knees, split=OFFICIAL)
    overlay |= {"targets": {"chest": {"percents": ["50"], "limited": []}}}
    sides = count_images(config(overlay))["chest"].sides
    index = read_release("folders", knees, folders=folders())
    assert sides == index["official_split"].value_counts().to_dict()
    drawn = merge(overlay, {"datasets": {"chest": {"folders": {"pattern": KNEES.replace("split", "part")},
                                                   "split": {"train": 0.5, "validation": 0.25, "test": 0.25}}}})  # fmt: skip
    assert count_images(config(drawn))["chest"].sides == {"train": 20, "validation": 10, "test": 10}


def test_datasets_in_one_folder_may_share_images(knees):
    other = {"datasets": {"other": chest(knees)["datasets"]["chest"]}}
    shares = {"unit": "patient", "train": 0.6, "validation": 0.2, "test": 0.2}
    rest = {key: config().datasets["chest"].model_dump()[key] for key in ("store", "labels")}
    other["datasets"]["other"] |= rest | {"split": shares}
    more = {"sources": {"other": ["other"]}, "pretraining": {"schedules": {"other": {"epochs": 1, "batch": 8, "lr": 1, "bn_groups": 1}}}}  # fmt: skip
    found = config(chest(knees, split=shares), other, more)
    assert "may hold images of chest" in may_have_seen(found, "other", "chest")
    apart = config(chest("/elsewhere", split=shares), other, more)
    assert not may_have_seen(apart, "other", "chest")
    official = {"datasets": {name: {"split": OFFICIAL} for name in ("chest", "other")}}
    assert not may_have_seen(config(chest(knees), other, more, official), "other", "chest")


def test_the_index_stage_writes_what_it_read(knees, tmp_path):
    chosen = stages.Index(
        adapter="folders", labeler="chexpert", views=None, table=None, folders=folders(KNEES.replace("side", "knee"), labels=ARTHRITIS)
    )  # fmt: skip
    command = [sys.executable, "-m", "moco_transfer", "index", "--settings", chosen.model_dump_json()]
    outputs = ["--index", tmp_path / "index.parquet", "--reading", tmp_path / "reading.json"]
    run = [*command, "--root", knees, *outputs, "--max-quarantined", "0"]
    done = subprocess.run(list(map(str, run)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    reading = json.loads((tmp_path / "reading.json").read_text())
    assert (reading["images"], reading["patients"], reading["most"]) == (40, 20, 2)
    assert reading["unused"] == ["knee"] and reading["columns"][0]["values"]["4"] == 4
    found = pd.read_parquet(tmp_path / "index.parquet")["osteoarthritis"]
    assert reading["labels"][0]["present"] == int(found.sum()) == 12
    touch(knees / "SECRET" / "1" / "1L.png")
    failed = subprocess.run(list(map(str, run)), capture_output=True, text=True, check=False)
    assert failed.returncode == 1 and "wildcard 'split'" in failed.stderr and "SECRET" not in failed.stderr


def test_images_that_are_left_out_are_counted(tmp_path):
    for name in ("a/AP_1.png", "a/LAT_2.png", "b/AP_3.PNG", "b/notes.txt", "4.jpg"):
        touch(tmp_path / "images" / name)
    listing = folders("{patient_id}/{view}_{n}.png", labels={"frontal": {"from": "view", "positive": ["AP"]}})
    chosen = stages.Index(adapter="folders", labeler="chexpert", views=["AP"], table=None, folders=listing)
    index, reading = adapters.read_release(chosen, tmp_path / "images", 0.0)
    assert index["path"].tolist() == ["a/AP_1.png"]
    assert reading.left_out == {"do not match the pattern": 2, "have another view or none": 1}


def test_a_release_has_an_empty_reading(tmp_path):
    touch(tmp_path / "cats" / "1.png")
    chosen = stages.Index(adapter="image_folder", labeler="chexpert", views=None, table=None, folders=None)
    assert adapters.read_release(chosen, tmp_path, 0.0)[1] is None
    adapters.index(chosen, root=tmp_path, index=tmp_path / "i", reading=tmp_path / "r", max_quarantined=0.0)
    assert json.loads((tmp_path / "r").read_text()) == {}


def test_wildcards_are_listed_once_in_order():
    assert wildcard_names("{b}/{a,[0-9]{2,3}}_{ b }.png") == ["b", "a"]


def test_initial_weights_may_be_learnt_from_the_classes_of_folders():
    learnt = {"classes_of": "chest", "epochs": 1, "batch": 2, "lr": 0.1}
    source = {"sources": {"x": {"encoder": "densenet_small", "weights": learnt}}, "targets": {"chest": None}}
    assert config(chest(), source).encoders["x"].weights.classes_of == "chest"
