"""Messages end up in logs, and logs in mails: none of them holds an identifier or an image's path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from moco_transfer.config import Labels, Split
from moco_transfer.data.adapters import read_release
from moco_transfer.data.decode import decode
from moco_transfer.data.index import build
from moco_transfer.data.split import assign_splits
from moco_transfer.errors import UnreadableImage, UserError

SECRETS = ("SECRET-IMAGE", "SECRET-PATIENT", "SECRET-STUDY", "SECRET-FOLDER")
KEEP = Labels(uncertain="zero", unlabeled="zero")
SHARES = Split(unit="patient", train=0.6, validation=0.2, test=0.2)


def columns() -> pd.DataFrame:
    number = np.arange(6).astype(str).astype(object)
    return pd.DataFrame(
        {
            "image_id": "SECRET-IMAGE-" + number,
            "patient_id": "SECRET-PATIENT-" + number[np.arange(6) // 2],
            "study_id": "SECRET-STUDY-" + number,
            "path": "SECRET-FOLDER/SECRET-IMAGE-" + number + ".png",
            "official_split": "train",
        }
    )


def index_with(column: str, row: int, value: object, undivided: str | None = None) -> pd.DataFrame:
    table = columns()
    table.loc[row, column] = value
    return build(table, pd.DataFrame({"finding": np.arange(6.0) % 2}), "a table", undivided)


def assert_silent(call: Callable[[], object], error: type[Exception], part: str) -> None:
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert part in message and "\n" not in message
    assert not [secret for secret in SECRETS if secret in message]


@pytest.mark.parametrize(
    ("column", "value", "part"),
    [
        ("image_id", "SECRET-IMAGE-0", "for the second time"),
        ("patient_id", None, "blank"),
        ("path", "../SECRET-FOLDER/x.png", "leaves the dataset's root"),
        ("official_split", "SECRET-STUDY", "official_split must be"),
    ],
)
def test_of_an_index_that_is_wrong_the_row_is_named(column: str, value: str | None, part: str) -> None:
    assert_silent(lambda: index_with(column, 3, value), UserError, part)


def test_of_a_patient_on_two_official_sides_the_row_is_named() -> None:
    assert_silent(lambda: index_with("official_split", 3, "test", "patient_id"), UserError, "row 4")


def test_of_a_split_that_does_not_serve_the_numbers_are_named() -> None:
    index = index_with("official_split", 3, "test")
    official = SHARES.model_copy(update={"train": 0.5, "validation": 0.5, "test": "official"})
    assert_silent(lambda: assign_splits(index, official, KEEP, 0), UserError, "divides 1 of 3")
    few = SHARES.model_copy(update={"train": 0.1, "validation": 0.1, "test": 0.8})
    assert_silent(lambda: assign_splits(index, few, KEEP, 0), UserError, "too few")


@pytest.mark.parametrize("content", ["empty", "junk", "truncated", "folder", "missing", "header"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".dcm"])
def test_of_an_image_that_cannot_be_read_the_reason_is_named(
    content: str, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / "SECRET-FOLDER" / f"SECRET-IMAGE{suffix}"
    path.parent.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    if content == "folder":
        path.mkdir()
    elif content in ("truncated", "header"):
        Image.fromarray(noise).save(path, format="JPEG" if suffix == ".jpg" else "PNG")
        path.write_bytes(path.read_bytes()[: 1500 if content == "truncated" else 20])
    elif content != "missing":
        path.write_bytes(b"SECRET-PATIENT" * 40 if content == "junk" else b"")
    assert_silent(lambda: decode(path, 10_000), UnreadableImage, "")


@pytest.mark.parametrize("adapter", ["mimic_cxr_jpg", "vindr_spinexr"])
def test_a_root_that_is_a_folder_of_patients_is_not_listed(adapter: str, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"SECRET-PATIENT-{number}").mkdir()
    assert_silent(lambda: read_release(adapter, tmp_path), UserError, "Check the root")
