"""Images that are missing, are not files, or lie outside the root."""

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_releases import read_release, touch, write_chest

from moco_transfer.data.adapters.layout import places_of, require_images
from moco_transfer.errors import UserError


def index_of(paths: list[str], patients: list[str] | None = None) -> pd.DataFrame:
    return pd.DataFrame({"path": paths, "patient_id": patients or paths}, dtype="str")


def test_links_may_lead_inside_the_root_only(tmp_path):
    root, beyond = tmp_path / "data" / "root", tmp_path / "data" / "root-of-another"
    for path in (root / "in" / "a.png", root / "a.png", beyond / "a.png"):
        touch(path)
    targets = {
        "folder": root / "in",
        "file.png": root / "a.png",
        "away": beyond,
        "away.png": beyond / "a.png",
        "up": Path("../root-of-another"),
        "round": Path("../root/in"),
        "nothing.png": root / "gone.png",
        "loop": Path("loop"),
    }
    for name, target in targets.items():
        (root / name).symlink_to(target)
    expected = {
        "in/a.png": "there",
        "folder/a.png": "there",
        "file.png": "there",
        "round/a.png": "there",
        "away/a.png": "outside",
        "away.png": "outside",
        "up/a.png": "outside",
        "nothing.png": "missing",
        "loop/a.png": "missing",
        "loop": "missing",
        "in": "missing",
        "folder": "missing",
        "a.png/b.png": "missing",
        "in/" + "x" * 300: "missing",
    }
    assert dict(zip(expected, places_of(list(expected), root), strict=True)) == expected
    (tmp_path / "link").symlink_to(root)
    assert dict(zip(expected, places_of(list(expected), tmp_path / "link"), strict=True)) == expected
    with pytest.raises(UserError, match=r"link .* leaves the root \(row 2 of the index; 1 such rows\)"):
        require_images(index_of(["a.png", "away/a.png"]), root, 1.0)


@settings(max_examples=30, deadline=None)
@given(
    there=st.sets(st.sampled_from(["a", "b/a", "b/c/a", "d/ä b.png"])),
    asked=st.lists(st.sampled_from(["a", "b/a", "b/c/a", "d/ä b.png", "b", "e/f/g"]), min_size=1),
)
def test_places_agree_with_a_plain_check(there, asked, tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    for path in there:
        touch(root / path)
    expected = ["there" if (root / path).is_file() else "missing" for path in asked]
    assert places_of(asked, root).tolist() == expected


def test_missing_images_are_counted_up_to_the_allowed_share(tmp_path, caplog):
    paths = [f"files/p{group}/p{group}0{number}/x.jpg" for group in (10, 11) for number in range(5)]
    patients = [path.split("/")[2] for path in paths]
    for path in paths[:7]:
        touch(tmp_path / path)
    require_images(index_of(paths, patients), tmp_path, 0.3)
    assert len(caplog.records) == 1
    message = caplog.records[0].getMessage()
    assert "3 of 10 images are missing" in message and "files/p11 (3)" in message and "row 8" in message
    with pytest.raises(
        UserError, match=r"3 of 10 .* row 8 of the index: files/p11 \(3\); store\.max_quar"
    ) as caught:
        require_images(index_of(paths, patients), tmp_path, 0.29)
    assert not any(patient in str(caught.value) for patient in patients)
    with pytest.raises(UserError, match="2 of 2 images are missing"):
        require_images(index_of(paths[8:], patients[8:]), tmp_path, 1.0)


def test_folders_of_patients_are_not_named(tmp_path):
    paths = [f"anna/{number}.png" for number in range(3)] + ["bert/1.png"]
    touch(tmp_path / paths[0])
    with pytest.raises(UserError, match="3 of 4 images") as caught:
        require_images(index_of(paths, [path.split("/")[0] for path in paths]), tmp_path, 0.1)
    assert "anna" not in str(caught.value) and "bert" not in str(caught.value)


def test_a_release_with_missing_images_is_refused(tmp_path):
    write_chest(tmp_path)
    (tmp_path / "files/p10/p10000032/s50000002/d4.jpg").unlink()
    with pytest.raises(
        UserError, match=r"1 of 4 images are missing .* row 4 .*complete the download"
    ) as caught:
        read_release("mimic_cxr_jpg", tmp_path)
    assert "10000032" not in str(caught.value)
    assert len(read_release("mimic_cxr_jpg", tmp_path, max_quarantined=0.25)) == 4
