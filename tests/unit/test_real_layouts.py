"""Index and pack 96 real radiographs in NIH's own layout, in MIMIC-CXR-JPG's, and as a user's own table."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up_images import pack
from made_up_releases import read_release
from PIL import Image

from moco_transfer.config.datasets import Store, Table
from moco_transfer.data.adapters import mimic_cxr_jpg, nih_chestxray14

REAL = os.environ.get("MOCO_TRANSFER_REAL_DATA")
pytestmark = pytest.mark.skipif(
    REAL is None, reason="MOCO_TRANSFER_REAL_DATA names no folder with NIH ChestX-ray14"
)
SETTINGS = Store(size=64, fit="stretch", max_quarantined=0.03)


@pytest.fixture(scope="module")
def radiographs() -> pd.DataFrame:
    """Return file, patient and effusion (0 or 1) of each radiograph, in the order of the release's table."""
    table = pd.read_csv(Path(REAL) / "Data_Entry_2017_v2020.csv")
    files = {path.name: path for path in Path(REAL).glob("images_*/images/*.png")}
    return pd.DataFrame(
        {
            "file": table["Image Index"].map(files),
            "patient": table["Patient ID"],
            "effusion": table["Finding Labels"].str.contains("Effusion").astype(int),
        }
    )


def gray(path: Path) -> Image.Image:
    return Image.open(path).convert("L")


def expected(radiographs: pd.DataFrame) -> np.ndarray:
    """Return the radiographs as Pillow decodes and resizes them whole, uint8 [n, 64, 64]."""
    return np.stack([gray(file).resize((64, 64), Image.Resampling.BOX) for file in radiographs["file"]])


def packed(index: pd.DataFrame, root: Path, out: Path) -> tuple[np.ndarray, pd.DataFrame, pd.DataFrame]:
    """Return the array, index and quarantine of a store of ``index``, after checking that the counts add
    up."""
    pack(index, root, SETTINGS, out)
    kept, quarantined = pd.read_parquet(out / "index.parquet"), pd.read_csv(out / "quarantine.csv")
    images = np.load(out / "images.npy")
    assert len(index) == len(kept) + len(quarantined) and len(images) == len(kept)
    return images, kept, quarantined


def assert_alike(images: np.ndarray, reference: np.ndarray) -> None:
    """Assert that each image resembles its own reference, up to resampling and lossy compression."""
    difference = np.abs(images.astype(float) - reference).mean(axis=(1, 2))
    shuffled = np.abs(images.astype(float) - np.roll(reference, 1, axis=0)).mean(axis=(1, 2))
    assert difference.max() < 4 and (difference < shuffled).all()


def test_in_the_layout_of_nih(radiographs, tmp_path):
    index = read_release("nih_chestxray14", Path(REAL))
    images, kept, quarantined = packed(index, Path(REAL), tmp_path)
    assert len(images) == 96 and quarantined.empty
    findings = pd.read_csv(Path(REAL) / "Data_Entry_2017_v2020.csv")["Finding Labels"].str.split("|")
    for name in nih_chestxray14.LABELS:
        np.testing.assert_array_equal(kept[name], [name in found for found in findings])
    assert_alike(images, expected(radiographs))


def test_in_the_layout_of_mimic(radiographs, tmp_path):
    """One study per patient; one image is missing, and one is truncated."""
    root = tmp_path / "release"
    subject = 10_000_000 + radiographs["patient"] * 211 % 9_000_000
    images = pd.DataFrame(
        {
            "dicom_id": [f"{number:08x}-{number * 7919:08x}" for number in range(len(radiographs))],
            "subject_id": subject,
            "study_id": 50_000_000 + radiographs["patient"],
            "ViewPosition": np.where(np.arange(len(radiographs)) % 3 == 0, "LATERAL", "PA"),
        }
    )
    paths = [
        root / f"files/p{image.subject_id}"[:9] / f"p{image.subject_id}" / f"s{image.study_id}" / f"{image.dicom_id}.jpg"
        for image in images.itertuples()
    ]  # fmt: skip
    for path, file in zip(paths, radiographs["file"], strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        gray(file).save(path, quality=95)
    images.to_csv(root / "mimic-cxr-2.0.0-metadata.csv.gz", index=False)
    split = images[["dicom_id", "study_id", "subject_id"]].assign(split="train")
    split.sample(frac=1, random_state=0).to_csv(root / "mimic-cxr-2.0.0-split.csv.gz", index=False)
    labels = images[["subject_id", "study_id"]].assign(effusion=radiographs["effusion"])
    labels = labels.groupby(["subject_id", "study_id"], as_index=False).max()
    values = dict.fromkeys(mimic_cxr_jpg.LABELS, np.nan) | {"Pleural Effusion": labels["effusion"]}
    labels[["subject_id", "study_id"]].assign(**values).to_csv(
        root / "mimic-cxr-2.0.0-negbio.csv.gz", index=False
    )
    paths[1].unlink()
    paths[2].write_bytes(paths[2].read_bytes()[:400])

    index = read_release("mimic_cxr_jpg", root, labeler="negbio", max_quarantined=0.02)
    pixels, kept, quarantined = packed(index, root, tmp_path / "store")
    assert quarantined["image_id"].tolist() == images["dicom_id"][1:3].tolist()
    whole = images.drop([1, 2])
    assert kept["image_id"].tolist() == whole["dicom_id"].tolist()
    study = dict(zip(labels["study_id"], labels["effusion"], strict=True))
    np.testing.assert_array_equal(kept["Pleural Effusion"], whole["study_id"].map(study))
    assert_alike(pixels, expected(radiographs.drop([1, 2])))
    # neither the missing image nor the broken one is lateral
    lateral = read_release("mimic_cxr_jpg", root, labeler="negbio", views=["LATERAL"], max_quarantined=0)
    assert lateral["image_id"].tolist() == images["dicom_id"][::3].tolist()


def test_as_a_users_own_table(radiographs, tmp_path):
    root = tmp_path / "Röntgen bilder"
    names = []
    for number, file in enumerate(radiographs["file"]):
        names.append(f"Patient {number % 7}/Ü {number}.{'png' if number % 2 else 'jpg'}")
        path = root / names[-1]
        path.parent.mkdir(parents=True, exist_ok=True)
        if number % 2:
            path.write_bytes(file.read_bytes())
        else:
            gray(file).save(path, quality=95)
    table = radiographs.assign(Bild=names).drop(columns="file")
    table.to_csv(root / "eigene.csv", index=False, encoding="latin-1")
    columns = Table(file="eigene.csv", path="Bild", labels=["effusion"], patient_id="patient")
    index = read_release("table", root, table=columns)
    images, kept, quarantined = packed(index, root, tmp_path / "store")
    assert quarantined.empty and kept["path"].tolist() == names
    assert kept["patient_id"].tolist() == radiographs["patient"].astype(str).tolist()
    np.testing.assert_array_equal(kept["effusion"], radiographs["effusion"])
    assert_alike(images, expected(radiographs))
